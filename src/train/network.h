/* A task's graph, planned and ready to run: for training, validation, prediction, planning and
 * benchmarks. */
#pragma once
#include "config/config.h"
#include "graph/run.h"
#include "task/task.h"
#include "train/choices.h"

enum { NETWORK_MAX_INPUTS = 16, NETWORK_MAX_OUTPUTS = 16 };

/* Where one sample's inputs lie in a block of memory that holds a whole batch of all inputs. */
struct batch_layout {
  int count;
  const char *name[NETWORK_MAX_INPUTS];
  size_t offset[NETWORK_MAX_INPUTS];       /* of the input's batch in the block, aligned to 64 */
  size_t sample_bytes[NETWORK_MAX_INPUTS]; /* of one sample */
  int samples;
  size_t bytes; /* of the block */
};

/* What the host sees of an output after a run; NULL where it reads the device's own memory. */
struct network_output {
  int value;    /* of the graph */
  void *stored; /* as the device stores it */
  float *plain; /* [n c d h w] */
};

/* Where a network that predicts takes inputs from and gives outputs to the host. */
struct network_exchange {
  void *inputs; /* on the device, a batch; NULL where it reads the host's own memory */
  int count;
  struct network_output output[NETWORK_MAX_OUTPUTS];
};

struct network {
  enum purpose purpose;
  struct graph graph;
  struct plan plan;
  struct run run;
  struct batch_layout batch;
  int sums; /* the graph's input TASK_SUMS, which is not in the batch; -1: none */
  struct network_exchange exchange;
  int extent[3];
};

/* Builds and plans; allocates no tensor memory. task_run needs an open data set only for training.
 * choices: which kernels to take where the config says none; NULL: the best of each operator. */
CHECKED enum status network_plan(struct network *network, const struct task *task,
                                 const struct task_run *task_run, const struct config *config,
                                 enum device_kind device, enum purpose purpose, int samples,
                                 const int extent[3], struct kernel_choices *choices);

/* Gives the plan its memory (see run_open), a network that has outputs what it takes to pass them
 * to the host, and one that predicts the same for inputs. */
CHECKED enum status network_open(struct network *network, struct device *device, void *arena,
                                 const float *weights, float *gradients);

/* Binds all inputs but TASK_SUMS to a batch in the device's memory, laid out as network->batch
 * says. */
CHECKED enum status network_bind(struct network *network, const void *memory);

/* The pointers of sample `sample` in a batch at `memory`, one per input. */
void batch_pointers(const struct batch_layout *batch, void *memory, int sample,
                    void *inputs[NETWORK_MAX_INPUTS]);

/* The network as tasks see it (struct task_network): plain float32 arrays on the host, whatever the
 * device. Outputs are those of the last run. For networks that do not train; those that predict
 * take inputs, too. */
struct task_network network_for_task(struct network *network);

/* Accepts a zeroed network. */
void network_close(struct network *network);
