/* Convolution between blocked bfloat16 tensors by the processor's own products of pairs
 * (vdpbf16ps), summed in float32; it takes subnormal numbers for zeros. Weights are rounded to
 * bfloat16. There is code for AVX-512 only;
 * whether the processor has the extension is asked at run time. */
#pragma once
#include "kernels/conv/conv_accumulate.h"
#include "kernels/conv/conv_direct.h"

#define CONV_BF16_TARGET __attribute__((target("avx512bf16")))

/* Whether its passes apply, and those. */
bool SIMD_NAME(conv_bf16_applies)(const struct node *node);
extern const struct conv_passes SIMD_NAME(conv_bf16_passes);

/* The packings of an input's weights, with source channels in groups of 16, in passes that compute
 * y, weight gradients (lanes are channels of y in both) and the input's gradient. */
struct conv_packing SIMD_NAME(conv_bf16_output_packing)(const struct node *node, int input);
struct conv_packing SIMD_NAME(conv_bf16_weight_packing)(const struct node *node, int input);
struct conv_packing SIMD_NAME(conv_bf16_data_packing)(const struct node *node, int input);

#if defined SIMD_ISA_AVX512
/* 16 values and 16 more as 16 pairs. */
static inline __m512i conv_bf16_pair_up(__m512i both) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, both);
}

/* The lines of two channels, 16 floats each, become one of 16 pairs; it may lie where they do. */
static inline CONV_BF16_TARGET void conv_bf16_pair(const float *lines, float *to) {
  __m512 even = _mm512_loadu_ps(lines), odd = _mm512_loadu_ps(lines + CHANNEL_BLOCK);
  _mm512_storeu_si512(to, conv_bf16_pair_up((__m512i)_mm512_cvtne2ps_pbh(odd, even)));
}
#endif

conv_accumulator SIMD_NAME(conv_bf16_accumulator);

/* As conv_outer; both tensors are blocked bfloat16, given as words. */
size_t SIMD_NAME(conv_bf16_outer_size)(const struct tensor *target,
                                       const struct conv_packing *packing);
void SIMD_NAME(conv_bf16_outer)(const struct tensor *target, const float *data,
                                const struct conv_source *source, float *partial);
