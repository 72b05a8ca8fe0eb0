/* The squared Euclidean norm of a flat block of gradients. Squares are exact in float64; blocks of
 * GRAD_NORM_BLOCK elements are added in 16 lanes, the blocks by one binary tree, so that the bits
 * depend neither on the number of threads nor on the instruction set nor on the device. NaN and
 * infinity come out as NaN or infinity. */
#pragma once
#include <stdint.h>
#include "device/device.h"

enum { GRAD_NORM_BLOCK = 4096 };

/* Memory for the sums of the blocks. */
struct grad_norm {
  struct device *device;
  int64_t most;    /* elements of the largest block of gradients */
  double *partial; /* on the device */
  double *result;  /* on the host */
};

/* For gradients of up to `most` elements. The device must outlive the state. */
CHECKED enum status grad_norm_open(struct grad_norm *state, struct device *device, int64_t most);
/* Accepts a zeroed or half-opened state. */
void grad_norm_close(struct grad_norm *state);

/* g: `count` floats in the device's memory. Waits for the stream; allocates nothing. 0 for an empty
 * block. STATUS_USAGE for more elements than the state was opened for. */
CHECKED enum status grad_norm_squared(struct grad_norm *state, struct stream *stream,
                                      const float *g, int64_t count, double *squared);
