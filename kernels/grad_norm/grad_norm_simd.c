/* The sum of squares of a block in LANES lanes: element i goes to lane i % LANES. */
#include "kernels/common/simd.h"
#include "kernels/grad_norm/blocks.h"

enum { LANES = 16 };

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

extern const struct grad_norm_kernel SIMD_NAME(grad_norm);
const struct grad_norm_kernel SIMD_NAME(grad_norm) = {
    .name = SIMD_LABEL("simd"),
    .applies = simd_available,
    .block = block_sum,
};
