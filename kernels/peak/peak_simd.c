/* Fused multiply-adds on as many independent vectors as hide their latency. */
#include <omp.h>
#include "kernels/common/simd.h"
#include "kernels/peak/peak.h"

enum { CHAINS = 10, TURNS = 1 << 24 };

static float chains(float start) {
  simd sums[CHAINS], factor = simd_all(0.999f), term = simd_all(start);
  SIMD_UNROLL
  for (int k = 0; k < CHAINS; k++) sums[k] = simd_all((float)k);
  for (int i = 0; i < TURNS; i++) {
    SIMD_UNROLL
    for (int k = 0; k < CHAINS; k++) sums[k] = sums[k] * factor + term;
  }
  float sum = 0;
  for (int k = 0; k < CHAINS; k++) sum += sums[k][0];
  return sum;
}

static enum status work(struct stream *stream, enum dtype dtype, void *out, double *flops) {
  (void)stream;
  int threads = omp_get_max_threads();
  *flops = 0;
  if (dtype != DTYPE_F32) return STATUS_OK;
  float *sums = out;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < threads; i++) {
    float sum = chains((float)i);
    if (i < PEAK_OUT / (int)sizeof(float)) sums[i] = sum;
  }
  *flops = 2.0 * SIMD_WIDTH * CHAINS * TURNS * threads;
  return STATUS_OK;
}

extern const struct peak_kernel SIMD_NAME(peak);
const struct peak_kernel SIMD_NAME(peak) = {
    .name = SIMD_LABEL("peak"), .device = DEVICE_CPU, .applies = simd_available, .work = work};
