/* The checkpoints of a run: last.medtrain, best.medtrain and the last k step-NNNNNNN.medtrain in
 * one folder, written in the background from a snapshot. At every moment at least one valid one
 * exists, whatever is killed. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "store/checkpoint.h"

struct checkpoints_writer;

struct checkpoints {
  char *directory;
  int keep;     /* step-* files that are kept */
  int failures; /* saves that did not reach the disk so far */
  struct checkpoints_writer *writer;
};

/* Makes the folder and removes what a crashed run left half-written in it. */
CHECKED enum status checkpoints_open(struct checkpoints *checkpoints, const char *directory,
                                     int keep);

/* Waits for the save in progress, if any; copies the tensors and starts to write them in the
 * background as step-NNNNNNN, last and, if asked, best. The tensors may change as soon as this
 * returns. `metadata` is borrowed, and copied. A save that failed is warned about at the next call
 * and counted; the run goes on. Errors: out of memory only. */
CHECKED enum status checkpoints_save(struct checkpoints *checkpoints, int64_t step, bool best,
                                     const json_t *metadata, const struct stored_tensor *tensors,
                                     int count);

/* Waits for the save in progress. The error of the latest save, if it failed. */
CHECKED enum status checkpoints_wait(struct checkpoints *checkpoints);

/* Whether a save is still being written. */
bool checkpoints_busy(const struct checkpoints *checkpoints);

/* Waits for the save in progress. Accepts a zeroed one. */
void checkpoints_close(struct checkpoints *checkpoints);

/* Reads the checkpoint to resume from: last, or if that is damaged the newest valid step-*, or
 * best, with a warning that names each damaged one. `found` is false when the folder holds none at
 * all; checkpoints that are there but all damaged are an error. */
CHECKED enum status checkpoints_load_latest(const char *directory, struct checkpoint *checkpoint,
                                            bool *found);

/* directory/last.medtrain, directory/best.medtrain (caller frees; NULL when out of memory). */
char *checkpoints_last_path(const char *directory);
char *checkpoints_best_path(const char *directory);
