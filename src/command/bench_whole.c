/* A step of training without its data: what ranks do together is all there. */
#include "command/bench_whole.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/timer.h"
#include "command/bench.h"
#include "command/reduction.h"
#include "kernels/grad_norm/grad_norm.h"

enum { ROW = 17 }; /* losses of a slot that are added up, as in training */

struct work {
  const struct bench_whole *whole;
  struct tree tree;
  struct grad_norm norm;
  double *rows;
  int slot; /* that is computed */
};

static enum status push_bucket(void *context, const struct plan_bucket *bucket) {
  struct work *work = context;
  return tree_push(&work->tree, work->slot, work->whole->gradients + bucket->first, bucket->first,
                   bucket->count);
}

static enum status move_messages(void *context) {
  return tree_progress(&((struct work *)context)->tree);
}

static enum status one_step(struct work *work) {
  const struct bench_whole *whole = work->whole;
  const struct run_hooks hooks = {push_bucket, move_messages, work};
  struct stream *stream = &whole->run->stream;
  const struct slot_range *own = &work->tree.own;
  double sums[ROW], squared;
  TRY(tree_start(&work->tree, whole->gradients, stream));
  for (work->slot = own->first; work->slot < own->first + own->count; work->slot++) {
    TRY(whole->slot(whole->context, &hooks));
    TRY(whole->run->device->ops->synchronize(stream));
  }
  TRY(tree_wait(&work->tree));
  TRY(comm_agree(whole->comm, STATUS_OK));
  TRY(comm_tree_sum(whole->comm, work->tree.slots, ROW, work->rows, NULL, sums));
  TRY(grad_norm_squared(&work->norm, stream, whole->gradients, work->tree.count, &squared));
  TRY(whole->update(whole->context));
  return whole->run->device->ops->synchronize(stream);
}

static double processor_seconds(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static enum status time_steps(struct work *work, int steps, double *seconds, double *processor) {
  struct comm *comm = work->whole->comm;
  int64_t nanoseconds[BENCH_MOST_STEPS + 1];
  TRY(one_step(work)); /* touches memory */
  double before = processor_seconds();
  for (int i = 0; i < steps; i++) {
    TRY(comm_barrier(comm));
    double started = timer_now();
    TRY(one_step(work));
    nanoseconds[i] = (int64_t)(1e9 * (timer_now() - started));
  }
  nanoseconds[steps] = (int64_t)(1e9 * (processor_seconds() - before) / steps);
  TRY(comm_reduce_int64(comm, COMM_MAX, nanoseconds, steps + 1));
  for (int i = 0; i < steps; i++) seconds[i] = 1e-9 * (double)nanoseconds[i];
  *processor = 1e-9 * (double)nanoseconds[steps];
  bench_sort(seconds, steps);
  return STATUS_OK;
}

static enum status open_own(struct work *work) {
  struct device *device = work->whole->run->device;
  work->rows = calloc((size_t)work->tree.own.count * ROW, sizeof *work->rows);
  REQUIRE(work->rows, STATUS_FAILED, "bench: out of memory");
  return grad_norm_open(&work->norm, device, work->tree.count);
}

static enum status measure(struct work *work, int steps, json_t **result) {
  const struct bench_whole *whole = work->whole;
  const struct config *config = whole->config;
  int slots = (int)config->train.slots;
  double seconds[BENCH_MOST_STEPS], processor = 0;
  TRY(reduction_open(&work->tree, whole->comm, whole->run->device, config, slots,
                     whole->run->plan->parameter_elements));
  TRY(comm_agree(whole->comm, open_own(work)));
  TRY(time_steps(work, steps, seconds, &processor));
  double median = seconds[steps / 2], samples = (double)config->train.slot_samples * slots;
  *result = json_pack("{s:i, s:i, s:f, s:f, s:f, s:f}", "ranks", whole->comm->size, "slots", slots,
                      "seconds_median", median, "seconds_min", seconds[0], "samples_per_second",
                      samples / median, "processor_seconds", processor);
  REQUIRE(*result, STATUS_FAILED, "bench: out of memory");
  if (whole->comm->rank == 0)
    printf("whole steps of %d slots on %d rank%s: %.4f s, %.2f samples/s\n", slots,
           whole->comm->size, whole->comm->size == 1 ? "" : "s", median, samples / median);
  return STATUS_OK;
}

enum status bench_whole(const struct bench_whole *whole, int steps, json_t **result) {
  struct work work = {.whole = whole};
  enum status status = measure(&work, steps, result);
  grad_norm_close(&work.norm);
  tree_close(&work.tree);
  free(work.rows);
  return status;
}
