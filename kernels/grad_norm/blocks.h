/* The sum of squares of single blocks, one version per instruction set. Internal to the folder. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "kernels/grad_norm/grad_norm.h"

struct grad_norm_kernel {
  const char *name;
  bool (*applies)(void); /* asks the processor */
  double (*block)(const float *g, int count);
};

/* All kernels, best first, NULL-terminated. */
extern const struct grad_norm_kernel *const grad_norm_kernels[];
