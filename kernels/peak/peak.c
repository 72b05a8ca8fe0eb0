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

static const struct peak_kernel *find_kernel(const struct device *device) {
  int i = 0;
  while (kernels[i] && !(kernels[i]->device == device->ops->kind && kernels[i]->applies())) i++;
  return kernels[i];
}

static enum status measure_flops(struct stream *stream, struct event events[2], enum dtype dtype,
                                 void *memory, double *best) {
  const struct device_ops *device = stream->device->ops;
  const struct peak_kernel *kernel = find_kernel(stream->device);
  for (int round = 0; kernel && round < ROUNDS; round++) {
    double flops, seconds;
    TRY(device->event_record(&events[0], stream));
    TRY(kernel->work(stream, dtype, memory, &flops));
    TRY(device->event_record(&events[1], stream));
    TRY(seconds_between(stream, events, &seconds));
    *best = fmax(*best, flops / seconds);
  }
  return STATUS_OK;
}

/* Sweeps through three arrays, one behind the other; each gives its bytes, read and written. */
static enum status sweep(struct stream *stream, void *memory, double *bytes) {
  const struct device_ops *device = stream->device->ops;
  const struct peak_kernel *kernel = find_kernel(stream->device);
  const int64_t count = (int64_t)(ARRAY_BYTES / sizeof(float));
  float *a = memory;
  *bytes = (device->host_memory ? 3.0 : 2.0) * (double)ARRAY_BYTES;
  if (!device->host_memory)
    return device->copy(stream, memory, (char *)memory + ARRAY_BYTES, ARRAY_BYTES);
  kernel->triad(a, a + count, a + 2 * count, count);
  return STATUS_OK;
}

static enum status sweep_reading(struct stream *stream, void *memory, double *bytes) {
  const struct peak_kernel *kernel = find_kernel(stream->device);
  if (!stream->device->ops->host_memory) return sweep(stream, memory, bytes);
  volatile float sum = kernel->sum(memory, (int64_t)(3 * ARRAY_BYTES / sizeof(float)));
  (void)sum;
  *bytes = 3.0 * (double)ARRAY_BYTES;
  return STATUS_OK;
}

static enum status measure_bytes(struct stream *stream, struct event events[2], void *memory,
                                 enum status (*call)(struct stream *, void *, double *),
                                 double *best) {
  const struct device_ops *device = stream->device->ops;
  for (int round = 0; round < ROUNDS; round++) {
    double bytes, seconds;
    TRY(device->event_record(&events[0], stream));
    TRY(call(stream, memory, &bytes));
    TRY(device->event_record(&events[1], stream));
    TRY(seconds_between(stream, events, &seconds));
    *best = fmax(*best, bytes / seconds);
  }
  return STATUS_OK;
}

static enum status measure(struct stream *stream, struct event events[2], enum dtype dtype,
                           void *memory, bool sweeps, struct peak *peak) {
  const struct device_ops *device = stream->device->ops;
  TRY(device->stream_open(stream->device, stream));
  TRY(device->event_open(stream->device, &events[0]));
  TRY(device->event_open(stream->device, &events[1]));
  if (sweeps) {
    TRY(device->fill(stream, memory, 0, 3 * ARRAY_BYTES)); /* pages are there from now on */
    TRY(measure_bytes(stream, events, memory, sweep, &peak->bytes));
    TRY(measure_bytes(stream, events, memory, sweep_reading, &peak->reads));
  }
  return measure_flops(stream, events, dtype, memory, &peak->flops);
}

static enum status measure_all(struct device *device, enum dtype dtype, bool sweeps,
                               struct peak *peak) {
  struct stream stream = {.device = device};
  struct event events[2] = {0};
  void *memory;
  size_t bytes = sweeps ? 3 * ARRAY_BYTES : PEAK_OUT;
  *peak = (struct peak){0};
  TRY(device->ops->allocate(device, bytes, &memory));
  enum status status = measure(&stream, events, dtype, memory, sweeps, peak);
  device->ops->event_close(&events[0]);
  device->ops->event_close(&events[1]);
  device->ops->stream_close(&stream);
  device->ops->release(device, memory, bytes);
  return status;
}

enum status peak_measure(struct device *device, enum dtype dtype, struct peak *peak) {
  return measure_all(device, dtype, true, peak);
}

enum status peak_measure_flops(struct device *device, enum dtype dtype, double *flops) {
  struct peak peak;
  enum status status = measure_all(device, dtype, false, &peak);
  *flops = peak.flops;
  return status;
}
