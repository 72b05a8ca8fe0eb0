/* The kernel of blocked bfloat16 tensors, where the processor multiplies such pairs. */
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv_transpose/conv_transpose_passes.h"

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose_bf16, SIMD_NAME(conv_bf16_passes),
                             SIMD_NAME(conv_bf16_applies), .name = SIMD_LABEL("bf16"),
                             .dtype = DTYPE_BF16);
#endif
