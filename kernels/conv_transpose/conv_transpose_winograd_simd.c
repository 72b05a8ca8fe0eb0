/* Transposed convolution by the passes of the Winograd convolution. */
#include "kernels/conv/conv_winograd.h"
#include "kernels/conv_transpose/conv_transpose_passes.h"

static bool pays(const struct node *node) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  return SIMD_NAME(conv_winograd_pays)(&conv);
}

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose_winograd, SIMD_NAME(conv_winograd_passes),
                             SIMD_NAME(conv_winograd_applies), .name = SIMD_LABEL("winograd"),
                             .dtype = DTYPE_F32, .pays = pays);
