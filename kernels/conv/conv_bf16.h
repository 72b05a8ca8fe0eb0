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

/* packed := the weights of an input as conv_source takes them, pairs of channels; conv_packing_size
 * words. */
void SIMD_NAME(conv_bf16_pack)(const struct conv_packing *packing, const struct node *node,
                               const struct io *io, int input, float *packed);

conv_accumulator SIMD_NAME(conv_bf16_accumulator);

/* As conv_outer; both tensors are blocked bfloat16, given as words. */
size_t SIMD_NAME(conv_bf16_outer_size)(const struct tensor *target,
                                       const struct conv_packing *packing);
void SIMD_NAME(conv_bf16_outer)(const struct tensor *target, const float *data,
                                const struct conv_source *source, float *partial);
