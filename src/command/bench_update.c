/* bench ops: the update of the parameters at the end of a step. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include "command/bench_rate.h"
#include "kernels/grad_norm/grad_norm.h"
#include "optim/optim.h"

enum { CALLS = 20 };

/* The flat block of parameters, and what works on it. */
struct block {
  struct device *device;
  const struct peak *peak;
  json_t *rows;
  struct optimizer optimizer;
  struct grad_norm norm;
  struct stream stream;
  struct event start, end;
  float *weights, *gradients;
  int64_t count;
};

static enum status call_optimizer(struct block *block) {
  return optimizer_step(&block->optimizer, &block->stream, block->weights, block->gradients, 1e-4,
                        1.0);
}

static enum status call_norm(struct block *block) {
  double squared;
  return grad_norm_squared(&block->norm, &block->stream, block->gradients, block->count, &squared);
}

/* words: how many floats are read or written per parameter. */
static enum status measure_block(struct block *block, const char *name, double words,
                                 enum status (*call)(struct block *)) {
  const struct device_ops *device = block->device->ops;
  double best = INFINITY, seconds;
  for (int i = 0; i < CALLS; i++) {
    TRY(device->event_record(&block->start, &block->stream));
    TRY(call(block));
    TRY(device->event_record(&block->end, &block->stream));
    TRY(device->synchronize(&block->stream));
    TRY(device->event_seconds(&block->start, &block->end, &seconds));
    best = fmin(best, seconds);
  }
  double bytes = words * sizeof(float) * (double)block->count;
  struct bench_rate rate = bench_rate_bytes(bytes, best, block->peak);
  printf("%s (update): %lld parameters\n  %-24s %-8s", name, (long long)block->count, "", "update");
  bench_rate_print(&rate);
  printf("\n");
  json_array_append_new(block->rows, json_pack("{s:s, s:s, s:o}", "node", "update", "operator",
                                               name, "update", bench_rate_json(&rate)));
  return STATUS_OK;
}

static enum status open_block(struct block *block, const char *optimizer) {
  struct device *device = block->device;
  size_t bytes = sizeof(float) * (size_t)block->count;
  struct optimizer_options options = optimizer_defaults(optimizer);
  void *weights, *gradients;
  TRY(device->ops->stream_open(device, &block->stream));
  TRY(device->ops->event_open(device, &block->start));
  TRY(device->ops->event_open(device, &block->end));
  TRY(device->ops->allocate(device, bytes, &weights));
  block->weights = weights;
  TRY(device->ops->allocate(device, bytes, &gradients));
  block->gradients = gradients;
  TRY(device->ops->fill(&block->stream, weights, 0x3c, bytes));
  TRY(device->ops->fill(&block->stream, gradients, 0x3c, bytes));
  TRY(optimizer_open(&block->optimizer, device, &options, block->count));
  return grad_norm_open(&block->norm, device, block->count);
}

static void close_block(struct block *block) {
  const struct device_ops *device = block->device->ops;
  size_t bytes = sizeof(float) * (size_t)block->count;
  grad_norm_close(&block->norm);
  optimizer_close(&block->optimizer);
  device->release(block->device, block->weights, bytes);
  device->release(block->device, block->gradients, bytes);
  device->event_close(&block->start);
  device->event_close(&block->end);
  device->stream_close(&block->stream);
}

/* The optimiser reads weights, gradients and its states, and writes all but the gradients. */
enum status bench_update(struct device *device, const char *optimizer, int64_t parameters,
                         const struct peak *peak, json_t *rows) {
  struct block block = {.device = device, .peak = peak, .rows = rows, .count = parameters};
  enum status status = open_block(&block, optimizer);
  if (!status)
    status = measure_block(&block, optimizer, 3 + 2 * block.optimizer.state_count, call_optimizer);
  if (!status) status = measure_block(&block, "grad_norm", 1, call_norm);
  close_block(&block);
  return status;
}
