/* Transposed convolution by the passes of a convolution: what a kernel of that kind does, see
 * struct kernel. */
#pragma once
#include "kernels/conv/conv_direct.h"
#include "kernels/conv_transpose/conv_transpose.h"

void SIMD_NAME(conv_transpose_prepare)(const struct conv_passes *passes, struct node *node);
void SIMD_NAME(conv_transpose_forward)(const struct conv_passes *passes, const struct node *node,
                                       const struct io *io);
void SIMD_NAME(conv_transpose_backward)(const struct conv_passes *passes, const struct node *node,
                                        const struct io *io);
