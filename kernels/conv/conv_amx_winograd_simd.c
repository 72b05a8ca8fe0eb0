/* The convolution through the transformed domain whose products are those of the processor's tiles.
 */
#include "kernels/conv/conv_winograd.h"
#if defined SIMD_ISA_AVX512

extern const struct kernel SIMD_NAME(conv_amx_winograd);

CONV_PASSES_KERNEL(conv_amx_winograd, SIMD_NAME(conv_amx_winograd_passes),
                   .name = SIMD_LABEL("amx_winograd"), .dtype = DTYPE_F32,
                   .applies = SIMD_NAME(conv_amx_winograd_applies),
                   .pays = SIMD_NAME(conv_amx_winograd_pays));
#endif
