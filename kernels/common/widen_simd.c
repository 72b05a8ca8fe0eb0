/* Between 16-bit elements and float32: plain loops that compilers turn into vectors. */
#include "device/real16.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen_slices.h"

static void widen_bf16(const uint16_t *from, float *to, int count) {
  for (int i = 0; i < count; i++) to[i] = bf16_to_float(from[i]);
}

static void widen_f16(const uint16_t *from, float *to, int count) {
  for (int i = 0; i < count; i++) to[i] = f16_to_float(from[i]);
}

static void narrow_bf16(const float *from, uint16_t *to, int count) {
  for (int i = 0; i < count; i++) to[i] = bf16_from_float(from[i]);
}

static void narrow_f16(const float *from, uint16_t *to, int count) {
  for (int i = 0; i < count; i++) to[i] = f16_from_float(from[i]);
}

static void add_bf16(const float *from, uint16_t *to, int count) {
  for (int i = 0; i < count; i++) to[i] = bf16_from_float(bf16_to_float(to[i]) + from[i]);
}

static void add_f16(const float *from, uint16_t *to, int count) {
  for (int i = 0; i < count; i++) to[i] = f16_from_float(f16_to_float(to[i]) + from[i]);
}

static void widen(enum dtype dtype, const uint16_t *from, float *to, int count) {
  (dtype == DTYPE_BF16 ? widen_bf16 : widen_f16)(from, to, count);
}

static void narrow(enum dtype dtype, const float *from, uint16_t *to, int count, bool add) {
  if (add)
    (dtype == DTYPE_BF16 ? add_bf16 : add_f16)(from, to, count);
  else
    (dtype == DTYPE_BF16 ? narrow_bf16 : narrow_f16)(from, to, count);
}

extern const struct widening SIMD_NAME(widening);
const struct widening SIMD_NAME(widening) = {simd_available, widen, narrow};
