/* Vectors of floats from and to tensors of any real type of the CPU: float32, bfloat16, float16;
 * conversions give the bits of device/real16.h (but for what a float16 NaN carries). `dtype` is a
 * constant where these are inlined. For _simd.c files. */
#pragma once
#include "device/real16.h"
#include "kernels/common/simd.h"

typedef uint16_t simd_half __attribute__((vector_size(2 * SIMD_WIDTH), aligned(2), may_alias));

static inline simd simd_from_bf16(const uint16_t *from) {
  return (simd)(__builtin_convertvector(*(const simd_half *)from, simd_bits) << 16);
}

static inline simd_half simd_to_bf16(simd value) {
  simd_bits bits = (simd_bits)value, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  simd_bits none = (simd_bits)(value != value), quiet = bits >> 16 | 0x40;
  return __builtin_convertvector((none & quiet) | (~none & rounded), simd_half);
}

static inline simd simd_from_f16(const uint16_t *from) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#else
  simd value;
  for (int i = 0; i < SIMD_WIDTH; i++) value[i] = f16_to_float(from[i]);
  return value;
#endif
}

static inline simd_half simd_to_f16(simd value) {
#if defined SIMD_ISA_AVX512
  return (simd_half)_mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT);
#else
  simd_half half;
  for (int i = 0; i < SIMD_WIDTH; i++) half[i] = f16_from_float(value[i]);
  return half;
#endif
}

/* Elements i to i + SIMD_WIDTH of a tensor. */
static inline __attribute__((always_inline)) simd simd_get(enum dtype dtype, const void *tensor,
                                                           int64_t i) {
  if (dtype == DTYPE_BF16) return simd_from_bf16((const uint16_t *)tensor + i);
  if (dtype == DTYPE_F16) return simd_from_f16((const uint16_t *)tensor + i);
  return simd_load((const float *)tensor + i);
}

/* `past`: past the caches, as simd_stream. */
static inline __attribute__((always_inline)) void simd_put(enum dtype dtype, void *tensor,
                                                           int64_t i, simd value, bool past) {
  if (dtype == DTYPE_F32) {
    if (past)
      simd_stream((float *)tensor + i, value);
    else
      simd_store((float *)tensor + i, value);
    return;
  }
  simd_half half = dtype == DTYPE_BF16 ? simd_to_bf16(value) : simd_to_f16(value);
  uint16_t *to = (uint16_t *)tensor + i;
#if defined SIMD_ISA_AVX512
  if (past) {
    _mm256_stream_si256((__m256i *)to, (__m256i)half);
    return;
  }
#endif
  *(simd_half *)to = half;
}
