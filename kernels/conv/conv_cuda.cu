/* conv on a GPU: forward, and backward as the activation's derivative, one weight gradient per
 * input and one data gradient per input that wants one, each by the first part that can. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda.h"

enum { MOST_PARTS = 3 };

/* Best first. */
struct parts {
  const struct conv_cuda_part *each[MOST_PARTS];
};
static const struct parts forward_parts = {
    {&conv_cuda_thin_forward, &conv_cuda_matrix_forward, &conv_cuda_any_forward}};
static const struct parts weight_parts = {
    {&conv_cuda_thin_weights, &conv_cuda_matrix_weights, &conv_cuda_any_weights}};
static const struct parts data_parts = {
    {&conv_cuda_thin_data, &conv_cuda_matrix_data, &conv_cuda_any_data}};

static const struct conv_cuda_part *find_part(const struct parts *parts, const struct node *node,
                                              int input) {
  for (int i = 0; i < MOST_PARTS; i++)
    if (parts->each[i]->applies(node, input)) return parts->each[i];
  return NULL;
}

static size_t part_workspace(const struct conv_cuda_part *part, const struct node *node,
                             int input) {
  return part && part->workspace ? part->workspace(node, input) : 0;
}

static bool applies(const struct node *node) {
  if (!find_part(&forward_parts, node, 0)) return false;
  for (int i = 0; i < node->input_count; i++) {
    if (!find_part(&weight_parts, node, i)) return false;
    if (node->wants_dx[i] && !find_part(&data_parts, node, i)) return false;
  }
  return conv_cuda_activation.applies(node, 0);
}

/* The steps of backward run one after another and share their workspace. */
static void prepare(struct node *node) {
  size_t most = part_workspace(&conv_cuda_activation, node, 0);
  for (int i = 0; i < node->input_count; i++) {
    size_t weights = part_workspace(find_part(&weight_parts, node, i), node, i), data = 0;
    if (node->wants_dx[i]) data = part_workspace(find_part(&data_parts, node, i), node, i);
    if (weights > most) most = weights;
    if (data > most) most = data;
  }
  node->forward_workspace = part_workspace(find_part(&forward_parts, node, 0), node, 0);
  node->backward_workspace = most;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  find_part(&forward_parts, node, 0)->run(node, io, 0, io->workspace, stream);
  return cuda_launched(node->name);
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  conv_cuda_activation.run(node, io, 0, io->workspace, stream);
  for (int i = 0; i < node->input_count; i++)
    find_part(&weight_parts, node, i)->run(node, io, i, io->workspace, stream);
  for (int i = 0; i < node->input_count; i++)
    if (io->dx[i]) find_part(&data_parts, node, i)->run(node, io, i, io->workspace, stream);
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
