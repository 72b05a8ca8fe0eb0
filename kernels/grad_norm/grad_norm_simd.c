/* The sum of squares on vectors: a block in 16 lanes, the blocks by the tree of fold.h. */
#include "kernels/common/fold.h"
#include "kernels/common/simd.h"
#include "kernels/grad_norm/kernels.h"

enum { LANES = GRAD_NORM_LANES };

static double block_sum(const float *g, int count) {
  double lane[LANES] = {0};
  int whole = count / LANES * LANES;
  for (int at = 0; at < whole; at += LANES)
    for (int i = 0; i < LANES; i++) lane[i] += (double)g[at + i] * (double)g[at + i];
  for (int i = whole; i < count; i++) lane[i - whole] += (double)g[i] * (double)g[i];
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}

static enum status sum(struct stream *stream, const float *g, int64_t count, double *partial) {
  (void)stream;
  int64_t blocks = grad_norm_blocks(count);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < blocks; i++) {
    int64_t at = i * GRAD_NORM_BLOCK, left = count - at;
    partial[i] = block_sum(g + at, left < GRAD_NORM_BLOCK ? (int)left : GRAD_NORM_BLOCK);
  }
  fold_sum(partial, blocks);
  return STATUS_OK;
}

extern const struct grad_norm_kernel SIMD_NAME(grad_norm);
const struct grad_norm_kernel SIMD_NAME(grad_norm) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .sum = sum,
};
