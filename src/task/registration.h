/* The pieces of the registration task, one file each. Inputs, in order: moving, fixed (float32),
 * and while training with lam_dice > 0 moving_labels, fixed_labels (uint8). Outputs: displacement
 * (voxels of the fixed grid), warped. */
#pragma once
#include "task/task.h"

enum { INPUT_MOVING, INPUT_FIXED, INPUT_MOVING_LABELS, INPUT_FIXED_LABELS };

struct pair {
  int moving, fixed; /* subject numbers */
};

/* How many pairs an epoch of training has, or a split has for evaluation. */
int64_t registration_count(const struct task_run *run, enum purpose purpose, enum split split);

/* Pair `index` of epoch `epoch` of training: a function of (seed, epoch, index). Called by one
 * thread at a time. */
struct pair registration_training_pair(struct task_run *run, int64_t epoch, int64_t index);

/* Pair `index` of a split: neighbours (the later one moves), or the atlas and each subject
 * but itself. */
struct pair registration_fixed_pair(const struct task_run *run, enum split split, int64_t index);

CHECKED enum status registration_build(const struct task_run *run, const struct config *config,
                                       enum purpose purpose, int samples, const int extent[3],
                                       struct graph *graph);

CHECKED enum status registration_columns(const struct task_run *run, bool detailed,
                                         struct task_columns *columns);
CHECKED enum status registration_score(struct task_run *run, enum split split, int64_t index,
                                       bool detailed, const struct task_network *network,
                                       const void *const *inputs, double *row, char *label);
CHECKED enum status registration_draw(struct task_run *run, const struct task_network *network,
                                      const void *const *inputs, struct task_image *images,
                                      int *count);
CHECKED enum status registration_predict(const struct config *config,
                                         const struct task_network *network,
                                         const char *const *files, int count,
                                         const char *directory);
