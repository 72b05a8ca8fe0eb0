/* Transposed convolution by the passes of the Winograd convolution on the processor's tiles. */
#include "kernels/conv/conv_winograd.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv_transpose/conv_transpose_passes.h"

static bool pays(const struct node *node) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  return SIMD_NAME(conv_amx_winograd_pays)(&conv);
}

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose_amx_winograd, SIMD_NAME(conv_amx_winograd_passes),
                             SIMD_NAME(conv_amx_winograd_applies),
                             .name = SIMD_LABEL("amx_winograd"), .dtype = DTYPE_F32, .pays = pays);
#endif
