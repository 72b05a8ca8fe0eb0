/* Gradient descent on vectors. */
#include "kernels/common/simd.h"
#include "kernels/sgd/formula.h"

enum { BLOCK = 1 << 14 };

static void update_block(const struct sgd_coefficients *coefficients, float *restrict w,
                         const float *restrict g, int64_t count) {
  struct sgd_coefficients c = *coefficients;
  for (int64_t i = 0; i < count; i++) sgd_element(&c, &w[i], g[i]);
}

static void update_block_momentum(const struct sgd_coefficients *coefficients, float *restrict w,
                                  const float *restrict g, float *restrict velocity,
                                  int64_t count) {
  struct sgd_coefficients c = *coefficients;
  for (int64_t i = 0; i < count; i++) sgd_momentum_element(&c, &w[i], g[i], &velocity[i]);
}

static enum status update(const struct sgd_step *step, struct stream *stream, float *w,
                          const float *g, float *velocity, int64_t count) {
  (void)stream;
  struct sgd_coefficients c = sgd_coefficients(step);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += BLOCK) {
    int64_t length = count - i < BLOCK ? count - i : BLOCK;
    if (velocity)
      update_block_momentum(&c, w + i, g + i, velocity + i, length);
    else
      update_block(&c, w + i, g + i, length);
  }
  return STATUS_OK;
}

extern const struct sgd_kernel SIMD_NAME(sgd);
const struct sgd_kernel SIMD_NAME(sgd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .update = update,
};
