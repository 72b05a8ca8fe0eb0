/* Transposed convolution in three dimensions, PyTorch's ConvTranspose3d: what models fill in. It is
 * the adjoint of a convolution from y to x, whose passes its kernels call. */
#pragma once
#include <assert.h>
#include "kernels/conv/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y [n co od oh ow] = bias + x [n ci d h w] scattered by w [ci][co][kd][kh][kw]: voxel x adds
 * w[.., k] to voxel stride x + k - padding of y; od = (d - 1) stride - 2 padding + kernel +
 * output_padding. */
struct conv_transpose_arguments {
  int kernel[3], stride[3], padding[3], output_padding[3]; /* d h w */
  int out_channels;
  bool bias;
  /* 0: PyTorch's default, weight and bias uniform in +-1/sqrt(co kd kh kw); above 0: normal weights
   * of this deviation and a bias of 0 */
  double initial_deviation;
};
static_assert(sizeof(struct conv_transpose_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

extern const struct op op_conv_transpose;

/* The order of parameters is that of conv: CONV_WEIGHT, CONV_BIAS. */

/* --- for its kernels --- */

static inline const struct conv_transpose_arguments *conv_transpose_arguments_of(
    const struct node *node) {
  return (const struct conv_transpose_arguments *)node->arguments;
}

/* The convolution, without bias, that `node` is the adjoint of: its input is y, its output x. Its
 * data gradient is forward, its output dx, its weight gradient dw. */
void conv_transpose_adjoint(const struct node *node, struct node *conv);

/* The memory of that convolution's passes. */
struct io conv_transpose_forward_io(const struct io *io);
struct io conv_transpose_backward_io(const struct io *io);

#ifdef __cplusplus
}
#endif
