/* Transposed convolution by the passes of the direct convolution. */
#include "kernels/conv_transpose/conv_transpose_passes.h"

void SIMD_NAME(conv_transpose_prepare)(const struct conv_passes *passes, struct node *node) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  size_t weights = passes->weights_size(&conv, 0);
  size_t output = passes->output_size(&conv);
  node->forward_workspace =
      sizeof(float) * (SIMD_NAME(conv_bias_size)(&node->y) + passes->data_size(&conv, 0));
  node->backward_workspace = sizeof(float) * (SIMD_NAME(conv_activation_size)(&node->y) +
                                              (weights > output ? weights : output));
}

void SIMD_NAME(conv_transpose_forward)(const struct conv_passes *passes, const struct node *node,
                                       const struct io *io) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  struct io conv_io = conv_transpose_forward_io(io);
  float *bias = io->workspace, *packed = bias + SIMD_NAME(conv_bias_size)(&node->y);
  struct conv_target target = {.tensor = &node->y, .data = io->y, .slope = 1};
  if (conv_transpose_arguments_of(node)->bias)
    target.bias = SIMD_NAME(conv_bias)(&node->y, io->w[CONV_BIAS], bias);
  passes->data(&conv, &conv_io, 0, &target, packed);
}

void SIMD_NAME(conv_transpose_backward)(const struct conv_passes *passes, const struct node *node,
                                        const struct io *io) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  struct io conv_io = conv_transpose_backward_io(io);
  float *partial = io->workspace;
  float *workspace = partial + SIMD_NAME(conv_activation_size)(&node->y);
  bool bias = conv_transpose_arguments_of(node)->bias;
  if (bias && passes->can_sum && passes->can_sum(&conv, true)) {
    passes->weights_and_sums(&conv, &conv_io, workspace, true, io->dw[CONV_BIAS]);
  } else {
    if (bias) SIMD_NAME(conv_activation)(&node->y, NULL, io->dy, 1, io->dw[CONV_BIAS], partial);
    passes->weights(&conv, &conv_io, 0, workspace);
  }
  struct conv_target target = {&node->x[0], io->dx[0], NULL, 1, io->dx_add[0]};
  if (io->dx[0]) passes->output(&conv, &conv_io, &target, workspace);
}

CONV_TRANSPOSE_PASSES_KERNEL(conv_transpose, SIMD_NAME(conv_direct_passes),
                             SIMD_NAME(conv_direct_applies), .name = SIMD_LABEL("direct"),
                             .dtype = DTYPE_F32);
