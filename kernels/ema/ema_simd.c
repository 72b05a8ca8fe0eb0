/* The moving average on vectors. */
#include "kernels/common/simd.h"
#include "kernels/ema/ema.h"
#include "kernels/ema/formula.h"

static enum status update(struct stream *stream, float *average, const float *w, int64_t count,
                          double decay) {
  (void)stream;
  float take = (float)(1 - decay);
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; i++) average[i] = ema_element(average[i], w[i], take);
  return STATUS_OK;
}

extern const struct ema_kernel SIMD_NAME(ema);
const struct ema_kernel SIMD_NAME(ema) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .applies = simd_available,
    .update = update,
};
