/* The kernel of blocked bfloat16 tensors, where the processor has tiles. */
#include "kernels/conv/conv_amx_passes.h"
#if defined SIMD_ISA_AVX512
#include "kernels/conv_transpose/conv_transpose_passes.h"

/* The gradient of a bias is summed from blocks, or float32. */
static bool fits(const struct node *conv) {
  const struct tensor *y = &conv->x[0];
  return (y->layout == LAYOUT_BLOCKED || y->dtype == DTYPE_F32) &&
         SIMD_NAME(conv_amx_applies)(conv);
}

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose_amx, SIMD_NAME(conv_amx_passes), fits,
                             .name = SIMD_LABEL("amx"), .dtype = DTYPE_BF16);
#endif
