/* The direct convolution: forward, and backward as the activation's derivative, one weight-gradient
 * pass per input and one data-gradient pass per input that wants one. */
#include "kernels/conv/conv_direct.h"
#include "kernels/conv/conv_image.h"
#include "kernels/conv/conv_point.h"
#include "kernels/conv/conv_point_few.h"

extern const struct kernel SIMD_NAME(conv_direct);

static struct conv_extent extent_of(const struct node *node, int input, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  return (struct conv_extent){a->kernel[axis], a->stride[axis], a->padding[axis],
                              a->upsample[input]};
}

struct conv_packing SIMD_NAME(conv_packing_of)(const struct node *node, int input,
                                               bool lanes_are_outputs) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_packing packing = {.kernel = {a->kernel[0], a->kernel[1], a->kernel[2]}};
  int64_t kernel = (int64_t)a->kernel[0] * a->kernel[1] * a->kernel[2];
  int64_t output_stride = kernel * conv_input_channels(node);
  packing.lanes = lanes_are_outputs ? a->out_channels : node->x[input].shape.c;
  packing.channels = lanes_are_outputs ? node->x[input].shape.c : a->out_channels;
  packing.lane_stride = lanes_are_outputs ? output_stride : kernel;
  packing.channel_stride = lanes_are_outputs ? kernel : output_stride;
  return packing;
}

/* y from an input. The lanes are those of the blocked one of both. */
static struct conv_packing forward_packing(const struct node *node, int input, int phases) {
  bool planar_output = node->y.layout == LAYOUT_PLANAR;
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, !planar_output);
  packing.group = planar_output ? node->y.shape.c : conv_group_of(&node->x[input]);
  for (int i = 0; i < 3; i++)
    packing.axis[i] = conv_axis_forward(extent_of(node, input, i), phases);
  return packing;
}

/* The gradient of an input from dy. */
static struct conv_packing gradient_packing(const struct node *node, int input) {
  bool planar_input = node->x[input].layout == LAYOUT_PLANAR;
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, planar_input);
  packing.group = planar_input ? node->x[input].shape.c : conv_group_of(&node->y);
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_gradient(extent_of(node, input, i));
  return packing;
}

static int round_up(int count, int multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

/* Whether the weight gradient's lanes are those of an input, with taps of dy, rather than those of
 * dy: where dy is planar; where either would do, which of both has fewer idle. */
static bool lanes_are_inputs(const struct node *node, int input) {
  if (node->y.layout == LAYOUT_PLANAR) return true;
  struct conv_packing packing = gradient_packing(node, input);
  if (node->x[input].layout == LAYOUT_PLANAR || !conv_point_is_plain(&packing)) return false;
  int inputs = node->x[input].shape.c, outputs = node->y.shape.c, half = CHANNEL_BLOCK / 2;
  return (int64_t)round_up(inputs, CHANNEL_BLOCK) * round_up(outputs, half) <
         (int64_t)round_up(outputs, CHANNEL_BLOCK) * round_up(inputs, half);
}

static struct conv_packing weight_packing(const struct node *node, int input) {
  if (lanes_are_inputs(node, input)) return gradient_packing(node, input);
  return forward_packing(node, input, conv_arguments_of(node)->upsample[input] ? 2 : 1);
}

static const struct tensor *weight_target(const struct node *node, int input) {
  return lanes_are_inputs(node, input) ? &node->x[input] : &node->y;
}

int64_t SIMD_NAME(conv_weight_offset)(const struct node *node, int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  int64_t offset = 0;
  for (int i = 0; i < input; i++) offset += node->x[i].shape.c;
  return offset * a->kernel[0] * a->kernel[1] * a->kernel[2];
}

static bool planar_fits(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  bool stride_1 = a->stride[0] == 1 && a->stride[1] == 1 && a->stride[2] == 1;
  bool planar_output = node->y.layout == LAYOUT_PLANAR;
  for (int i = 0; i < node->input_count; i++) {
    bool planar = node->x[i].layout == LAYOUT_PLANAR, simple = stride_1 && !a->upsample[i];
    if (planar_output && (planar || !simple)) return false;
    if (planar && node->wants_dx[i] && !simple) return false;
  }
  return true;
}

bool SIMD_NAME(conv_direct_applies)(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  for (int i = 0; i < 3; i++)
    if (a->kernel[i] > CONV_MOST_KERNEL || a->stride[i] > 2) return false;
  return planar_fits(node) && simd_available();
}

/* The source of an input's weight gradient, its data yet to come. */
static struct conv_source weight_source(const struct node *node, int input) {
  const struct tensor *source = lanes_are_inputs(node, input) ? &node->y : &node->x[input];
  return (struct conv_source){source, NULL, weight_packing(node, input), NULL};
}

static int phases_of(const struct node *node) {
  return conv_any_upsampled(node) ? 2 : 1;
}

/* --- sizes --- */

size_t SIMD_NAME(conv_bias_size)(const struct tensor *tensor) {
  return conv_round_to_line((size_t)tensor_stored_channels(tensor));
}

size_t SIMD_NAME(conv_activation_size)(const struct tensor *tensor) {
  return conv_round_to_line((size_t)tensor->shape.n * tensor->shape.d *
                            tensor_stored_channels(tensor));
}

static size_t output_size(const struct node *node) {
  size_t size = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = forward_packing(node, i, phases_of(node));
    size += conv_round_to_line(conv_packing_size(&packing));
  }
  return size;
}

static size_t weights_size(const struct node *node, int input) {
  struct conv_source source = weight_source(node, input);
  const struct tensor *target = weight_target(node, input);
  if (conv_image_fits(target, &source, 1))
    return conv_round_to_line(SIMD_NAME(conv_image_size)(target, &source, 1));
  if (SIMD_NAME(conv_point_outer_pays)(target, &source))
    return conv_round_to_line(SIMD_NAME(conv_point_outer_size)(target, &source));
  return conv_round_to_line(SIMD_NAME(conv_outer_size)(target, &source.packing));
}

static size_t data_size(const struct node *node, int input) {
  struct conv_packing packing = gradient_packing(node, input);
  return conv_round_to_line(conv_packing_size(&packing));
}

/* Whether one sweep over dy does for backward: only images go in, and nothing but gradients of
 * weights is wanted. */
static bool one_sweep(const struct node *node) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    if (node->wants_dx[i]) return false;
    sources[i] = weight_source(node, i);
  }
  return conv_image_fits(&node->y, sources, node->input_count);
}

/* Whether the gradients of weights and input are found together, so that dy is read once: where it
 * is what most is read of. */
static bool both_at_once(const struct node *node) {
  if (node->input_count != 1 || !node->wants_dx[0]) return false;
  if (node->y.shape.c <= CONV_FEW_GROUPS * CHANNEL_BLOCK)
    return false; /* conv_point_few is for it */
  struct conv_source weights = weight_source(node, 0), data = {.tensor = &node->y};
  data.packing = gradient_packing(node, 0);
  return SIMD_NAME(conv_point_outer_sees_once)(weight_target(node, 0), &weights) &&
         SIMD_NAME(conv_point_fits)(&node->x[0], &data);
}

static size_t sweep_size(const struct node *node) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) sources[i] = weight_source(node, i);
  return conv_round_to_line(SIMD_NAME(conv_image_size)(&node->y, sources, node->input_count));
}

/* --- rows --- */

enum { LEAST_ROW = 64 };

static bool sees_one_voxel(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  for (int i = 0; i < 3; i++)
    if (a->kernel[i] != 1 || a->stride[i] != 1 || a->padding[i] != 0) return false;
  return !conv_any_upsampled(node);
}

static void merge_axes(struct shape *s) {
  int *axes[] = {&s->h, &s->d};
  for (int i = 0; i < 2 && s->w < LEAST_ROW; i++) {
    s->w *= *axes[i];
    *axes[i] = 1;
  }
}

/* The same node on longer rows where its rows are short and voxels know nothing of each other. */
static struct node with_long_rows(const struct node *node) {
  struct node merged = *node;
  if (!sees_one_voxel(node)) return merged;
  for (int i = 0; i < merged.input_count; i++) merge_axes(&merged.x[i].shape);
  merge_axes(&merged.y.shape);
  return merged;
}

void SIMD_NAME(conv_prepare_passes)(const struct conv_passes *passes, struct node *original) {
  struct node merged = with_long_rows(original);
  const struct node *node = &merged;
  size_t most = 0;
  for (int i = 0; i < node->input_count; i++) {
    size_t weights = passes->weights_size(node, i);
    size_t data = passes->data_size(node, i);
    if (weights > most) most = weights;
    if (data > most) most = data;
  }
  if (passes == &SIMD_NAME(conv_direct_passes)) {
    if (one_sweep(node)) most = sweep_size(node);
    if (both_at_once(node)) most = weights_size(node, 0) + data_size(node, 0);
  }
  original->forward_workspace =
      sizeof(float) * (SIMD_NAME(conv_bias_size)(&node->y) + passes->output_size(node));
  original->backward_workspace = sizeof(float) * (SIMD_NAME(conv_activation_size)(&node->y) + most);
}

/* --- passes --- */

const float *SIMD_NAME(conv_bias)(const struct tensor *tensor, const float *bias, float *padded) {
  memset(padded, 0, sizeof(float) * SIMD_NAME(conv_bias_size)(tensor));
  return memcpy(padded, bias, sizeof(float) * tensor->shape.c);
}

static void compute(const struct conv_target *target, const struct conv_source *sources,
                    int count) {
  if (target->tensor->layout == LAYOUT_PLANAR)
    SIMD_NAME(conv_planar)(target, sources, count);
  else if (conv_image_fits(target->tensor, sources, count))
    SIMD_NAME(conv_image)(target, sources, count);
  else if (SIMD_NAME(conv_point_pays)(target->tensor, sources, count))
    SIMD_NAME(conv_point)(target, sources, count);
  else if (SIMD_NAME(conv_flat_pays)(target->tensor, sources, count))
    SIMD_NAME(conv_flat)(target, sources, count);
  else
    SIMD_NAME(conv_rows)(target, sources, count);
}

static void output_pass(const struct node *node, const struct io *io,
                        const struct conv_target *target, float *packed) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = forward_packing(node, i, phases_of(node));
    sources[i] = (struct conv_source){&node->x[i], io->x[i], packing, packed};
    conv_pack(&packing, (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, i),
              packed);
    packed += conv_round_to_line(conv_packing_size(&packing));
  }
  compute(target, sources, node->input_count);
}

static void find_weights(const struct node *node, const struct io *io, int input, float *workspace,
                         const struct conv_point_sums *sums, const struct conv_point_also *also) {
  static const struct conv_image_activation none = {.slope = 1};
  bool swapped = lanes_are_inputs(node, input);
  const struct tensor *target = weight_target(node, input);
  const float *data = swapped ? io->x[input] : io->dy;
  struct conv_source source = weight_source(node, input);
  source.data = swapped ? io->dy : io->x[input];
  if (conv_image_fits(target, &source, 1))
    SIMD_NAME(conv_image_weights)(target, data, &none, &source, 1, workspace);
  else if (SIMD_NAME(conv_point_outer_pays)(target, &source))
    SIMD_NAME(conv_point_outer)(target, data, &source, workspace, sums, also);
  else
    SIMD_NAME(conv_outer)(target, data, &source, workspace);
  conv_unpack(&source.packing, workspace,
              (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input));
}

static void weights_pass(const struct node *node, const struct io *io, int input,
                         float *workspace) {
  find_weights(node, io, input, workspace, NULL, NULL);
}

static bool can_sum(const struct node *node, bool of_input) {
  struct conv_source source = weight_source(node, 0);
  return SIMD_NAME(conv_point_outer_sums)(weight_target(node, 0), &source,
                                          of_input != lanes_are_inputs(node, 0));
}

static void weights_and_sums(const struct node *node, const struct io *io, float *workspace,
                             bool of_input, float *channels) {
  struct conv_point_sums sums = {of_input != lanes_are_inputs(node, 0), channels};
  find_weights(node, io, 0, workspace, &sums, NULL);
}

/* The gradients of weights, input and bias (NULL: none) of a node that both_at_once is true of. */
static void find_both(const struct node *node, const struct io *io, float *workspace, float *bias) {
  struct conv_packing packing = gradient_packing(node, 0);
  struct conv_source source = {&node->y, io->dy, packing, workspace};
  struct conv_target target = {&node->x[0], io->dx[0], NULL, 1, io->dx_add[0]};
  struct conv_point_also also = {&target, &source};
  struct conv_point_sums sums = {lanes_are_inputs(node, 0), bias};
  conv_pack(&packing, io->w[CONV_WEIGHT], workspace);
  find_weights(node, io, 0, workspace + data_size(node, 0), bias ? &sums : NULL, &also);
}

/* All gradients of a node that one sweep does for; dy is left as it is. */
static void sweep_once(const struct node *node, const struct io *io, float *bias_partial,
                       float *partial) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_image_activation activation = {.y = a->slope != 1 ? io->y : NULL,
                                             .slope = a->slope,
                                             .bias_partial = a->bias ? bias_partial : NULL};
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    sources[i] = weight_source(node, i);
    sources[i].data = io->x[i];
  }
  SIMD_NAME(conv_image_weights)
  (&node->y, io->dy, &activation, sources, node->input_count, partial);
  if (a->bias) SIMD_NAME(conv_bias_gradient)(&node->y, bias_partial, io->dw[CONV_BIAS]);
  for (int i = 0; i < node->input_count; i++) {
    conv_unpack(&sources[i].packing, partial,
                (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, i));
    partial += conv_packing_size(&sources[i].packing);
  }
}

static void data_pass(const struct node *node, const struct io *io, int input,
                      const struct conv_target *target, float *workspace) {
  struct conv_packing packing = gradient_packing(node, input);
  conv_pack(&packing,
            (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input),
            workspace);
  struct conv_source source = {&node->y, io->dy, packing, workspace};
  compute(target, &source, 1);
}

void SIMD_NAME(conv_run_forward)(const struct conv_passes *passes, const struct node *original,
                                 const struct io *io) {
  struct node merged = with_long_rows(original);
  const struct node *node = &merged;
  const struct conv_arguments *a = conv_arguments_of(node);
  float *bias = io->workspace, *workspace = bias + SIMD_NAME(conv_bias_size)(&node->y);
  struct conv_target target = {.tensor = &node->y, .data = io->y, .slope = a->slope};
  if (a->bias) target.bias = SIMD_NAME(conv_bias)(&node->y, io->w[CONV_BIAS], bias);
  passes->output(node, io, &target, workspace);
}

void SIMD_NAME(conv_run_backward)(const struct conv_passes *passes, const struct node *original,
                                  const struct io *io) {
  struct node merged = with_long_rows(original);
  const struct node *node = &merged;
  const struct conv_arguments *a = conv_arguments_of(node);
  float *partial = io->workspace;
  float *workspace = partial + SIMD_NAME(conv_activation_size)(&node->y);
  if (passes == &SIMD_NAME(conv_direct_passes) && one_sweep(node)) {
    sweep_once(node, io, partial, workspace);
    return;
  }
  float *bias = a->bias ? io->dw[CONV_BIAS] : NULL;
  bool together = bias && a->slope == 1 && passes->can_sum && passes->can_sum(node, false);
  if (!together) SIMD_NAME(conv_activation)(&node->y, io->y, io->dy, a->slope, bias, partial);
  if (passes == &SIMD_NAME(conv_direct_passes) && io->dx[0] && both_at_once(node)) {
    find_both(node, io, workspace, together ? bias : NULL);
    return;
  }
  for (int i = 0; i < node->input_count; i++)
    if (i == 0 && together)
      passes->weights_and_sums(node, io, workspace, false, bias);
    else
      passes->weights(node, io, i, workspace);
  for (int i = 0; i < node->input_count; i++) {
    struct conv_target target = {&node->x[i], io->dx[i], NULL, 1, io->dx_add[i]};
    if (io->dx[i]) passes->data(node, io, i, &target, workspace);
  }
}

const struct conv_passes SIMD_NAME(conv_direct_passes) = {
    .output_size = output_size,
    .weights_size = weights_size,
    .data_size = data_size,
    .output = output_pass,
    .weights = weights_pass,
    .data = data_pass,
    .can_sum = can_sum,
    .weights_and_sums = weights_and_sums,
};

CONV_PASSES_KERNEL(conv_direct, SIMD_NAME(conv_direct_passes), .name = SIMD_LABEL("direct"),
                   .dtype = DTYPE_F32, .applies = SIMD_NAME(conv_direct_applies));
