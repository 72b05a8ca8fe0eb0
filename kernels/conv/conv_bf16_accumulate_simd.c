/* The innermost loops of conv_rows for sources of bfloat16: a word is a pair of channels, and one
 * instruction adds the products of both. */
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv/conv_accumulate.h"

typedef __m512i factor;
#define FACTOR_TARGET CONV_BF16_TARGET

static inline FACTOR_TARGET factor factor_load(const float *from) {
  return _mm512_loadu_si512(from);
}

static inline FACTOR_TARGET factor factor_all(const float *from) {
  return _mm512_set1_epi32(*(const int *)(const simd_int *)from);
}

static inline FACTOR_TARGET void multiply_add(simd *sum, factor a, factor b) {
  *sum = (simd)_mm512_dpbf16_ps((__m512)*sum, (__m512bh)a, (__m512bh)b);
}

// clang-format off
#define ALL(DO)                                                                                   \
  WIDTHS(DO, 8, 1, 1) WIDTHS(DO, 8, 2, 1) WIDTHS(DO, 8, 3, 1)                                     \
  WIDTHS(DO, 8, 1, 2) WIDTHS(DO, 8, 3, 2) WIDTHS(DO, 8, 4, 2)
// clang-format on
#include "kernels/conv/conv_accumulate_loops.h"

conv_accumulate *SIMD_NAME(conv_bf16_accumulator)(int taps, bool blocked, int step, int width,
                                                  int blocks) {
  return functions.with[blocks / 2][taps - 1][blocked][step - 1][width - 1];
}
#endif
