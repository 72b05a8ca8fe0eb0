/* Transposed convolution by the reference of the convolution that it is the adjoint of. */
#include "kernels/conv/conv_reference.h"
#include "kernels/conv_transpose/conv_transpose.h"

extern const struct kernel REAL_NAME(conv_transpose_reference);

static void add_bias(const struct tensor *tensor, const real *bias, real *y) {
  struct shape s = tensor->shape;
#pragma omp parallel for schedule(static) collapse(2)
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < s.c; c++)
      for (int d = 0; d < s.d; d++)
        for (int h = 0; h < s.h; h++)
          for (int w = 0; w < s.w; w++) y[tensor_at(tensor, n, c, d, h, w)] += bias[c];
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  struct io conv_io = conv_transpose_forward_io(io);
  REAL_NAME(conv_reference_data)(&conv, &conv_io, 0, 0);
  if (conv_transpose_arguments_of(node)->bias) add_bias(&node->y, io->w[CONV_BIAS], io->y);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  struct io conv_io = conv_transpose_backward_io(io);
  if (conv_transpose_arguments_of(node)->bias) REAL_NAME(conv_reference_bias)(node, io);
  REAL_NAME(conv_reference_weights)(&conv, &conv_io, 0, 0);
  if (io->dx[0]) REAL_NAME(conv_reference_output)(&conv, &conv_io, io->dx_add[0]);
  return STATUS_OK;
}

const struct kernel REAL_NAME(conv_transpose_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = forward,
    .backward = backward,
};
