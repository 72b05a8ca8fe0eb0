/* Transposed convolution on a GPU by the parts of conv. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda.h"
#include "kernels/conv_transpose/conv_transpose.h"

/* The gradient of the bias is a sweep over dy as of a convolution whose output is y. */
static struct node sweep_of(const struct node *node) {
  struct node sweep = *node;
  struct conv_arguments arguments = {};
  arguments.bias = conv_transpose_arguments_of(node)->bias;
  arguments.slope = 1;
  memcpy(sweep.arguments, &arguments, sizeof arguments);
  return sweep;
}

static bool applies(const struct node *node) {
  struct node conv, sweep = sweep_of(node);
  conv_transpose_adjoint(node, &conv);
  return conv_cuda_find(CONV_CUDA_DATA, &conv, 0) && conv_cuda_find(CONV_CUDA_WEIGHTS, &conv, 0) &&
         conv_cuda_find(CONV_CUDA_FORWARD, &conv, 0) && conv_cuda_activation.applies(&sweep, 0);
}

/* The steps of backward run one after another and share their workspace. */
static void prepare(struct node *node) {
  struct node conv, sweep = sweep_of(node);
  conv_transpose_adjoint(node, &conv);
  size_t most = conv_cuda_activation.workspace(&sweep, 0);
  size_t weights = conv_cuda_workspace(CONV_CUDA_WEIGHTS, &conv, 0);
  size_t output = conv_cuda_workspace(CONV_CUDA_FORWARD, &conv, 0);
  most = weights > most ? weights : most;
  node->forward_workspace = conv_cuda_workspace(CONV_CUDA_DATA, &conv, 0);
  node->backward_workspace = output > most ? output : most;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  struct node conv;
  conv_transpose_adjoint(node, &conv);
  const struct io conv_io = conv_transpose_forward_io(io);
  const bool bias = conv_transpose_arguments_of(node)->bias;
  const struct conv_cuda_end end = {bias ? (const float *)io->w[CONV_BIAS] : NULL, 1, false};
  conv_cuda_run(CONV_CUDA_DATA, &conv, &conv_io, 0, &end, stream);
  return cuda_launched(node->name);
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  struct node conv, sweep = sweep_of(node);
  conv_transpose_adjoint(node, &conv);
  const struct io conv_io = conv_transpose_backward_io(io);
  const struct conv_cuda_end end = {NULL, 1, io->dx_add[0]};
  conv_cuda_activation.run(&sweep, io, 0, NULL, io->workspace, stream);
  conv_cuda_run(CONV_CUDA_WEIGHTS, &conv, &conv_io, 0, NULL, stream);
  if (io->dx[0]) conv_cuda_run(CONV_CUDA_FORWARD, &conv, &conv_io, 0, &end, stream);
  return cuda_launched(node->name);
}

#define CONV_TRANSPOSE_CUDA(suffix, type)      \
  CUDA_KERNEL(conv_transpose_cuda, suffix) = { \
      .name = "hand",                          \
      .device = DEVICE_CUDA,                   \
      .dtype = type,                           \
      .training = true,                        \
      .applies = applies,                      \
      .prepare = prepare,                      \
      .forward = forward,                      \
      .backward = backward,                    \
  }
CONV_TRANSPOSE_CUDA(f32, DTYPE_F32);
CONV_TRANSPOSE_CUDA(bf16, DTYPE_BF16);
CONV_TRANSPOSE_CUDA(f16, DTYPE_F16);
