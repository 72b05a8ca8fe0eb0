/* The clock around the pieces of work, and the memory's bandwidth. */
#include "kernels/peak/peak.h"
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/simd.h"

enum { ROUNDS = 4 };
static const size_t ARRAY_BYTES = (size_t)128 << 20;

CUDA_DECLARE_OTHER(peak_kernel, peak_cuda);
SIMD_DECLARE_OTHER(peak_kernel, peak);

static const struct peak_kernel *const kernels[] = {CUDA_OTHER(peak_cuda) SIMD_KERNELS(peak), NULL};

static enum status seconds_between(struct stream *stream, const struct event events[2],
                                   double *seconds) {
  TRY(stream->device->ops->synchronize(stream));
  return stream->device->ops->event_seconds(&events[0], &events[1], seconds);
}

static enum status measure_flops(struct stream *stream, struct event events[2], enum dtype dtype,
                                 void *memory, double *best) {
  const struct device_ops *device = stream->device->ops;
  int i = 0;
  while (kernels[i] && !(kernels[i]->device == device->kind && kernels[i]->applies())) i++;
  for (int round = 0; kernels[i] && round < ROUNDS; round++) {
    double flops, seconds;
    TRY(device->event_record(&events[0], stream));
    TRY(kernels[i]->work(stream, dtype, memory, &flops));
    TRY(device->event_record(&events[1], stream));
    TRY(seconds_between(stream, events, &seconds));
    *best = fmax(*best, flops / seconds);
  }
  return STATUS_OK;
}

/* a = b + 3c, the arrays one behind the other. */
static void triad(float *memory) {
  const int64_t count = (int64_t)(ARRAY_BYTES / sizeof(float));
  float *a = memory, *b = a + count, *c = b + count;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i++) a[i] = b[i] + 3 * c[i];
}

/* One sweep through memory; its bytes, read and written. */
static enum status sweep(struct stream *stream, void *memory, double *bytes) {
  const struct device_ops *device = stream->device->ops;
  *bytes = (device->host_memory ? 3.0 : 2.0) * (double)ARRAY_BYTES;
  if (!device->host_memory)
    return device->copy(stream, memory, (char *)memory + ARRAY_BYTES, ARRAY_BYTES);
  triad(memory);
  return STATUS_OK;
}

static enum status measure_bytes(struct stream *stream, struct event events[2], void *memory,
                                 double *best) {
  const struct device_ops *device = stream->device->ops;
  TRY(device->fill(stream, memory, 0, 3 * ARRAY_BYTES)); /* pages are there from now on */
  for (int round = 0; round < ROUNDS; round++) {
    double bytes, seconds;
    TRY(device->event_record(&events[0], stream));
    TRY(sweep(stream, memory, &bytes));
    TRY(device->event_record(&events[1], stream));
    TRY(seconds_between(stream, events, &seconds));
    *best = fmax(*best, bytes / seconds);
  }
  return STATUS_OK;
}

static enum status measure(struct stream *stream, struct event events[2], enum dtype dtype,
                           void *memory, struct peak *peak) {
  const struct device_ops *device = stream->device->ops;
  TRY(device->stream_open(stream->device, stream));
  TRY(device->event_open(stream->device, &events[0]));
  TRY(device->event_open(stream->device, &events[1]));
  TRY(measure_bytes(stream, events, memory, &peak->bytes));
  return measure_flops(stream, events, dtype, memory, &peak->flops);
}

enum status peak_measure(struct device *device, enum dtype dtype, struct peak *peak) {
  struct stream stream = {.device = device};
  struct event events[2] = {0};
  void *memory;
  *peak = (struct peak){0};
  TRY(device->ops->allocate(device, 3 * ARRAY_BYTES, &memory));
  enum status status = measure(&stream, events, dtype, memory, peak);
  device->ops->event_close(&events[0]);
  device->ops->event_close(&events[1]);
  device->ops->stream_close(&stream);
  device->ops->release(device, memory, 3 * ARRAY_BYTES);
  return status;
}
