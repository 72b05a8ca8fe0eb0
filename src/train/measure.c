/* Kernels by the clock. */
#include "train/measure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/timer.h"

enum {
  WARM = 2,
  ROUNDS = 5,
  LEAST_ROUNDS = 2,
  ALIGNMENT = 256,
  FILL = 0x3c,       /* 0.0115 in float32 and bfloat16, 1.06 in float16: no denormals, no zeros */
  WAVE = 1 << 10,    /* voxels */
  PATTERN = 1 << 16, /* elements */
  LABEL_RUN = 8,     /* voxels of one label */
};

/* A displacement that is neither everywhere the same nor rough. */
static const float HIGHEST = 3; /* voxels */

bool measure_trains(const struct node *node) {
  bool trained = node->parameter_count > 0;
  for (int i = 0; i < node->input_count; i++) trained = trained || node->wants_dx[i];
  return trained;
}

/* A node with memory of its own. */
struct bench {
  struct device *device;
  struct stream stream;
  struct event start, end;
  struct node node;
  struct io io;
  void *memory;
  size_t bytes;
};

static void *take(struct bench *bench, size_t *end, size_t bytes) {
  void *place = bench->memory ? (char *)bench->memory + *end : NULL;
  *end += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return place;
}

/* Gives every tensor its place; without memory, only counts. */
static size_t lay_out(struct bench *bench) {
  struct node *node = &bench->node;
  struct io *io = &bench->io;
  size_t end = 0, forward = node->forward_workspace, backward = node->backward_workspace;
  for (int i = 0; i < node->input_count; i++) {
    io->x[i] = take(bench, &end, tensor_bytes(&node->x[i]));
    io->dx[i] = node->wants_dx[i] ? take(bench, &end, tensor_bytes(&node->x[i])) : NULL;
  }
  io->y = take(bench, &end, tensor_bytes(&node->y));
  io->dy = take(bench, &end, tensor_bytes(&node->y));
  for (int i = 0; i < node->parameter_count; i++) {
    size_t bytes = (size_t)parameter_count(&node->parameter[i]) * sizeof(float);
    io->w[i] = take(bench, &end, bytes);
    io->dw[i] = take(bench, &end, bytes);
  }
  for (int i = 0; i < node->saved_count; i++)
    io->saved[i] = take(bench, &end, tensor_bytes(&node->saved[i]));
  io->workspace = take(bench, &end, forward > backward ? forward : backward);
  return end;
}

/* What images hold: values that rise and fall along w, runs of two labels. What a kernel that
 * gathers takes depends on them. */
static void make_pattern(enum dtype dtype, void *pattern) {
  for (int i = 0; i < PATTERN; i++) {
    float rise = (float)(i % WAVE) / (WAVE / 4.0F) - 2; /* -2 .. 2 */
    if (dtype == DTYPE_F32) ((float *)pattern)[i] = HIGHEST * (fabsf(rise) - 1);
    if (dtype == DTYPE_U8) ((uint8_t *)pattern)[i] = (uint8_t)(i / LABEL_RUN % 2);
  }
}

/* Images repeat a pattern; numbers of samples are the operator's example, or stay what FILL makes
 * them. */
static enum status fill_input(struct bench *bench, int input) {
  const struct tensor *x = &bench->node.x[input];
  bool image = shape_voxels(x->shape) > 1;
  size_t left = tensor_bytes(x), most = image ? PATTERN * dtype_bytes(x->dtype) : left;
  char *to = (char *)(uintptr_t)bench->io.x[input], *values = malloc(most);
  enum status status = STATUS_OK;
  REQUIRE(values, STATUS_FAILED, "measuring kernels: out of memory");
  memset(values, FILL, most);
  if (image)
    make_pattern(x->dtype, values);
  else if (bench->node.op->example)
    bench->node.op->example(&bench->node, input, values);
  for (size_t bytes; !status && left > 0; left -= bytes, to += bytes) {
    bytes = left < most ? left : most;
    status = bench->device->ops->copy(&bench->stream, to, values, bytes);
  }
  if (!status) status = bench->device->ops->synchronize(&bench->stream);
  free(values);
  return status;
}

static enum status bench_open(struct bench *bench, struct device *device, const struct node *node,
                              const struct kernel *kernel) {
  *bench = (struct bench){.device = device, .node = *node};
  bench->node.kernel = kernel;
  bench->node.forward_workspace = bench->node.backward_workspace = 0;
  if (kernel->prepare) kernel->prepare(&bench->node);
  bench->bytes = lay_out(bench);
  TRY(device->ops->allocate(device, bench->bytes, &bench->memory));
  lay_out(bench);
  TRY(device->ops->stream_open(device, &bench->stream));
  TRY(device->ops->event_open(device, &bench->start));
  TRY(device->ops->event_open(device, &bench->end));
  TRY(device->ops->fill(&bench->stream, bench->memory, FILL, bench->bytes));
  for (int i = 0; i < node->input_count; i++) TRY(fill_input(bench, i));
  return STATUS_OK;
}

static void bench_close(struct bench *bench) {
  bench->device->ops->event_close(&bench->end);
  bench->device->ops->event_close(&bench->start);
  bench->device->ops->stream_close(&bench->stream);
  bench->device->ops->release(bench->device, bench->memory, bench->bytes);
}

/* Queues one call and brings back its time. */
static enum status run_once(struct bench *bench,
                            enum status (*call)(const struct node *, const struct io *,
                                                struct stream *),
                            double *seconds) {
  const struct device_ops *device = bench->device->ops;
  TRY(device->event_record(&bench->start, &bench->stream));
  TRY(call(&bench->node, &bench->io, &bench->stream));
  TRY(device->event_record(&bench->end, &bench->stream));
  TRY(device->synchronize(&bench->stream));
  return device->event_seconds(&bench->start, &bench->end, seconds);
}

/* backward is called right after forward each time, as in training: it may change dy, and reads
 * what forward saved. */
static enum status run_often(struct bench *bench, double seconds, struct measured *best) {
  const struct kernel *kernel = bench->node.kernel;
  bool trains = measure_trains(&bench->node) && kernel->training;
  int least = seconds > 0 ? LEAST_ROUNDS : WARM + ROUNDS;
  double started = timer_now();
  *best = (struct measured){INFINITY, trains ? INFINITY : 0};
  for (int i = 0; i < least || timer_now() - started < seconds; i++) {
    struct measured now = {0};
    TRY(run_once(bench, kernel->forward, &now.forward));
    if (trains) TRY(run_once(bench, kernel->backward, &now.backward));
    best->forward = fmin(best->forward, now.forward);
    best->backward = fmin(best->backward, now.backward);
  }
  return STATUS_OK;
}

struct measured measure_kernel(struct device *device, const struct node *node,
                               const struct kernel *kernel, double seconds) {
  struct bench bench;
  struct measured best = {INFINITY, INFINITY};
  enum status status = bench_open(&bench, device, node, kernel);
  if (!status) status = run_often(&bench, seconds, &best);
  if (status) {
    log_warning("%s: kernel %s cannot be measured: %s", node->name, kernel->name, status_message());
    status_clear();
    best = (struct measured){INFINITY, INFINITY};
  }
  bench_close(&bench);
  return best;
}
