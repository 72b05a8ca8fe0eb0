/* Where tensors live and work is done: memory, streams and events, one table of functions per
 * device. */
#pragma once
#include <stddef.h>
#include "base/status.h"

enum device_kind { DEVICE_CPU, DEVICE_CUDA };

struct device;
struct stream {
  struct device *device;
  void *handle; /* the device's own stream; NULL on the CPU, whose streams are synchronous */
};

struct device_ops {
  const char *name;
  enum device_kind kind;
  enum status (*open)(struct device *device, int ordinal);
  void (*close)(struct device *device);
  /* 64-byte aligned or better, contents unspecified. */
  enum status (*allocate)(struct device *device, size_t bytes, void **memory);
  void (*release)(struct device *device, void *memory, size_t bytes);
  enum status (*copy)(struct stream *stream, void *to, const void *from, size_t bytes);
  enum status (*fill)(struct stream *stream, void *memory, int byte, size_t bytes);
  enum status (*synchronize)(struct stream *stream);
};

struct device {
  const struct device_ops *ops;
  int ordinal; /* which one of its kind on this node */
  int threads; /* CPU: OpenMP threads of this rank */
};

/* Opens the device `name` ("auto", "cpu"); unknown or absent ones are a STATUS_USAGE error that
 * lists the ones compiled in. `local_rank` picks among several of a kind. threads <= 0 takes
 * OMP_NUM_THREADS' value. */
CHECKED enum status device_open(struct device *device, const char *name, int local_rank,
                                int threads);
/* Accepts a zeroed device. */
void device_close(struct device *device);

/* The compiled-in devices, NULL-terminated: for --list. */
extern const struct device_ops *const devices[];
