/* The operator conv_transpose: its shapes, parameters and arithmetic, and the convolution that it
 * is the adjoint of. */
#include "kernels/conv_transpose/conv_transpose.h"
#include <string.h>
#include "kernels/common/cuda_table.h"
#include "kernels/common/real.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen.h"

static const char *const axis_names[] = {"d", "h", "w"};

static enum status check_axis(const struct node *node, int i) {
  const struct conv_transpose_arguments *a = conv_transpose_arguments_of(node);
  REQUIRE(a->kernel[i] >= 1, STATUS_USAGE, "%s: kernel extent along %s must be at least 1, is %d",
          node->name, axis_names[i], a->kernel[i]);
  REQUIRE(a->stride[i] >= 1, STATUS_USAGE, "%s: stride along %s must be at least 1, is %d",
          node->name, axis_names[i], a->stride[i]);
  REQUIRE(a->padding[i] >= 0 && a->padding[i] < a->kernel[i], STATUS_USAGE,
          "%s: padding along %s must be at least 0 and below the kernel extent %d, is %d",
          node->name, axis_names[i], a->kernel[i], a->padding[i]);
  REQUIRE(a->output_padding[i] >= 0 && a->output_padding[i] < a->stride[i], STATUS_USAGE,
          "%s: output padding along %s must be at least 0 and below the stride %d, is %d",
          node->name, axis_names[i], a->stride[i], a->output_padding[i]);
  return STATUS_OK;
}

static enum status check(const struct node *node) {
  const struct conv_transpose_arguments *a = conv_transpose_arguments_of(node);
  REQUIRE(node->input_count == 1, STATUS_USAGE,
          "%s: a transposed convolution has 1 input, found %d", node->name, node->input_count);
  struct shape s = node->x[0].shape;
  enum dtype dtype = node->x[0].dtype;
  REQUIRE(s.n >= 1 && s.c >= 1 && shape_voxels(s) >= 1, STATUS_USAGE, "%s: the input is empty",
          node->name);
  REQUIRE(dtype == node->activation || dtype == DTYPE_F32, STATUS_USAGE,
          "%s: the input is %s where activations are %s; expected these or float32", node->name,
          dtype_name(dtype), dtype_name(node->activation));
  REQUIRE(a->out_channels >= 1, STATUS_USAGE, "%s: output channels must be at least 1, are %d",
          node->name, a->out_channels);
  REQUIRE(a->initial_deviation >= 0, STATUS_USAGE,
          "%s: deviation of the first weights must not be negative, is %g", node->name,
          a->initial_deviation);
  for (int i = 0; i < 3; i++) TRY(check_axis(node, i));
  return STATUS_OK;
}

static enum status infer_output(struct node *node) {
  const struct conv_transpose_arguments *a = conv_transpose_arguments_of(node);
  struct shape s = node->x[0].shape;
  const int x[] = {s.d, s.h, s.w};
  int y[3];
  for (int i = 0; i < 3; i++) {
    y[i] = (x[i] - 1) * a->stride[i] - 2 * a->padding[i] + a->kernel[i] + a->output_padding[i];
    REQUIRE(y[i] >= 1, STATUS_USAGE,
            "%s: a kernel of %d with padding %d leaves nothing of an input of %d along %s",
            node->name, a->kernel[i], a->padding[i], x[i], axis_names[i]);
  }
  struct shape shape = {s.n, a->out_channels, y[0], y[1], y[2]};
  node->y = tensor_make(node->device, shape, node->activation);
  node->dtype = node->activation;
  return STATUS_OK;
}

static void infer_parameters(struct node *node) {
  const struct conv_transpose_arguments *a = conv_transpose_arguments_of(node);
  int fan_in = a->out_channels * a->kernel[0] * a->kernel[1] * a->kernel[2];
  bool normal = a->initial_deviation > 0;
  node->parameter[CONV_WEIGHT] = (struct parameter){
      .suffix = "weight",
      .extent = {node->x[0].shape.c, a->out_channels, a->kernel[0], a->kernel[1], a->kernel[2]},
      .rank = 5,
      .initial = normal ? INITIAL_NORMAL : INITIAL_UNIFORM_FAN_IN,
      .scale = normal ? a->initial_deviation : 1,
      .fan_in = fan_in};
  node->parameter[CONV_BIAS] =
      (struct parameter){.suffix = "bias",
                         .extent = {a->out_channels},
                         .rank = 1,
                         .initial = normal ? INITIAL_CONSTANT : INITIAL_UNIFORM_FAN_IN,
                         .scale = normal ? 0 : 1,
                         .fan_in = fan_in};
  node->parameter_count = a->bias ? 2 : 1;
}

static enum status infer(struct node *node) {
  TRY(check(node));
  TRY(infer_output(node));
  infer_parameters(node);
  node->backward_reads = READS_X;
  node->saved_count = 0;
  return STATUS_OK;
}

/* Every voxel of x meets all weights once. */
static double forward_flops(const struct node *node) {
  return 2.0 * node->x[0].shape.n * (double)shape_voxels(node->x[0].shape) *
         (double)parameter_count(&node->parameter[CONV_WEIGHT]);
}

static double backward_flops(const struct node *node) {
  return (node->wants_dx[0] ? 2 : 1) * forward_flops(node);
}

static int divide_down(int value, int by) {
  return value >= 0 ? value / by : -((by - 1 - value) / by);
}

/* x begins where it may first reach the wanted slices and ends where it does so last; y is all that
 * these slices of x reach. */
static void slab(const struct node *node, struct slices wanted, struct slab *slab,
                 struct node *part) {
  *part = *node;
  struct conv_transpose_arguments *a = (struct conv_transpose_arguments *)part->arguments;
  int kernel = a->kernel[0], stride = a->stride[0], padding = a->padding[0];
  slab->x[0].first = divide_down(wanted.first + padding - (kernel - 1), stride);
  slab->x[0].count = (wanted.count + kernel - 2) / stride + 2;
  a->padding[0] = 0;
  a->output_padding[0] = stride > kernel ? stride - kernel : 0;
  slab->y.first = slab->x[0].first * stride - padding;
  slab->y.count = (slab->x[0].count - 1) * stride + kernel + a->output_padding[0];
  part->x[0].shape.d = slab->x[0].count;
  part->y.shape.d = slab->y.count;
}

void conv_transpose_adjoint(const struct node *node, struct node *conv) {
  const struct conv_transpose_arguments *a = conv_transpose_arguments_of(node);
  *conv = *node;
  conv->op = &op_conv;
  conv->kernel = NULL;
  conv->x[0] = node->y;
  conv->wants_dx[0] = true;
  conv->y = node->x[0];
  conv->parameter_count = 1;
  struct conv_arguments arguments = {.out_channels = node->x[0].shape.c, .slope = 1};
  memcpy(arguments.kernel, a->kernel, sizeof arguments.kernel);
  memcpy(arguments.stride, a->stride, sizeof arguments.stride);
  memcpy(arguments.padding, a->padding, sizeof arguments.padding);
  memcpy(conv->arguments, &arguments, sizeof arguments);
}

struct io conv_transpose_forward_io(const struct io *io) {
  return (struct io){.w = {io->w[CONV_WEIGHT]},
                     .workspace = io->workspace,
                     .dy = (void *)(uintptr_t)io->x[0],
                     .dx = {io->y}};
}

struct io conv_transpose_backward_io(const struct io *io) {
  return (struct io){.x = {io->dy},
                     .y = io->dx[0],
                     .w = {io->w[CONV_WEIGHT]},
                     .workspace = io->workspace,
                     .dy = (void *)(uintptr_t)io->x[0],
                     .dw = {io->dw[CONV_WEIGHT]}};
}

REAL_DECLARE(conv_transpose_reference);
SIMD_DECLARE_AVX512(conv_transpose_amx_winograd);
SIMD_DECLARE(conv_transpose_winograd);
SIMD_DECLARE(conv_transpose);
SIMD_DECLARE_AVX512(conv_transpose_amx);
SIMD_DECLARE_AVX512(conv_transpose_bf16);
CUDA_DECLARE(conv_transpose_cuda);

static const struct kernel *const conv_transpose_kernels[] = {
    CUDA_KERNELS(conv_transpose_cuda) SIMD_AVX512_KERNEL(conv_transpose_amx_winograd)
        SIMD_KERNELS(conv_transpose_winograd),
    SIMD_KERNELS(conv_transpose),
    SIMD_AVX512_KERNEL(conv_transpose_amx) SIMD_AVX512_KERNEL(conv_transpose_bf16) WIDENED_KERNELS,
    REAL_KERNELS(conv_transpose_reference), NULL};

const struct op op_conv_transpose = {
    .name = "conv_transpose",
    .help = "transposed 3-D convolution with bias",
    .infer = infer,
    .forward_flops = forward_flops,
    .backward_flops = backward_flops,
    .slab = slab,
    .kernels = conv_transpose_kernels,
};
