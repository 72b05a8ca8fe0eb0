/* Lanes beside those of a vector, of which its neighbours in memory have some. */
#pragma once
#include "kernels/common/simd.h"

/* The lanes `by` (1 or 2, a constant) before, and after, those of `here`. */
static inline __attribute__((always_inline)) simd simd_before(simd before, simd here, int by) {
#if defined SIMD_ISA_AVX512
  return by == 1 ? (simd)_mm512_alignr_epi32((__m512i)here, (__m512i)before, 15)
                 : (simd)_mm512_alignr_epi32((__m512i)here, (__m512i)before, 14);
#elif defined SIMD_ISA_AVX2
  if (by == 1) return __builtin_shufflevector(before, here, 7, 8, 9, 10, 11, 12, 13, 14);
  return __builtin_shufflevector(before, here, 6, 7, 8, 9, 10, 11, 12, 13);
#else
  if (by == 1) return __builtin_shufflevector(before, here, 3, 4, 5, 6);
  return __builtin_shufflevector(before, here, 2, 3, 4, 5);
#endif
}

static inline __attribute__((always_inline)) simd simd_after(simd here, simd after, int by) {
#if defined SIMD_ISA_AVX512
  return by == 1 ? (simd)_mm512_alignr_epi32((__m512i)after, (__m512i)here, 1)
                 : (simd)_mm512_alignr_epi32((__m512i)after, (__m512i)here, 2);
#elif defined SIMD_ISA_AVX2
  if (by == 1) return __builtin_shufflevector(here, after, 1, 2, 3, 4, 5, 6, 7, 8);
  return __builtin_shufflevector(here, after, 2, 3, 4, 5, 6, 7, 8, 9);
#else
  if (by == 1) return __builtin_shufflevector(here, after, 1, 2, 3, 4);
  return __builtin_shufflevector(here, after, 2, 3, 4, 5);
#endif
}
