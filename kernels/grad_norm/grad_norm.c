/* The tree over the blocks, and the table of kernels. */
#include "kernels/grad_norm/grad_norm.h"
#include <stddef.h>
#include "kernels/common/fold.h"
#include "kernels/grad_norm/blocks.h"

/* Blocks per group: a group's partial sums are kept on the stack and folded when it is done. */
enum { GROUP = 1024, LEVELS = 48 };

extern const struct grad_norm_kernel grad_norm_avx512, grad_norm_avx2, grad_norm_plain;

const struct grad_norm_kernel *const grad_norm_kernels[] = {&grad_norm_avx512, &grad_norm_avx2,
                                                            &grad_norm_plain, NULL};

static const struct grad_norm_kernel *choose(void) {
  int i = 0;
  while (!grad_norm_kernels[i]->applies()) i++; /* the last one always does */
  return grad_norm_kernels[i];
}

static double group_sum(const struct grad_norm_kernel *kernel, const float *g, int64_t count) {
  double partial[GROUP];
  int blocks = (int)((count + GRAD_NORM_BLOCK - 1) / GRAD_NORM_BLOCK);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < blocks; i++) {
    int64_t at = (int64_t)i * GRAD_NORM_BLOCK, left = count - at;
    partial[i] = kernel->block(g + at, left < GRAD_NORM_BLOCK ? (int)left : GRAD_NORM_BLOCK);
  }
  return fold_sum(partial, blocks);
}

double grad_norm_squared(const float *g, int64_t count) {
  const struct grad_norm_kernel *kernel = choose();
  const int64_t step = (int64_t)GROUP * GRAD_NORM_BLOCK;
  double level[LEVELS] = {0}, sum = 0; /* level k holds 2^k groups where bit k of `done` is set */
  int64_t done = 0;
  for (int64_t at = 0; at < count; at += step, done++) {
    double carry = group_sum(kernel, g + at, count - at < step ? count - at : step);
    int k = 0;
    for (; done >> k & 1; k++) carry += level[k];
    level[k] = carry;
  }
  for (int k = 0; k < LEVELS; k++)
    if (done >> k & 1) sum += level[k];
  return sum;
}
