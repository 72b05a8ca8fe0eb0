/* Sums whose bits do not depend on the number of threads: the terms are cut into fixed blocks, each
 * block is added by one thread, and the partial sums are folded here by one binary tree. */
#pragma once
#include <stdint.h>

/* The sum of `count` partial sums; overwrites them. */
static inline double fold_sum(double *partial, int64_t count) {
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t i = 0; i + step < count; i += 2 * step) partial[i] += partial[i + step];
  return count > 0 ? partial[0] : 0;
}
