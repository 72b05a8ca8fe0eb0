/* A training network of a config without opening its data, for plan and bench: extents and classes
 * come from the prepared data where there is some, else from the config. */
#pragma once
#include "config/config.h"
#include "task/task.h"
#include "train/sums.h"

struct sketch {
  const struct task *task;
  const struct device_ops *device;
  struct task_run task_run; /* extents and classes; the data set is not mapped */
  struct network training, evaluation;
  struct sums sums;
};

/* Planned for a device, which need not be there. */
CHECKED enum status sketch_open(struct sketch *sketch, const struct config *config,
                                const struct device_ops *device);
/* Accepts a zeroed one. */
void sketch_close(struct sketch *sketch);

/* Bytes a training rank of `ranks` holds, by where and what for. On a device that shares the host's
 * memory all of it is the host's. */
enum { SKETCH_MAX_LINES = 16 };
enum sketch_place { SKETCH_DEVICE, SKETCH_HOST, SKETCH_PLACES };
struct sketch_memory {
  int count;
  struct {
    enum sketch_place place;
    const char *what;
    double bytes;
  } line[SKETCH_MAX_LINES];
  double total[SKETCH_PLACES];
};
void sketch_memory(const struct sketch *sketch, const struct config *config, int ranks,
                   struct sketch_memory *memory);
