/* Fused multiply-adds on as many independent vectors as hide their latency; sweeps through memory.
 */
#include <omp.h>
#include "kernels/common/simd.h"
#include "kernels/peak/peak.h"
#include "kernels/peak/peak_bf16.h"

enum { CHAINS = 10, TURNS = 1 << 24 };

/* The sums go to 1000 start: none may approach zero, where products of subnormal numbers take some
 * processors a hundred times as long. */
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
  *flops = dtype == DTYPE_BF16 ? SIMD_NAME(peak_bf16)() : 0;
  if (dtype != DTYPE_F32) return STATUS_OK;
  float *sums = out;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < threads; i++) {
    float sum = chains((float)(i + 1));
    if (i < PEAK_OUT / (int)sizeof(float)) sums[i] = sum;
  }
  *flops = 2.0 * SIMD_WIDTH * CHAINS * TURNS * threads;
  return STATUS_OK;
}

static void triad(float *a, const float *b, const float *c, int64_t count) {
#pragma omp parallel
  {
    const simd factor = simd_all(3);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; i += SIMD_WIDTH)
      simd_stream(a + i, simd_load(b + i) + factor * simd_load(c + i));
    simd_flush();
  }
}

enum { SUMS = 4, PARTS = 64 };

static float sum_part(const float *a, int64_t count) {
  simd sums[SUMS] = {{0}};
  for (int64_t i = 0; i + SUMS * SIMD_WIDTH <= count; i += SUMS * SIMD_WIDTH)
    SIMD_UNROLL for (int k = 0; k < SUMS; k++) sums[k] += simd_load(a + i + k * SIMD_WIDTH);
  simd all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float total = 0;
  for (int lane = 0; lane < SIMD_WIDTH; lane++) total += all[lane];
  return total;
}

static float sum(const float *a, int64_t count) {
  float parts[PARTS], all = 0;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < PARTS; i++) parts[i] = sum_part(a + count / PARTS * i, count / PARTS);
  for (int i = 0; i < PARTS; i++) all += parts[i];
  return all;
}

extern const struct peak_kernel SIMD_NAME(peak);
const struct peak_kernel SIMD_NAME(peak) = {
    .name = SIMD_LABEL("peak"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .work = work,
    .triad = triad,
    .sum = sum,
};
