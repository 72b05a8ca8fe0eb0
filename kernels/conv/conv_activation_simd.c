/* The step between dy and the gradient passes: the derivative of the fused LeakyReLU and the
 * gradient of the bias, in one sweep. */
#include "kernels/common/simd16.h"
#include "kernels/conv/conv_direct.h"

/* Undoes the activation of the vector at element `at` and returns it. */
static inline __attribute__((always_inline)) simd sweep_vector(enum dtype dtype, const void *y,
                                                               void *dy, int64_t at, float slope) {
  simd gradient = simd_get(dtype, dy, at);
  if (slope == 1) return gradient;
  simd_int above = simd_get(dtype, y, at) > 0;
  gradient = (simd)((above & (simd_int)gradient) | (~above & (simd_int)(gradient * slope)));
  simd_put(dtype, dy, at, gradient, false);
  return gradient;
}

/* The d-plane from element `plane` on of one block of 16 channels. `dtype` is a constant. */
static inline __attribute__((always_inline)) void sweep_blocked(enum dtype dtype, struct shape s,
                                                                const void *y, void *dy,
                                                                int64_t plane, float slope,
                                                                float *sums) {
  simd total[SIMD_PER_BLOCK] = {0};
  for (int64_t first = 0; first < (int64_t)s.h * s.w; first += s.w) {
    simd row[SIMD_PER_BLOCK] = {0};
    for (int64_t v = first; v < first + s.w; v++)
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        row[p] += sweep_vector(dtype, y, dy, plane + v * CHANNEL_BLOCK + p * SIMD_WIDTH, slope);
    for (int p = 0; p < SIMD_PER_BLOCK; p++) total[p] += row[p];
  }
  for (int p = 0; p < SIMD_PER_BLOCK; p++) simd_store(sums + p * SIMD_WIDTH, total[p]);
}

/* The vectors of a row of one planar channel; returns their sum. */
static simd sweep_row(const float *y, float *dy, int64_t length, float slope) {
  simd sum = {0};
  for (int64_t i = 0; i < length; i += SIMD_WIDTH) sum += sweep_vector(DTYPE_F32, y, dy, i, slope);
  return sum;
}

/* One d-plane of one planar channel. */
static void sweep_planar(struct shape s, const float *y, float *dy, float slope, float *sums) {
  float total = 0;
  int64_t whole = s.w / SIMD_WIDTH * SIMD_WIDTH;
  for (int h = 0; h < s.h; h++, dy += s.w, y = y ? y + s.w : NULL) {
    float lanes[SIMD_WIDTH], row = 0;
    simd_store(lanes, sweep_row(y, dy, whole, slope));
    for (int i = 0; i < SIMD_WIDTH; i++) row += lanes[i];
    for (int64_t i = whole; i < s.w; i++) {
      if (slope != 1 && !(y[i] > 0)) dy[i] *= slope;
      row += dy[i];
    }
    total += row;
  }
  *sums = total;
}

void SIMD_NAME(conv_bias_gradient)(const struct tensor *tensor, const float *partial, float *db) {
  struct shape s = tensor->shape;
  int group = conv_group_of(tensor), groups = tensor_stored_channels(tensor) / group;
  for (int c = 0; c < s.c; c++) {
    double sum = 0;
    for (int n = 0; n < s.n; n++)
      for (int d = 0; d < s.d; d++)
        sum += partial[((int64_t)(n * groups + c / group) * s.d + d) * group + c % group];
    db[c] = (float)sum;
  }
}

void SIMD_NAME(conv_activation)(const struct tensor *tensor, const float *y, float *dy, float slope,
                                float *db, float *partial) {
  if (slope == 1 && !db) return;
  struct shape s = tensor->shape;
  int group = conv_group_of(tensor), groups = tensor_stored_channels(tensor) / group;
  int64_t plane = (int64_t)s.h * s.w * group;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < (int64_t)s.n * groups * s.d; i++) {
    float *sums = partial + i * group;
    if (group == 1)
      sweep_planar(s, slope != 1 ? y + i * plane : NULL, dy + i * plane, slope, sums);
    else if (tensor->dtype == DTYPE_BF16)
      sweep_blocked(DTYPE_BF16, s, y, dy, i * plane, slope, sums);
    else
      sweep_blocked(DTYPE_F32, s, y, dy, i * plane, slope, sums);
  }
  if (db) SIMD_NAME(conv_bias_gradient)(tensor, partial, db);
}
