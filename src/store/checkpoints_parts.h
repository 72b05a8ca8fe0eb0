/* Between the names in a checkpoint folder (checkpoints.c) and the thread that writes them
 * (checkpoints_writer.c). */
#pragma once
#include "store/checkpoints.h"

/* One save: a snapshot and what to call it. */
struct checkpoint_save {
  int64_t step;
  bool best;
  int keep;
  json_t *metadata;
  struct stored_tensor *tensors;
  int count;
};

/* Writes the step file, gives it its other names, removes old ones. */
CHECKED enum status checkpoint_save_write(const char *directory,
                                          const struct checkpoint_save *save);

CHECKED enum status checkpoints_remove_leftovers(const char *directory);
