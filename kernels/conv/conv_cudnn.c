/* conv by cuDNN: the inputs of a node are gathered into one tensor where cuDNN could not read them
 * in place, its engines compute y, dw and dx, and small kernels do the rest. There are several
 * kernels, one for each of cuDNN's best engines, so that whoever measures kernels finds the fastest
 * (all ranks must take the same: bits differ). */
#include <string.h>
#include "kernels/conv/conv_cuda.h"
#include "kernels/conv/conv_cudnn.h"
#include "kernels/conv/conv_cudnn_plan.h"

/* Where things lie in the workspace of one call, in bytes; size is its end. */
struct arrangement {
  size_t gathered, weight, gradient, own, size;
};

static struct shape gathered_shape(const struct node *node) {
  struct shape shape = conv_input_shape(node, 0);
  shape.c = conv_input_channels(node);
  return shape;
}

static const struct conv_cudnn_plan *find(const struct node *node, int choice,
                                          enum conv_cudnn_direction direction) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_cudnn_problem problem = {.direction = direction,
                                       .dtype = node->dtype,
                                       .x = gathered_shape(node),
                                       .y = node->y.shape,
                                       .choice = choice};
  memcpy(problem.kernel, a->kernel, sizeof problem.kernel);
  memcpy(problem.stride, a->stride, sizeof problem.stride);
  memcpy(problem.padding, a->padding, sizeof problem.padding);
  return conv_cudnn_find(&problem);
}

static bool wants_data(const struct node *node) {
  bool wanted = false;
  for (int i = 0; i < node->input_count; i++) wanted = wanted || node->wants_dx[i];
  return wanted;
}

/* cuDNN can read the one input, or write its gradient, in place. */
static bool is_direct(const struct node *node) {
  const struct tensor *x = &node->x[0];
  return node->input_count == 1 && !conv_arguments_of(node)->upsample[0] &&
         x->dtype == node->dtype && (x->layout == LAYOUT_LAST || x->shape.c == 1);
}

static bool applies(const struct node *node, int choice) {
  if (node->y.dtype != node->dtype) return false;
  return find(node, choice, CONV_CUDNN_FORWARD) && find(node, choice, CONV_CUDNN_WEIGHT) &&
         (!wants_data(node) || find(node, choice, CONV_CUDNN_DATA));
}

static size_t take(size_t *end, size_t bytes) {
  size_t start = *end;
  *end += conv_cuda_round(bytes);
  return start;
}

static size_t gathered_bytes(const struct node *node) {
  struct tensor gathered = {gathered_shape(node), node->dtype, LAYOUT_LAST};
  return tensor_bytes(&gathered);
}

static struct arrangement arrange_forward(const struct node *node, int choice) {
  struct arrangement at = {0};
  size_t weights = (size_t)parameter_count(&node->parameter[CONV_WEIGHT]);
  at.gathered = take(&at.size, is_direct(node) ? 0 : gathered_bytes(node));
  at.weight = take(&at.size, weights * dtype_bytes(node->dtype));
  at.own = take(&at.size, conv_cudnn_workspace(find(node, choice, CONV_CUDNN_FORWARD)));
  return at;
}

/* The gathered input makes room for its gradient once dw is known. */
static struct arrangement arrange_backward(const struct node *node, int choice) {
  struct arrangement at = {0};
  size_t weights = (size_t)parameter_count(&node->parameter[CONV_WEIGHT]);
  const struct conv_cudnn_plan *weight = find(node, choice, CONV_CUDNN_WEIGHT);
  const struct conv_cudnn_plan *data = find(node, choice, CONV_CUDNN_DATA);
  size_t own = conv_cudnn_workspace(weight);
  if (wants_data(node) && conv_cudnn_workspace(data) > own) own = conv_cudnn_workspace(data);
  if (conv_cuda_activation.workspace && conv_cuda_activation.workspace(node, 0) > own)
    own = conv_cuda_activation.workspace(node, 0);
  at.gathered = take(&at.size, gathered_bytes(node));
  at.weight = take(&at.size, weights * dtype_bytes(node->dtype));
  at.gradient = take(&at.size, weights * sizeof(float));
  at.own = take(&at.size, own);
  return at;
}

static void prepare(struct node *node, int choice) {
  node->forward_workspace = arrange_forward(node, choice).size;
  node->backward_workspace = arrange_backward(node, choice).size;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream,
                           int choice) {
  struct arrangement at = arrange_forward(node, choice);
  char *workspace = io->workspace;
  const void *x = is_direct(node) ? io->x[0] : workspace + at.gathered;
  if (!is_direct(node)) TRY(conv_cudnn_gather(node, io, workspace + at.gathered, stream));
  TRY(conv_cudnn_pack(node, io->w[CONV_WEIGHT], workspace + at.weight, stream));
  TRY(conv_cudnn_run(find(node, choice, CONV_CUDNN_FORWARD), x, workspace + at.weight, io->y,
                     workspace + at.own, stream));
  return conv_cudnn_finish(node, io->w[CONV_BIAS], io->y, stream);
}

static enum status weight_gradient(const struct node *node, const struct io *io,
                                   const struct arrangement *at, struct stream *stream,
                                   int choice) {
  char *workspace = io->workspace;
  const void *x = is_direct(node) ? io->x[0] : workspace + at->gathered;
  if (!is_direct(node)) TRY(conv_cudnn_gather(node, io, workspace + at->gathered, stream));
  TRY(conv_cudnn_run(find(node, choice, CONV_CUDNN_WEIGHT), x, workspace + at->gradient, io->dy,
                     workspace + at->own, stream));
  return conv_cudnn_unpack(node, workspace + at->gradient, io->dw[CONV_WEIGHT], stream);
}

static enum status data_gradient(const struct node *node, const struct io *io,
                                 const struct arrangement *at, struct stream *stream, int choice) {
  char *workspace = io->workspace;
  bool in_place = is_direct(node) && !io->dx_add[0];
  void *dx = in_place ? io->dx[0] : workspace + at->gathered;
  TRY(conv_cudnn_pack(node, io->w[CONV_WEIGHT], workspace + at->weight, stream));
  TRY(conv_cudnn_run(find(node, choice, CONV_CUDNN_DATA), dx, workspace + at->weight, io->dy,
                     workspace + at->own, stream));
  return in_place ? STATUS_OK : conv_cudnn_scatter(node, io, dx, stream);
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream,
                            int choice) {
  struct arrangement at = arrange_backward(node, choice);
  conv_cuda_activation.run(node, io, 0, NULL, (char *)io->workspace + at.own, stream);
  TRY(weight_gradient(node, io, &at, stream, choice));
  return wants_data(node) ? data_gradient(node, io, &at, stream, choice) : STATUS_OK;
}

/* One kernel: its functions know which of cuDNN's engines they stand for. */
#define ENGINE(function, label, number)                                                \
  static bool function##_applies(const struct node *node) {                            \
    return applies(node, number);                                                      \
  }                                                                                    \
  static void function##_prepare(struct node *node) {                                  \
    prepare(node, number);                                                             \
  }                                                                                    \
  static enum status function##_forward(const struct node *node, const struct io *io,  \
                                        struct stream *stream) {                       \
    return forward(node, io, stream, number);                                          \
  }                                                                                    \
  static enum status function##_backward(const struct node *node, const struct io *io, \
                                         struct stream *stream) {                      \
    return backward(node, io, stream, number);                                         \
  }                                                                                    \
  KERNEL(function, label, f32, DTYPE_F32)                                              \
  KERNEL(function, label, bf16, DTYPE_BF16)                                            \
  KERNEL(function, label, f16, DTYPE_F16)
#define KERNEL(function, label, suffix, type)     \
  extern const struct kernel function##_##suffix; \
  const struct kernel function##_##suffix = {     \
      .name = label,                              \
      .device = DEVICE_CUDA,                      \
      .dtype = type,                              \
      .training = true,                           \
      .applies = function##_applies,              \
      .prepare = function##_prepare,              \
      .forward = function##_forward,              \
      .backward = function##_backward,            \
  };

ENGINE(conv_cudnn_first, "cudnn", 0)
ENGINE(conv_cudnn_second, "cudnn_second", 1)
ENGINE(conv_cudnn_third, "cudnn_third", 2)
