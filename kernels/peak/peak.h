/* The limits of a device, measured: what benchmarks compare with. */
#pragma once
#include <stdint.h>
#include "device/device.h"
#include "device/tensor.h"

struct peak {
  double flops; /* multiply-adds times two per second: on the CPU fused multiply-adds in registers
                   by all threads (bfloat16: tiles, or products of pairs), on CUDA matrix
                   instructions on registers; 0: none for this type */
  double bytes; /* per second, read and written: on the CPU the triad a = b + s*c on arrays far
                   larger than the caches, with stores that pass them by (writing through the caches
                   reads what it overwrites first, and is up to twice as slow); on CUDA a copy
                   within the device */
  double reads; /* per second, by what only reads such arrays; on CUDA as `bytes` */
};

/* Takes less than two seconds and half a gigabyte of the device. */
CHECKED enum status peak_measure(struct device *device, enum dtype dtype, struct peak *peak);

/* The arithmetic alone, in a tenth of a second and with little memory: for measuring it again
 * beside other work, since a processor's clock wanders with what else its machine does. */
CHECKED enum status peak_measure_flops(struct device *device, enum dtype dtype, double *flops);

/* Arithmetic on one kind of device; peak.c lists them. Internal to the folder. */
struct peak_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  /* Queues a piece of work on the stream, synchronous on the CPU; its arithmetic in *flops (0:
   * there is none for this type). `out` is at least PEAK_OUT bytes of the device. */
  enum status (*work)(struct stream *stream, enum dtype dtype, void *out, double *flops);
  /* Of the CPU, by all threads: a = b + 3c on `count` floats (a multiple of 64), and the sum of
   * them. Arrays are aligned to 64 bytes. */
  void (*triad)(float *a, const float *b, const float *c, int64_t count);
  float (*sum)(const float *a, int64_t count);
};
enum { PEAK_OUT = 1 << 16 };
