/* The reduction by itself, beside a step, and for the doctor. */
#include "command/reduction.h"
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "base/timer.h"
#include "command/machine.h"
#include "command/sketch.h"

/* How often, and for how long altogether, something is timed. */
enum { LEAST_ROUNDS = 3 };
static const double ROUNDS_SECONDS = 2;

enum status reduction_open(struct tree *tree, struct comm *comm, struct device *device,
                           const struct config *config, int slots, int64_t count) {
  const struct tree_options options = {
      .mode = strcmp(config->comm.reduce, "fast") == 0 ? TREE_FAST : TREE_EXACT,
      .transport = config->comm.transport,
      .slots = slots,
      .count = count,
      .bucket_elements = (size_t)config->comm.bucket_kib * 1024 / sizeof(float),
  };
  return comm_agree(comm, tree_open(tree, comm, device, &options));
}

static int by_size(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

/* What ranks do together, timed on each. */
struct timed {
  enum status (*once)(void *context, double *seconds);
  void *context;
};

/* How often it is worth doing what took this rank so long: all ranks find the same number. */
static enum status choose_rounds(struct comm *comm, double once, int *rounds) {
  int64_t nanoseconds = (int64_t)(once * 1e9) + 1;
  TRY(comm_reduce_int64(comm, COMM_MAX, &nanoseconds, 1));
  double most = ROUNDS_SECONDS * 1e9 / (double)nanoseconds;
  *rounds = most < LEAST_ROUNDS       ? LEAST_ROUNDS
            : most > REDUCTION_ROUNDS ? REDUCTION_ROUNDS
                                      : (int)most;
  return STATUS_OK;
}

/* The median of what the slowest rank took, once memory has been touched and messages have found
 * their way. */
static enum status time_often(struct comm *comm, const struct timed *timed, double *seconds) {
  double round[REDUCTION_ROUNDS];
  int64_t longest[REDUCTION_ROUNDS];
  int rounds = 0;
  for (int warm = 0; warm < 2; warm++) TRY(timed->once(timed->context, &round[0]));
  TRY(choose_rounds(comm, round[0], &rounds));
  for (int i = 0; i < rounds; i++) {
    TRY(timed->once(timed->context, &round[i]));
    longest[i] = (int64_t)(round[i] * 1e9);
  }
  TRY(comm_reduce_int64(comm, COMM_MAX, longest, rounds));
  for (int i = 0; i < rounds; i++) round[i] = 1e-9 * (double)longest[i];
  qsort(round, (size_t)rounds, sizeof *round, by_size);
  *seconds = round[rounds / 2];
  return STATUS_OK;
}

struct alone {
  struct tree *tree;
  struct stream *stream;
  float *block;
};

static enum status once_alone(void *context, double *seconds) {
  struct tree *tree = ((struct alone *)context)->tree;
  struct stream *stream = ((struct alone *)context)->stream;
  float *block = ((struct alone *)context)->block;
  int last = tree->own.first + tree->own.count - 1;
  TRY(comm_barrier(tree->comm));
  TRY(tree_start(tree, block, stream));
  for (int slot = tree->own.first; slot < last; slot++)
    TRY(tree_push(tree, slot, block, 0, tree->count));
  TRY(stream->device->ops->synchronize(stream));
  double started = timer_now();
  TRY(tree_push(tree, last, block, 0, tree->count));
  TRY(tree_wait(tree));
  TRY(stream->device->ops->synchronize(stream));
  *seconds = timer_now() - started;
  return STATUS_OK;
}

enum status reduction_alone(struct tree *tree, struct stream *stream, float *block,
                            double *seconds) {
  struct alone alone = {tree, stream, block};
  return time_often(tree->comm, &(struct timed){once_alone, &alone}, seconds);
}

struct beside {
  struct tree *tree;
  struct comm *comm;
  struct run *run;
  float *gradients;
};

static enum status push_bucket(void *context, const struct plan_bucket *bucket) {
  struct beside *beside = context;
  return tree_push(beside->tree, beside->tree->own.first, beside->gradients + bucket->first,
                   bucket->first, bucket->count);
}

static enum status move_messages(void *context) {
  return tree_progress(((struct beside *)context)->tree);
}

static enum status once_beside(void *context, double *seconds) {
  struct beside *beside = context;
  struct run *run = beside->run;
  const struct run_hooks hooks = {push_bucket, move_messages, beside};
  TRY(comm_barrier(beside->comm));
  double started = timer_now();
  if (beside->tree) TRY(tree_start(beside->tree, beside->gradients, &run->stream));
  TRY(run_forward(run));
  TRY(run_backward(run, 1.0, beside->tree ? &hooks : NULL));
  if (beside->tree) TRY(tree_wait(beside->tree));
  TRY(run->device->ops->synchronize(&run->stream));
  *seconds = timer_now() - started;
  return STATUS_OK;
}

enum status reduction_beside(struct tree *tree, struct comm *comm, struct run *run,
                             float *gradients, double *seconds) {
  struct beside beside = {tree, comm, run, gradients};
  return time_often(comm, &(struct timed){once_beside, &beside}, seconds);
}

/* What the doctor's measurement has open. */
struct trial {
  struct device device;
  struct sketch sketch;
  struct tree tree;
  struct stream stream;
  void *block;
  size_t bytes;
};

static enum status open_block(struct trial *trial, const struct config *config) {
  struct device *device = &trial->device;
  TRY(sketch_open(&trial->sketch, config, device->ops));
  trial->bytes = sizeof(float) * (size_t)trial->sketch.training.plan.parameter_elements;
  TRY(device->ops->stream_open(device, &trial->stream));
  TRY(device->ops->allocate(device, trial->bytes, &trial->block));
  return device->ops->fill(&trial->stream, trial->block, 0, trial->bytes);
}

static void print_measured(const struct trial *trial, double seconds, FILE *out) {
  char way[128], bytes[32];
  tree_describe(&trial->tree, way, sizeof way);
  fprintf(out, "  %-22s %s over %d ranks: %.3f ms (%.2f GB/s of gradient) by %s\n", "gradient",
          text_bytes((double)trial->bytes, bytes), trial->tree.comm->size, seconds * 1e3,
          (double)trial->bytes / seconds * 1e-9, way);
}

static enum status measure(struct trial *trial, const struct config *config, struct comm *comm,
                           FILE *out) {
  double seconds;
  TRY(machine_open(&trial->device, config, comm));
  TRY(comm_agree(comm, open_block(trial, config)));
  TRY(reduction_open(&trial->tree, comm, &trial->device, config, (int)config->train.slots,
                     trial->sketch.training.plan.parameter_elements));
  TRY(reduction_alone(&trial->tree, &trial->stream, trial->block, &seconds));
  if (comm->rank == 0) print_measured(trial, seconds, out);
  return STATUS_OK;
}

enum status reduction_report(const struct config *config, struct comm *comm, FILE *out) {
  struct trial trial = {0};
  enum status status = measure(&trial, config, comm, out);
  tree_close(&trial.tree);
  if (trial.device.ops) {
    trial.device.ops->release(&trial.device, trial.block, trial.bytes);
    trial.device.ops->stream_close(&trial.stream);
  }
  sketch_close(&trial.sketch);
  device_close(&trial.device);
  return status;
}
