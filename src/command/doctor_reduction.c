/* How fast the gradient of a config travels: the tree of training, on memory of zeros. */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "base/timer.h"
#include "command/doctor.h"
#include "command/machine.h"
#include "command/sketch.h"
#include "comm/tree.h"

enum { WARM = 3, ROUNDS = 20 };

struct reduction {
  struct comm *comm;
  struct device device;
  struct sketch sketch;
  struct tree tree;
  struct stream stream;
  void *block;
  size_t bytes;
  double seconds[ROUNDS];
};

static enum status open_block(struct reduction *reduction, const struct config *config) {
  struct device *device = &reduction->device;
  TRY(sketch_open(&reduction->sketch, config, device->ops));
  reduction->bytes = sizeof(float) * (size_t)reduction->sketch.training.plan.parameter_elements;
  TRY(device->ops->stream_open(device, &reduction->stream));
  TRY(device->ops->allocate(device, reduction->bytes, &reduction->block));
  return device->ops->fill(&reduction->stream, reduction->block, 0, reduction->bytes);
}

static enum status open_all(struct reduction *reduction, const struct config *config) {
  const struct tree_options options = {
      .mode = strcmp(config->comm.reduce, "fast") == 0 ? TREE_FAST : TREE_EXACT,
      .transport = config->comm.transport,
      .slots = (int)config->train.slots,
      .bucket_elements = (size_t)config->comm.bucket_kib * 1024 / sizeof(float),
  };
  TRY(machine_open(&reduction->device, config, reduction->comm));
  TRY(comm_agree(reduction->comm, open_block(reduction, config)));
  struct tree_options sized = options;
  sized.count = reduction->sketch.training.plan.parameter_elements;
  return comm_agree(reduction->comm,
                    tree_open(&reduction->tree, reduction->comm, &reduction->device, &sized));
}

static void close_all(struct reduction *reduction) {
  tree_close(&reduction->tree);
  if (reduction->device.ops) {
    reduction->device.ops->release(&reduction->device, reduction->block, reduction->bytes);
    reduction->device.ops->stream_close(&reduction->stream);
  }
  sketch_close(&reduction->sketch);
  device_close(&reduction->device);
}

/* From when the gradients of the last slot are there to when the total is. */
static enum status reduce_once(struct reduction *reduction, double *seconds) {
  struct tree *tree = &reduction->tree;
  int last = tree->own.first + tree->own.count - 1;
  TRY(comm_barrier(reduction->comm));
  TRY(tree_start(tree, reduction->block, &reduction->stream));
  for (int slot = tree->own.first; slot < last; slot++)
    TRY(tree_push(tree, slot, reduction->block, 0, tree->count));
  TRY(reduction->device.ops->synchronize(&reduction->stream));
  double started = timer_now();
  TRY(tree_push(tree, last, reduction->block, 0, tree->count));
  TRY(tree_wait(tree));
  TRY(reduction->device.ops->synchronize(&reduction->stream));
  *seconds = timer_now() - started;
  return STATUS_OK;
}

static int by_size(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

static enum status measure(struct reduction *reduction) {
  double warm;
  for (int i = 0; i < WARM; i++) TRY(reduce_once(reduction, &warm));
  for (int i = 0; i < ROUNDS; i++) TRY(reduce_once(reduction, &reduction->seconds[i]));
  qsort(reduction->seconds, ROUNDS, sizeof(double), by_size);
  return STATUS_OK;
}

static void print_measured(const struct reduction *reduction, FILE *out) {
  char way[128], bytes[32];
  double median = reduction->seconds[ROUNDS / 2];
  tree_describe(&reduction->tree, way, sizeof way);
  fprintf(out, "  %-22s %s over %d ranks: %.3f ms (%.2f GB/s of gradient) by %s\n", "gradient",
          text_bytes((double)reduction->bytes, bytes), reduction->comm->size, median * 1e3,
          (double)reduction->bytes / median * 1e-9, way);
}

enum status doctor_reduction(const struct config *config, struct comm *comm, FILE *out) {
  struct reduction reduction = {.comm = comm};
  enum status status = open_all(&reduction, config);
  if (!status) status = measure(&reduction);
  if (!status && comm->rank == 0) print_measured(&reduction, out);
  close_all(&reduction);
  return status;
}
