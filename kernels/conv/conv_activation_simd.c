/* The step between dy and the gradient passes: the derivative of the fused LeakyReLU and the
 * gradient of the bias, in one sweep. */
#include "kernels/conv/conv_direct.h"

/* A row of `length` floats: undoes the activation and returns the sums of all vectors in it. */
static simd sweep_row(const float *y, float *dy, int64_t length, float slope) {
  simd sum = {0};
  for (int64_t i = 0; i < length; i += SIMD_WIDTH) {
    simd gradient = simd_load(dy + i);
    if (slope != 1) {
      simd_int above = simd_load(y + i) > 0;
      gradient = (simd)((above & (simd_int)gradient) | (~above & (simd_int)(gradient * slope)));
      simd_store(dy + i, gradient);
    }
    sum += gradient;
  }
  return sum;
}

/* One d-plane of one block of 16 channels. */
static void sweep_blocked(struct shape s, const float *y, float *dy, float slope, float *sums) {
  simd total[SIMD_PER_BLOCK] = {0};
  for (int64_t first = 0; first < (int64_t)s.h * s.w; first += s.w) {
    simd row[SIMD_PER_BLOCK] = {0};
    for (int64_t v = first; v < first + s.w; v++)
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        int64_t at = v * CHANNEL_BLOCK + p * SIMD_WIDTH;
        row[p] += sweep_row(y ? y + at : NULL, dy + at, SIMD_WIDTH, slope);
      }
    for (int p = 0; p < SIMD_PER_BLOCK; p++) total[p] += row[p];
  }
  for (int p = 0; p < SIMD_PER_BLOCK; p++) simd_store(sums + p * SIMD_WIDTH, total[p]);
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

static void sum_planes(const struct tensor *tensor, const float *partial, float *db) {
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
    const float *from = slope != 1 ? y + i * plane : NULL;
    if (group == 1)
      sweep_planar(s, from, dy + i * plane, slope, partial + i);
    else
      sweep_blocked(s, from, dy + i * plane, slope, partial + i * CHANNEL_BLOCK);
  }
  if (db) sum_planes(tensor, partial, db);
}
