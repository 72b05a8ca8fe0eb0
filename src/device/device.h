/* Where tensors live and work is done: memory, streams and events, one table of functions per
 * device. Work on a stream runs in order and, on CUDA, later than the call that asks for it; a call
 * on a stream fails with what went wrong before it, too. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/status.h"

enum device_kind { DEVICE_CPU, DEVICE_CUDA };

struct device;
struct stream {
  struct device *device;
  void *handle; /* the device's own; NULL: the device's first stream. CPU streams are synchronous */
};

/* A point in a stream's work. */
struct event {
  struct device *device;
  void *handle;
};

/* Work recorded once, to be done again with one call. */
struct capture {
  struct device *device;
  void *handle; /* NULL: nothing */
};

struct device_ops {
  const char *name;
  enum device_kind kind;
  bool host_memory; /* the host reads and writes this device's memory */
  /* How many there are on this node; 0 without a driver. `why` (may be NULL) then says why not. */
  int (*count)(const char **why);
  enum status (*open)(struct device *device, int ordinal);
  void (*close)(struct device *device);
  /* Memory of the device, 64-byte aligned or better, contents unspecified. release accepts NULL. */
  enum status (*allocate)(struct device *device, size_t bytes, void **memory);
  void (*release)(struct device *device, void *memory, size_t bytes);
  /* Host memory whose copies to and from the device overlap with other work. */
  enum status (*allocate_host)(struct device *device, size_t bytes, void **memory);
  void (*release_host)(struct device *device, void *memory, size_t bytes);
  enum status (*stream_open)(struct device *device, struct stream *stream);
  void (*stream_close)(struct stream *stream); /* accepts a zeroed stream */
  /* Between host and device in either direction or within one of them. Memory from anywhere but
   * allocate and allocate_host may be used or given up on return. */
  enum status (*copy)(struct stream *stream, void *to, const void *from, size_t bytes);
  enum status (*fill)(struct stream *stream, void *memory, int byte, size_t bytes);
  enum status (*synchronize)(struct stream *stream);
  enum status (*event_open)(struct device *device, struct event *event);
  void (*event_close)(struct event *event); /* accepts a zeroed event */
  enum status (*event_record)(struct event *event, struct stream *stream);
  /* Work that the stream is given from now on waits for the event's last record. */
  enum status (*event_wait)(struct stream *stream, const struct event *event);
  enum status (*event_done)(const struct event *event, bool *done);
  /* Seconds between two recorded events, once both are done; negative if `to` came first. */
  enum status (*event_seconds)(const struct event *from, const struct event *to, double *seconds);
  /* NULL where calls cost as little as recorded work. Between begin and end, what the stream is
   * given is recorded instead of done; the calling thread then must not wait for the device nor
   * allocate on it. After an error in between, end still has to be called, and fails. */
  enum status (*capture_begin)(struct stream *stream);
  enum status (*capture_end)(struct stream *stream, struct capture *capture);
  enum status (*capture_launch)(const struct capture *capture, struct stream *stream);
  void (*capture_close)(struct capture *capture); /* accepts a zeroed one */
  /* Bytes that are free and that there are, for an open device. */
  enum status (*memory)(struct device *device, size_t *available, size_t *total);
  /* Versions, devices and what connects them, for people; needs no open device. */
  void (*describe)(FILE *out);
};

struct device {
  const struct device_ops *ops;
  int ordinal; /* which one of its kind on this node */
  int threads; /* CPU: OpenMP threads of this rank */
};

/* The device called `name`, there or not; "auto": the first that there is here, as device_open
 * takes it. STATUS_USAGE for a name that this build does not know. */
CHECKED enum status device_find(const char *name, const struct device_ops **ops);

/* Opens the device `name`: "cpu", "cuda", or "auto", which is cuda where this build and this node
 * have one, and else cpu, with a line in the log. Unknown or absent ones are a STATUS_USAGE error
 * that says what there is. local_rank picks among several of a kind; more ranks on a node
 * (local_size) than it has devices of the kind are a STATUS_USAGE error unless `share`. threads <=
 * 0 takes OMP_NUM_THREADS' value. */
CHECKED enum status device_open(struct device *device, const char *name, int local_rank,
                                int local_size, bool share, int threads);
/* Accepts a zeroed device. */
void device_close(struct device *device);

/* Copies and waits until it is done: for what is not part of a step. */
CHECKED enum status device_copy(struct device *device, void *to, const void *from, size_t bytes);

/* The compiled-in devices, best first, NULL-terminated: for --list. */
extern const struct device_ops *const devices[];
