/* conv on a GPU: forward, and backward as the activation's derivative, one weight gradient per
 * input and one data gradient per input that wants one, each by the first part that can. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda.h"

enum { MOST_PARTS = 3 };

/* By enum conv_cuda_pass, best first. */
static const struct conv_cuda_part *const parts[][MOST_PARTS] = {
    {&conv_cuda_thin_forward, &conv_cuda_matrix_forward, &conv_cuda_any_forward},
    {&conv_cuda_thin_weights, &conv_cuda_matrix_weights, &conv_cuda_any_weights},
    {&conv_cuda_thin_data, &conv_cuda_matrix_data, &conv_cuda_any_data}};

const struct conv_cuda_part *conv_cuda_find(enum conv_cuda_pass pass, const struct node *node,
                                            int input) {
  for (int i = 0; i < MOST_PARTS; i++)
    if (parts[pass][i]->applies(node, input)) return parts[pass][i];
  return NULL;
}

size_t conv_cuda_workspace(enum conv_cuda_pass pass, const struct node *node, int input) {
  const struct conv_cuda_part *part = conv_cuda_find(pass, node, input);
  return part && part->workspace ? part->workspace(node, input) : 0;
}

void conv_cuda_run(enum conv_cuda_pass pass, const struct node *node, const struct io *io,
                   int input, const struct conv_cuda_end *end, struct stream *stream) {
  conv_cuda_find(pass, node, input)->run(node, io, input, end, io->workspace, stream);
}

static bool applies(const struct node *node) {
  if (!conv_cuda_find(CONV_CUDA_FORWARD, node, 0)) return false;
  for (int i = 0; i < node->input_count; i++) {
    if (!conv_cuda_find(CONV_CUDA_WEIGHTS, node, i)) return false;
    if (node->wants_dx[i] && !conv_cuda_find(CONV_CUDA_DATA, node, i)) return false;
  }
  return conv_cuda_activation.applies(node, 0);
}

/* The steps of backward run one after another and share their workspace. */
static void prepare(struct node *node) {
  size_t most = conv_cuda_activation.workspace(node, 0);
  for (int i = 0; i < node->input_count; i++) {
    size_t weights = conv_cuda_workspace(CONV_CUDA_WEIGHTS, node, i), data = 0;
    if (node->wants_dx[i]) data = conv_cuda_workspace(CONV_CUDA_DATA, node, i);
    if (weights > most) most = weights;
    if (data > most) most = data;
  }
  node->forward_workspace = conv_cuda_workspace(CONV_CUDA_FORWARD, node, 0);
  node->backward_workspace = most;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  const struct conv_arguments *a = conv_arguments_of(node);
  const float *bias = a->bias ? (const float *)io->w[CONV_BIAS] : NULL;
  const struct conv_cuda_end end = {bias, a->slope, false};
  conv_cuda_run(CONV_CUDA_FORWARD, node, io, 0, &end, stream);
  return cuda_launched(node->name);
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  conv_cuda_activation.run(node, io, 0, NULL, io->workspace, stream);
  for (int i = 0; i < node->input_count; i++)
    conv_cuda_run(CONV_CUDA_WEIGHTS, node, io, i, NULL, stream);
  for (int i = 0; i < node->input_count; i++) {
    const struct conv_cuda_end end = {NULL, 1, io->dx_add[i]};
    if (io->dx[i]) conv_cuda_run(CONV_CUDA_DATA, node, io, i, &end, stream);
  }
  return cuda_launched(node->name);
}

#define CONV_CUDA(suffix, type)      \
  CUDA_KERNEL(conv_cuda, suffix) = { \
      .name = "hand",                \
      .device = DEVICE_CUDA,         \
      .dtype = type,                 \
      .training = true,              \
      .applies = applies,            \
      .prepare = prepare,            \
      .forward = forward,            \
      .backward = backward,          \
  }
CONV_CUDA(f32, DTYPE_F32);
CONV_CUDA(bf16, DTYPE_BF16);
CONV_CUDA(f16, DTYPE_F16);
