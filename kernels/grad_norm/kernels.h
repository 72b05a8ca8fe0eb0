/* One version of the sum per instruction set and device. Internal to the folder, and for tests. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "kernels/grad_norm/grad_norm.h"

enum { GRAD_NORM_LANES = 16 }; /* element i of a block goes to lane i % 16 */

struct grad_norm_kernel {
  const char *name;
  enum device_kind device;
  bool (*applies)(void); /* asks the processor */
  /* Leaves the sum in partial[0]; partial holds one float64 per block. */
  enum status (*sum)(struct stream *stream, const float *g, int64_t count, double *partial);
};

/* All kernels, best first, NULL-terminated. */
extern const struct grad_norm_kernel *const grad_norm_kernels[];

static inline int64_t grad_norm_blocks(int64_t count) {
  return (count + GRAD_NORM_BLOCK - 1) / GRAD_NORM_BLOCK;
}
