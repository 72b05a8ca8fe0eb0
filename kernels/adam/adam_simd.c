/* The Adam step on vectors. */
#include "kernels/adam/formula.h"
#include "kernels/common/simd.h"

enum { LANES = 16, BLOCK = 1 << 14 };

/* count: a multiple of LANES. */
__attribute__((noinline)) static void update_lanes(const struct adam_coefficients *coefficients,
                                                   float *restrict w, const float *restrict g,
                                                   float *restrict m, float *restrict v,
                                                   int count) {
  struct adam_coefficients c = *coefficients;
  for (int at = 0; at < count; at += LANES)
    for (int i = at; i < at + LANES; i++) adam_element(&c, &w[i], g[i], &m[i], &v[i]);
}

static enum status update(const struct adam_step *step, struct stream *stream, float *w,
                          const float *g, float *m, float *v, int64_t count) {
  (void)stream;
  struct adam_coefficients c = adam_coefficients(step);
  int64_t whole = count / LANES * LANES;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < whole; i += BLOCK) {
    int64_t left = whole - i;
    update_lanes(&c, w + i, g + i, m + i, v + i, left < BLOCK ? (int)left : BLOCK);
  }
  for (int64_t i = whole; i < count; i++) adam_element(&c, &w[i], g[i], &m[i], &v[i]);
  return STATUS_OK;
}

extern const struct adam_kernel SIMD_NAME(adam);
const struct adam_kernel SIMD_NAME(adam) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .update = update,
};
