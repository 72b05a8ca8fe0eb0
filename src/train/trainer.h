/* Everything a training run has open, and the pieces it is made of (one file each). Internal to the
 * room. */
#pragma once
#include "comm/comm.h"
#include "comm/tree.h"
#include "config/config.h"
#include "data/prefetch.h"
#include "kernels/grad_norm/grad_norm.h"
#include "optim/optim.h"
#include "optim/plateau.h"
#include "optim/schedule.h"
#include "store/checkpoint.h"
#include "task/task.h"
#include "train/network.h"
#include "train/sums.h"
#include "train/train.h"

/* A slot's row of losses: the weighted total, then the unweighted terms. */
enum { TRAINER_MAX_LOSSES = 16, STEP_ROW = TRAINER_MAX_LOSSES + 1 };

/* Where a run is: what a checkpoint holds besides tensors. Functions of the steps done, not of
 * ranks. */
struct progress_state {
  int64_t step; /* optimiser steps done */
  double best;  /* best validation score so far; -infinity before the first */
  int64_t best_step;
  int64_t validations_without_better;
  double loss_scale;      /* what losses are multiplied by before backward; 1 but for float16 */
  int64_t good_steps;     /* since it last changed */
  int64_t skipped_steps;  /* without an update, since the gradient was too large */
  struct plateau plateau; /* what validations have made of the learning rate */
};

/* How training is cut into epochs, steps and slots. */
struct timetable {
  int64_t samples_per_epoch, steps_per_epoch, steps;
  int slots, slot_samples;
};

/* The flat blocks of parameter-sized memory, the device's. */
struct state_blocks {
  int64_t count;   /* elements of a block */
  int64_t trained; /* of these, the first ones; the others are statistics */
  size_t bytes;    /* of a block; the optimiser's have no statistics */
  float *weights, *gradients;
  float *average; /* exponential moving average of the weights, NULL when off */
  float *host;    /* copies of the saved blocks; NULL where the host reads the device's memory */
  size_t host_bytes;
};

/* A block that a checkpoint holds. */
enum { BLOCKS_MOST_SAVED = 2 + OPTIMIZER_MAX_STATES };
struct saved_block {
  char prefix[64]; /* its tensors are called prefix + parameter name */
  float *memory;   /* on the device */
  float *host;     /* its copy; the same memory where the host reads the device's */
  size_t bytes;
  bool statistics; /* it holds them, too */
};

/* Batches on their way to a device with memory of its own. */
enum { FEED_BUFFERS = 2 };
struct feed_buffer {
  void *memory; /* a batch on the device */
  void *host;   /* where it came from */
  int64_t ticket;
  struct event copied, used; /* its copy has arrived; the device has read it */
  bool filled_before;
};
/* Training volumes that a device with memory of its own keeps, the image of a subject and its label
 * map one behind the other. */
struct resident {
  void *memory; /* on the device; NULL: none are kept */
  size_t bytes, subject_bytes, image_bytes, label_offset, label_bytes;
  int count;
  int *place; /* by subject number; -1: training does not read it */
};
/* What a step does with a slot's inputs. */
enum pass { PASS_SUMS, PASS_TRAINING };
struct feed {
  int passes; /* how often the inputs of a slot are loaded for a step */
  bool keeps; /* the only slot stays where it is from pass to pass */
  void *kept; /* there it is */
  struct prefetch prefetch;
  struct resident resident;
  int64_t next_ticket; /* the next (step, pass, own slot) to ask the loading thread for */
  void *host;          /* the loading thread's memory, if it is not its own */
  size_t host_bytes;
  struct stream stream; /* of the copies */
  struct feed_buffer buffer[FEED_BUFFERS];
  int oldest, next;      /* the buffer to take or taken, the buffer to fill */
  int ahead;             /* buffers filled and not taken */
  struct event idle;     /* the device has come to the taken batch */
  double seconds_waited; /* by the device, for copies */
};

struct trainer {
  const struct config *config;
  struct comm *comm;
  struct device *device;
  const struct task *task;
  struct task_run task_run;
  struct kernel_choices choices;
  struct network training, evaluation;
  struct sums sums;
  void *arena; /* shared by all networks, which never run at the same time */
  size_t arena_bytes;
  struct state_blocks blocks;
  struct optimizer optimizer;
  struct grad_norm norm;
  struct schedule schedule;
  struct plateau_options plateau;
  struct tree tree;
  struct slot_range own;
  struct timetable time;
  struct feed feed;
  double *rows;              /* losses of own slots, [own.count][STEP_ROW] */
  double *summands, *totals; /* what own slots add to the sums, [own.count][sums.count]; all */
  bool *present;             /* own slots that have samples in this step */
  struct progress_state state;
  enum status local;       /* what went wrong on this rank since the last agreement */
  struct journal *journal; /* NULL on ranks other than 0 */
};

/* What one step gave, the same on all ranks. */
struct step_result {
  int loss_count;
  const char *loss_name[TRAINER_MAX_LOSSES];
  double loss[TRAINER_MAX_LOSSES]; /* unweighted, mean over samples */
  double total;                    /* weighted sum */
  double learning_rate, gradient_norm;
  double loss_scale; /* of this step */
  bool stop;         /* a rank was asked to stop */
};

/* timetable.c */
CHECKED enum status timetable_make(struct timetable *time, const struct trainer *trainer);
/* Whether a slot of a step has samples: the last step of an epoch may leave slots empty. */
bool timetable_filled(const struct timetable *time, int64_t step, int slot);
int timetable_filled_slots(const struct timetable *time, int64_t step);

/* blocks.c: the flat blocks. */
CHECKED enum status blocks_open(struct trainer *trainer); /* memory; zeros */
/* Initial weights; once optimiser and networks are open. */
CHECKED enum status blocks_start(struct trainer *trainer);
void blocks_close(struct trainer *trainer);
/* The blocks of a checkpoint, weights first, the average last; returns their count. */
int blocks_saved(const struct trainer *trainer, struct saved_block saved[BLOCKS_MOST_SAVED]);
/* Bring a block's copy up to date after the work given to the device so far, or the block. Wait. */
CHECKED enum status blocks_to_host(const struct trainer *trainer, const struct saved_block *block);
CHECKED enum status blocks_to_device(const struct trainer *trainer,
                                     const struct saved_block *block);

/* feed.c: inputs of own slots, read ahead by the loading thread and copied ahead to the device. */
CHECKED enum status feed_open(struct trainer *trainer);
void feed_close(struct trainer *trainer);
/* The inputs of own slot `slot` of step `step`, on the device; slots must be taken in the order of
 * training, and first for PASS_SUMS where there are sums. */
CHECKED enum status feed_take(struct trainer *trainer, int64_t step, enum pass pass, int slot,
                              void **memory);
/* Starts to copy the next slot's inputs if they are there: call it while the device computes. */
CHECKED enum status feed_ahead(struct trainer *trainer);
/* Gives the taken inputs back and asks for the next. The device must be done with them. */
CHECKED enum status feed_release(struct trainer *trainer, enum pass pass, void *memory);
/* For how long host or device have waited for inputs, in total. */
double feed_seconds_waited(const struct trainer *trainer);

/* resident.c: opens feed.resident by data.resident. */
CHECKED enum status resident_open(struct trainer *trainer);
void resident_close(struct trainer *trainer);
/* Where the device has a subject's image or label map, whichever has so many bytes. */
const void *resident_volume(const struct resident *resident, int subject, size_t bytes);

/* scale.c: loss scaling. */
void scale_start(struct trainer *trainer);
/* Whether a step with this gradient may update; if not, and precision is float16, the scale goes
 * down. */
CHECKED enum status scale_judge(struct trainer *trainer, double gradient_norm, bool *update);
/* After an update. */
void scale_grow(struct trainer *trainer);

/* Passes on the status of what this rank does alone, after an agreement: if it failed, the others
 * cannot be told any more, and closing the communicator ends the job. */
CHECKED enum status trainer_alone(struct trainer *trainer, enum status status);

/* step.c: one optimiser step. Collective. */
CHECKED enum status trainer_step(struct trainer *trainer, struct step_result *result);

/* state.c: the trainer's state as named tensors and as a checkpoint's metadata. */
/* Copies of what the device holds now; names and array owned by the caller: state_free. */
CHECKED enum status state_tensors(const struct trainer *trainer, struct stored_tensor **tensors,
                                  int *count);
void state_free(struct stored_tensor *tensors, int count);
CHECKED enum status state_metadata(const struct trainer *trainer, json_t **metadata);

/* resume.c: Collective. Continues from the run directory's checkpoint, if config and data are the
 * same. */
CHECKED enum status trainer_resume(struct trainer *trainer, bool *resumed);
