/* The kernel of blocked bfloat16 tensors, where the processor has tiles. */
#include "kernels/conv/conv_amx_passes.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv_transpose/conv_transpose_passes.h"

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose_amx, SIMD_NAME(conv_amx_passes),
                             SIMD_NAME(conv_amx_applies), .name = SIMD_LABEL("amx"),
                             .dtype = DTYPE_BF16);
#endif
