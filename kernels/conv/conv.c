/* The operator conv: its shapes, parameters and arithmetic, and what it takes over from concat and
 * resize nodes in front of it. */
#include "kernels/conv/conv.h"
#include <math.h>
#include <string.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"
#include "kernels/conv/conv_onednn.h"
#include "kernels/resize/resize.h"

static const char *const axis_names[] = {"d", "h", "w"};

struct shape conv_input_shape(const struct node *node, int i) {
  struct shape shape = node->x[i].shape;
  if (!conv_arguments_of(node)->upsample[i]) return shape;
  return (struct shape){shape.n, shape.c, 2 * shape.d, 2 * shape.h, 2 * shape.w};
}

int conv_input_channels(const struct node *node) {
  int channels = 0;
  for (int i = 0; i < node->input_count; i++) channels += node->x[i].shape.c;
  return channels;
}

static enum status check_arguments(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  for (int i = 0; i < 3; i++) {
    REQUIRE(a->kernel[i] >= 1, STATUS_USAGE, "%s: kernel extent along %s must be at least 1, is %d",
            node->name, axis_names[i], a->kernel[i]);
    REQUIRE(a->stride[i] >= 1, STATUS_USAGE, "%s: stride along %s must be at least 1, is %d",
            node->name, axis_names[i], a->stride[i]);
    REQUIRE(a->padding[i] >= 0 && a->padding[i] < a->kernel[i], STATUS_USAGE,
            "%s: padding along %s must be at least 0 and below the kernel extent %d, is %d",
            node->name, axis_names[i], a->kernel[i], a->padding[i]);
  }
  REQUIRE(a->out_channels >= 1, STATUS_USAGE, "%s: output channels must be at least 1, are %d",
          node->name, a->out_channels);
  REQUIRE(a->slope >= 0, STATUS_USAGE, "%s: slope of the LeakyReLU must not be negative, is %g",
          node->name, (double)a->slope);
  REQUIRE(a->initial_deviation >= 0, STATUS_USAGE,
          "%s: deviation of the first weights must not be negative, is %g", node->name,
          a->initial_deviation);
  REQUIRE(a->prior >= 0 && a->prior < 1, STATUS_USAGE,
          "%s: the prior must be at least 0 and below 1, is %g", node->name, a->prior);
  return STATUS_OK;
}

static enum status check_inputs(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  REQUIRE(node->input_count >= 1 && node->input_count <= OP_MAX_INPUTS, STATUS_USAGE,
          "%s: a convolution has 1 to %d inputs, found %d", node->name, OP_MAX_INPUTS,
          node->input_count);
  struct shape first = conv_input_shape(node, 0);
  for (int i = 0; i < node->input_count; i++) {
    struct shape s = conv_input_shape(node, i);
    REQUIRE(s.n >= 1 && s.c >= 1 && shape_voxels(s) >= 1, STATUS_USAGE, "%s: input %d is empty",
            node->name, i);
    REQUIRE(s.n == first.n && s.d == first.d && s.h == first.h && s.w == first.w, STATUS_USAGE,
            "%s: input %d has batch %d and extents %d x %d x %d where input 0 has %d and "
            "%d x %d x %d",
            node->name, i, s.n, s.d, s.h, s.w, first.n, first.d, first.h, first.w);
    enum dtype dtype = node->x[i].dtype;
    REQUIRE(dtype == node->activation || dtype == DTYPE_F32, STATUS_USAGE,
            "%s: input %d is %s where activations are %s; expected these or float32", node->name, i,
            dtype_name(dtype), dtype_name(node->activation));
    bool strided = a->stride[0] != 1 || a->stride[1] != 1 || a->stride[2] != 1;
    REQUIRE(!(a->upsample[i] && strided), STATUS_USAGE,
            "%s: input %d is upsampled, which needs stride 1, found %d x %d x %d", node->name, i,
            a->stride[0], a->stride[1], a->stride[2]);
  }
  return STATUS_OK;
}

/* Kernel and inputs of one voxel leave stride and padding nothing to say but 1 and 0. */
static enum status check_linear(const struct node *node) {
  const int *kernel = conv_arguments_of(node)->kernel;
  if (!conv_arguments_of(node)->linear) return STATUS_OK;
  REQUIRE(kernel[0] == 1 && kernel[1] == 1 && kernel[2] == 1, STATUS_USAGE,
          "%s: a fully connected layer has a kernel of 1 x 1 x 1, found %d x %d x %d", node->name,
          kernel[0], kernel[1], kernel[2]);
  struct shape s = conv_input_shape(node, 0);
  REQUIRE(shape_voxels(s) == 1, STATUS_USAGE,
          "%s: a fully connected layer takes inputs of one voxel, found %d x %d x %d", node->name,
          s.d, s.h, s.w);
  return STATUS_OK;
}

static enum status infer_output(struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct shape s = conv_input_shape(node, 0);
  const int x[] = {s.d, s.h, s.w};
  int y[3];
  for (int i = 0; i < 3; i++) {
    int room = x[i] + 2 * a->padding[i] - a->kernel[i];
    REQUIRE(room >= 0, STATUS_USAGE,
            "%s: a kernel of %d along %s does not fit an input of %d with padding %d", node->name,
            a->kernel[i], axis_names[i], x[i], a->padding[i]);
    y[i] = room / a->stride[i] + 1;
  }
  struct shape shape = {s.n, a->out_channels, y[0], y[1], y[2]};
  bool wide = a->head && node->activation != DTYPE_F64;
  node->y = tensor_make(node->device, shape, wide ? DTYPE_F32 : node->activation);
  node->dtype = node->activation;
  return STATUS_OK;
}

static double initial_bias(const struct conv_arguments *a) {
  return a->prior > 0 ? log(a->prior / (1 - a->prior)) : 0;
}

static void infer_parameters(struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  int channels = conv_input_channels(node);
  int fan_in = channels * a->kernel[0] * a->kernel[1] * a->kernel[2];
  bool normal = a->initial_deviation > 0, constant = normal || a->prior > 0;
  node->parameter[CONV_WEIGHT] = (struct parameter){
      .suffix = "weight",
      .extent = {a->out_channels, channels, a->kernel[0], a->kernel[1], a->kernel[2]},
      .rank = a->linear ? 2 : 5,
      .initial = normal ? INITIAL_NORMAL : INITIAL_UNIFORM_FAN_IN,
      .scale = normal ? a->initial_deviation : 1,
      .fan_in = fan_in};
  node->parameter[CONV_BIAS] =
      (struct parameter){.suffix = "bias",
                         .extent = {a->out_channels},
                         .rank = 1,
                         .initial = constant ? INITIAL_CONSTANT : INITIAL_UNIFORM_FAN_IN,
                         .scale = constant ? initial_bias(a) : 1,
                         .fan_in = fan_in};
  node->parameter_count = a->bias ? 2 : 1;
}

static enum status infer(struct node *node) {
  TRY(check_arguments(node));
  TRY(check_inputs(node));
  TRY(check_linear(node));
  TRY(infer_output(node));
  infer_parameters(node);
  node->backward_reads = READS_X | (conv_arguments_of(node)->slope != 1 ? READS_Y : READS_NOTHING);
  node->saved_count = 0;
  return STATUS_OK;
}

/* For one input channel. */
static double channel_flops(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  return 2.0 * node->y.shape.n * a->out_channels * (double)shape_voxels(node->y.shape) *
         a->kernel[0] * a->kernel[1] * a->kernel[2];
}

static double forward_flops(const struct node *node) {
  return conv_input_channels(node) * channel_flops(node);
}

static double backward_flops(const struct node *node) {
  int channels = conv_input_channels(node);
  for (int i = 0; i < node->input_count; i++)
    if (node->wants_dx[i]) channels += node->x[i].shape.c;
  return channels * channel_flops(node);
}

static bool fold_concat(struct node *node, int input, const struct node *producer) {
  struct conv_arguments *a = (struct conv_arguments *)node->arguments;
  int added = producer->input_count, count = node->input_count + added - 1;
  if (added < 1 || count > OP_MAX_INPUTS) return false;
  bool upsample = a->upsample[input];
  for (int i = node->input_count - 1; i > input; i--) {
    node->x[i + added - 1] = node->x[i];
    node->wants_dx[i + added - 1] = node->wants_dx[i];
    a->upsample[i + added - 1] = a->upsample[i];
  }
  for (int i = 0; i < added; i++) {
    node->x[input + i] = producer->x[i];
    node->wants_dx[input + i] = producer->wants_dx[i];
    a->upsample[input + i] = upsample;
  }
  node->input_count = count;
  return true;
}

static bool fold_resize(struct node *node, int input, const struct node *producer) {
  struct conv_arguments *a = (struct conv_arguments *)node->arguments;
  if (a->upsample[input] || !resize_is_nearest_double(producer)) return false;
  a->upsample[input] = true;
  node->x[input] = producer->x[0];
  node->wants_dx[input] = producer->wants_dx[0];
  return true;
}

static bool fold(struct node *node, int input, const struct node *producer) {
  const struct conv_arguments *a = conv_arguments_of(node);
  if (a->stride[0] != 1 || a->stride[1] != 1 || a->stride[2] != 1) return false;
  if (strcmp(producer->op->name, "concat") == 0) return fold_concat(node, input, producer);
  if (strcmp(producer->op->name, "resize") == 0) return fold_resize(node, input, producer);
  return false;
}

bool conv_any_upsampled(const struct node *node) {
  for (int i = 0; i < node->input_count; i++)
    if (conv_arguments_of(node)->upsample[i]) return true;
  return false;
}

/* The padding along d becomes slices of the inputs. Those of upsampled inputs are taken in pairs,
 * which gives slices of y that were not asked for. */
static void slab(const struct node *node, struct slices wanted, struct slab *slab,
                 struct node *part) {
  *part = *node;
  struct conv_arguments *a = (struct conv_arguments *)part->arguments;
  int kernel = a->kernel[0], stride = a->stride[0], padding = a->padding[0];
  int first = wanted.first * stride - padding;
  int end = (wanted.first + wanted.count - 1) * stride - padding + kernel;
  if (conv_any_upsampled(node)) {
    first -= first & 1;
    end += end & 1;
  }
  a->padding[0] = 0;
  slab->y = (struct slices){(first + padding) / stride, (end - first - kernel) / stride + 1};
  part->y.shape.d = slab->y.count;
  for (int i = 0; i < node->input_count; i++) {
    int step = a->upsample[i] ? 2 : 1;
    slab->x[i] = (struct slices){first / step, (end - first) / step};
    part->x[i].shape.d = slab->x[i].count;
  }
}

REAL_DECLARE(conv_reference);
SIMD_DECLARE_AVX512(conv_amx_winograd);
SIMD_DECLARE(conv_winograd);
SIMD_DECLARE(conv_direct);
SIMD_DECLARE_AVX512(conv_amx);
SIMD_DECLARE_AVX512(conv_bf16);
CUDA_DECLARE(conv_cuda);
CUDNN_DECLARE(conv_cudnn_first);
CUDNN_DECLARE(conv_cudnn_second);
CUDNN_DECLARE(conv_cudnn_third);

static const struct kernel *const conv_kernels[] = {
    CUDA_KERNELS(conv_cuda) CUDNN_KERNELS(conv_cudnn_first) CUDNN_KERNELS(conv_cudnn_second)
        CUDNN_KERNELS(conv_cudnn_third) SIMD_AVX512_KERNEL(conv_amx_winograd)
            SIMD_KERNELS(conv_winograd),
    SIMD_KERNELS(conv_direct),
    SIMD_AVX512_KERNEL(conv_amx) SIMD_AVX512_KERNEL(conv_bf16) WIDENED_KERNELS,
    REAL_KERNELS(conv_reference), CONV_ONEDNN NULL};

const struct op op_conv = {
    .name = "conv",
    .help = "3-D convolution of one or several inputs with bias and LeakyReLU",
    .infer = infer,
    .forward_flops = forward_flops,
    .backward_flops = backward_flops,
    .fold = fold,
    .slab = slab,
    .kernels = conv_kernels,
};
