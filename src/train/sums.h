/* Sums over the whole batch that losses read (TASK_SUMS): a network that gives what a slot adds to
 * them, run on all slots before any of them is trained on, and where training finds the totals. */
#pragma once
#include "train/network.h"

struct sums {
  struct network network;
  int count;    /* 0: the losses need none, and there is no network */
  float *host;  /* totals, then the number of slots; of `bytes` bytes */
  void *memory; /* their copy on the device, which stays where it is: training's input */
  size_t bytes;
};

/* Plans the network if `training` reads such sums; see network_plan. STATUS_FAILED: its inputs,
 * parameters or sums are not those of training. */
CHECKED enum status sums_plan(struct sums *sums, const struct network *training,
                              const struct task *task, const struct task_run *task_run,
                              const struct config *config, struct kernel_choices *choices);

/* Gives it memory (see run_open) and training its input, which holds ones. Nothing without sums. */
CHECKED enum status sums_open(struct sums *sums, struct network *training, struct device *device,
                              void *arena, const float *weights);

/* What a batch in the device's memory adds: row[count]. Waits for the device. */
CHECKED enum status sums_of_slot(struct sums *sums, const void *memory, double *row);

/* Totals over `slots` slots, for what the stream is given from now on. It must have done what it
 * was given before. */
CHECKED enum status sums_give(struct sums *sums, struct stream *stream, const double *totals,
                              int slots);

/* Accepts zeroed sums. */
void sums_close(struct sums *sums);
