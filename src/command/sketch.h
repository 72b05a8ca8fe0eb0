/* A training network of a config without opening its data, for plan and bench: extents and classes
 * come from the prepared data where there is some, else from the config. */
#pragma once
#include "config/config.h"
#include "task/task.h"
#include "train/network.h"

struct sketch {
  const struct task *task;
  struct task_run task_run; /* extents and classes; the data set is not mapped */
  struct network training, evaluation;
};

CHECKED enum status sketch_open(struct sketch *sketch, const struct config *config);
/* Accepts a zeroed one. */
void sketch_close(struct sketch *sketch);

/* Bytes a training rank of `ranks` holds, by what for. */
enum { SKETCH_MAX_LINES = 12 };
struct sketch_memory {
  int count;
  struct {
    const char *what;
    double bytes;
  } line[SKETCH_MAX_LINES];
  double total;
};
void sketch_memory(const struct sketch *sketch, const struct config *config, int ranks,
                   struct sketch_memory *memory);
