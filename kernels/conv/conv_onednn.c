/* conv by oneDNN, an engine to choose by name and a yardstick. Inputs and results in blocks of 16
 * channels, and planar inputs, are read and written in place, one input after the other being added
 * to y; upsampled inputs are doubled in workspace first, and results and gradients of 1 to 4
 * channels pass through blocks there. With stride 1 the gradient of an input is the convolution of
 * dy with the mirrored weights, which oneDNN computes faster than what it has for gradients, and
 * can add to what is there. (oneDNN allocates a little in each call.) */
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/conv_onednn_passes.h"
#include "kernels/conv/conv_onednn_program.h"

SIMD_DECLARE_OTHER(conv_onednn_passes, conv_onednn_passes);

const struct conv_onednn_passes *conv_onednn_passes(void) {
  static const struct conv_onednn_passes *const all[] = {SIMD_KERNELS(conv_onednn_passes)};
  size_t i = 0;
  while (!all[i]->available()) i++;
  return all[i];
}

/* --- layers --- */

/* Input i as the convolution sees it. */
static struct tensor seen(const struct node *node, int i) {
  struct tensor tensor = node->x[i];
  tensor.shape = conv_input_shape(node, i);
  return tensor;
}

static struct tensor blocked(struct tensor tensor) {
  tensor.layout = LAYOUT_BLOCKED;
  return tensor;
}

static bool is_strided(const struct node *node) {
  const int *stride = conv_arguments_of(node)->stride;
  return stride[0] != 1 || stride[1] != 1 || stride[2] != 1;
}

static int taps_of(const struct node *node) {
  const int *kernel = conv_arguments_of(node)->kernel;
  return kernel[0] * kernel[1] * kernel[2];
}

static void start_layer(const struct node *node, struct conv_onednn_layer *layer) {
  const struct conv_arguments *a = conv_arguments_of(node);
  memset(layer, 0, sizeof *layer);
  memcpy(layer->kernel, a->kernel, sizeof layer->kernel);
  memcpy(layer->stride, a->stride, sizeof layer->stride);
  memcpy(layer->padding, a->padding, sizeof layer->padding);
  layer->x_step = taps_of(node);
  layer->y_step = layer->x_step * conv_input_channels(node);
  layer->source_count = 1;
  layer->slope = 1;
}

static const struct conv_onednn_program *find_output(const struct node *node) {
  struct conv_onednn_layer layer;
  start_layer(node, &layer);
  layer.direction = CONV_ONEDNN_FORWARD;
  layer.source_count = node->input_count;
  for (int i = 0; i < node->input_count; i++) layer.source[i] = seen(node, i);
  layer.target = blocked(node->y);
  layer.bias = conv_arguments_of(node)->bias;
  layer.slope = conv_arguments_of(node)->slope;
  return conv_onednn_program(&layer);
}

static const struct conv_onednn_program *find_weights(const struct node *node, int i) {
  struct conv_onednn_layer layer;
  start_layer(node, &layer);
  layer.direction = CONV_ONEDNN_WEIGHT;
  layer.source[0] = seen(node, i);
  layer.target = blocked(node->y);
  return conv_onednn_program(&layer);
}

/* add: to what is in the target. */
static const struct conv_onednn_program *find_data(const struct node *node, int i, bool add) {
  struct conv_onednn_layer layer;
  start_layer(node, &layer);
  layer.direction = CONV_ONEDNN_DATA;
  layer.source[0] = blocked(node->y);
  layer.target = blocked(seen(node, i));
  if (!is_strided(node)) {
    layer.direction = CONV_ONEDNN_FORWARD;
    for (int k = 0; k < 3; k++) layer.padding[k] = layer.kernel[k] - 1 - layer.padding[k];
    int64_t step = layer.x_step;
    layer.x_step = layer.y_step;
    layer.y_step = step;
    layer.add = add;
  }
  return conv_onednn_program(&layer);
}

static bool applies(const struct node *node) {
  if (node->y.dtype != DTYPE_F32 || !find_output(node)) return false;
  for (int i = 0; i < node->input_count; i++) {
    if (node->x[i].dtype != DTYPE_F32 || !find_weights(node, i)) return false;
    if (node->wants_dx[i] && !(find_data(node, i, false) && find_data(node, i, true))) return false;
  }
  return true;
}

/* --- workspace --- */

/* Where things lie, in bytes; size is the end. */
struct arrangement {
  size_t y;                     /* y or dy in blocks, where it is planar */
  size_t inputs[OP_MAX_INPUTS]; /* forward: doubled */
  size_t input;                 /* backward: an input doubled, or its gradient */
  size_t partial, mirrored, program, size;
};

static size_t take(size_t *end, size_t bytes) {
  size_t start = *end;
  *end += (bytes + 63) / 64 * 64;
  return start;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static size_t bytes_if(bool wanted, struct tensor tensor) {
  return wanted ? tensor_bytes(&tensor) : 0;
}

static bool is_doubled(const struct node *node, int i) {
  return conv_arguments_of(node)->upsample[i];
}

/* Whether oneDNN writes the gradient of input i where it belongs. */
static bool is_direct(const struct node *node, int i, bool add) {
  return node->x[i].layout == LAYOUT_BLOCKED && !is_doubled(node, i) && !(add && is_strided(node));
}

static struct arrangement arrange_forward(const struct node *node) {
  struct arrangement at = {0};
  at.y = take(&at.size, bytes_if(node->y.layout == LAYOUT_PLANAR, blocked(node->y)));
  for (int i = 0; i < node->input_count; i++)
    at.inputs[i] = take(&at.size, bytes_if(is_doubled(node, i), seen(node, i)));
  at.program = take(&at.size, conv_onednn_program_bytes(find_output(node)));
  return at;
}

static struct arrangement arrange_backward(const struct node *node) {
  struct arrangement at = {0};
  size_t input = 0, program = 0;
  for (int i = 0; i < node->input_count; i++) {
    program = larger(program, conv_onednn_program_bytes(find_weights(node, i)));
    input = larger(input, bytes_if(is_doubled(node, i), seen(node, i)));
    if (!node->wants_dx[i]) continue;
    program = larger(program, conv_onednn_program_bytes(find_data(node, i, false)));
    program = larger(program, conv_onednn_program_bytes(find_data(node, i, true)));
    input = larger(input, bytes_if(!is_direct(node, i, true), blocked(seen(node, i))));
  }
  at.y = take(&at.size, bytes_if(node->y.layout == LAYOUT_PLANAR, blocked(node->y)));
  at.input = take(&at.size, input);
  at.partial = take(&at.size, sizeof(float) * conv_onednn_passes()->activation_size(&node->y));
  at.mirrored = take(&at.size, sizeof(float) * parameter_count(&node->parameter[CONV_WEIGHT]));
  at.program = take(&at.size, program);
  return at;
}

static void prepare(struct node *node) {
  node->forward_workspace = arrange_forward(node).size;
  node->backward_workspace = arrange_backward(node).size;
}

/* --- calls --- */

static float *at_bytes(const struct io *io, size_t bytes) {
  return (float *)(void *)((char *)io->workspace + bytes);
}

/* Input i as oneDNN reads it: in place, or doubled at `room`. */
static const float *read_input(const struct node *node, const struct io *io, int i, float *room) {
  if (!is_doubled(node, i)) return io->x[i];
  struct tensor doubled = seen(node, i);
  conv_onednn_passes()->spread(&node->x[i], io->x[i], &doubled, room);
  return room;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct arrangement at = arrange_forward(node);
  bool planar = node->y.layout == LAYOUT_PLANAR;
  struct conv_onednn_memory memory = {.target = planar ? at_bytes(io, at.y) : io->y,
                                      .plain = (void *)(uintptr_t)io->w[CONV_WEIGHT],
                                      .workspace = at_bytes(io, at.program)};
  if (conv_arguments_of(node)->bias) memory.bias = io->w[CONV_BIAS];
  for (int i = 0; i < node->input_count; i++)
    memory.source[i] = read_input(node, io, i, at_bytes(io, at.inputs[i]));
  TRY(conv_onednn_program_run(find_output(node), &memory));
  struct tensor made = blocked(node->y);
  if (planar) conv_onednn_passes()->collect(&made, memory.target, &node->y, io->y, false);
  return STATUS_OK;
}

/* Each pair of channels' taps in reverse. */
static void mirror(const struct node *node, const float *w, float *mirrored) {
  int taps = taps_of(node);
  int64_t pairs = parameter_count(&node->parameter[CONV_WEIGHT]) / taps;
#pragma omp parallel for schedule(static)
  for (int64_t pair = 0; pair < pairs; pair++)
    for (int tap = 0; tap < taps; tap++)
      mirrored[pair * taps + tap] = w[pair * taps + taps - 1 - tap];
}

/* Floats in front of input i's weights. */
static int64_t weight_offset(const struct node *node, int i) {
  int64_t channels = 0;
  for (int k = 0; k < i; k++) channels += node->x[k].shape.c;
  return channels * taps_of(node);
}

static enum status weight_gradient(const struct node *node, const struct io *io,
                                   const struct arrangement *at, float *dy, int i) {
  struct conv_onednn_memory memory = {.target = dy, .workspace = at_bytes(io, at->program)};
  memory.source[0] = read_input(node, io, i, at_bytes(io, at->input));
  memory.plain = (float *)io->dw[CONV_WEIGHT] + weight_offset(node, i);
  return conv_onednn_program_run(find_weights(node, i), &memory);
}

static enum status data_gradient(const struct node *node, const struct io *io,
                                 const struct arrangement *at, const float *dy, int i) {
  bool direct = is_direct(node, i, io->dx_add[i]);
  const float *w = is_strided(node) ? io->w[CONV_WEIGHT] : at_bytes(io, at->mirrored);
  struct conv_onednn_memory memory = {.source = {dy},
                                      .target = direct ? io->dx[i] : at_bytes(io, at->input),
                                      .plain = (void *)(uintptr_t)(w + weight_offset(node, i)),
                                      .workspace = at_bytes(io, at->program)};
  TRY(conv_onednn_program_run(find_data(node, i, direct && io->dx_add[i]), &memory));
  struct tensor made = blocked(seen(node, i));
  if (!direct)
    conv_onednn_passes()->collect(&made, memory.target, &node->x[i], io->dx[i], io->dx_add[i]);
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  const struct conv_arguments *a = conv_arguments_of(node);
  struct arrangement at = arrange_backward(node);
  float *dy = io->dy;
  conv_onednn_passes()->activation(&node->y, io->y, dy, a->slope,
                                   a->bias ? io->dw[CONV_BIAS] : NULL, at_bytes(io, at.partial));
  if (node->y.layout == LAYOUT_PLANAR) {
    struct tensor spread = blocked(node->y);
    dy = at_bytes(io, at.y);
    conv_onednn_passes()->spread(&node->y, io->dy, &spread, dy);
  }
  if (!is_strided(node)) mirror(node, io->w[CONV_WEIGHT], at_bytes(io, at.mirrored));
  for (int i = 0; i < node->input_count; i++) TRY(weight_gradient(node, io, &at, dy, i));
  for (int i = 0; i < node->input_count; i++)
    if (io->dx[i]) TRY(data_gradient(node, io, &at, dy, i));
  return STATUS_OK;
}

extern const struct kernel conv_onednn;
const struct kernel conv_onednn = {
    .name = "onednn",
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = applies,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
};
