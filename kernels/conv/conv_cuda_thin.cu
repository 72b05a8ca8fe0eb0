/* Which products of a thin and a wide side make up a node's forward and backward. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_thin.h"

static void set_extent(int (&extent)[3], const struct tensor *tensor) {
  extent[0] = tensor->shape.d;
  extent[1] = tensor->shape.h;
  extent[2] = tensor->shape.w;
}

/* Adds the channels of a tensor to the thin side. */
static void add_thin(struct thin_pair *pair, const struct tensor *tensor, const void *data) {
  struct cuda_strides strides = cuda_strides_of(tensor);
  size_t element = dtype_bytes(tensor->dtype);
  for (int c = 0; c < tensor->shape.c; c++) {
    const char *channel = data ? (const char *)data + c * strides.channel * element : NULL;
    struct thin_channel thin = {channel, strides.sample, (int)strides.voxel,
                                tensor->dtype == DTYPE_F32};
    pair->thin[pair->thin_channels++] = thin;
  }
}

/* What all products of a node have in common: inputs from `input` on are one side, y the other.
 * Where y is read from x, weights are met in their order and `padding` before the voxel. */
static struct thin_pair make_pair(const struct node *node, int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, input);
  struct thin_pair pair;
  memset(&pair, 0, sizeof pair);
  pair.samples = node->y.shape.n;
  pair.taps = (int)weights.input;
  pair.offset = weights.offset;
  for (int i = 0; i < 3; i++) {
    pair.kernel[i] = a->kernel[i];
    pair.first[i] = -a->padding[i];
  }
  return pair;
}

static void mirror(struct thin_pair *pair) {
  pair->mirrored = true;
  for (int i = 0; i < 3; i++) pair->first[i] = -pair->first[i] - (pair->kernel[i] - 1);
}

/* All inputs are the thin side, y the wide one. */
static struct thin_pair thin_inputs(const struct node *node, const struct io *io) {
  struct thin_pair pair = make_pair(node, 0);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, 0);
  for (int i = 0; i < node->input_count; i++) add_thin(&pair, &node->x[i], io ? io->x[i] : NULL);
  pair.thin_stride = weights.input;
  pair.wide_stride = weights.output;
  pair.wide_channels = node->y.shape.c;
  set_extent(pair.thin_extent, &node->x[0]);
  set_extent(pair.wide_extent, &node->y);
  return pair;
}

/* y (dy) is the thin side, input `input` the wide one; voxels of x read dy. */
static struct thin_pair thin_gradient(const struct node *node, const struct io *io, int input) {
  struct thin_pair pair = make_pair(node, input);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, input);
  mirror(&pair);
  add_thin(&pair, &node->y, io ? io->dy : NULL);
  pair.thin_stride = weights.output;
  pair.wide_stride = weights.input;
  pair.wide_channels = node->x[input].shape.c;
  set_extent(pair.thin_extent, &node->y);
  set_extent(pair.wide_extent, &node->x[input]);
  return pair;
}

/* y is the thin side, all inputs the wide one; voxels of y read x. */
static struct thin_pair thin_output(const struct node *node) {
  struct thin_pair pair = make_pair(node, 0);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, 0);
  pair.thin_channels = node->y.shape.c;
  pair.thin_stride = weights.output;
  pair.wide_stride = weights.input;
  pair.wide_channels = conv_input_channels(node);
  set_extent(pair.thin_extent, &node->y);
  set_extent(pair.wide_extent, &node->x[0]);
  return pair;
}

/* Input `input` is the thin side, dy the wide one; voxels of x read dy. */
static struct thin_pair thin_input_gradient(const struct node *node, int input) {
  struct thin_pair pair = make_pair(node, input);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, input);
  mirror(&pair);
  pair.thin_channels = node->x[input].shape.c;
  pair.thin_stride = weights.input;
  pair.wide_stride = weights.output;
  pair.wide_channels = node->y.shape.c;
  set_extent(pair.thin_extent, &node->x[input]);
  set_extent(pair.wide_extent, &node->y);
  return pair;
}

static struct thin_result result_of(const struct tensor *tensor, void *data,
                                    const struct conv_cuda_end *end) {
  struct thin_result result;
  memset(&result, 0, sizeof result);
  result.data = data;
  result.strides = cuda_strides_of(tensor);
  result.wide = tensor->dtype == DTYPE_F32;
  result.add = end->add;
  result.bias = end->bias;
  result.slope = end->slope;
  return result;
}

/* --- what fits --- */

static bool is_simple(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  for (int i = 0; i < 3; i++)
    if (a->stride[i] != 1) return false;
  for (int i = 0; i < node->input_count; i++)
    if (a->upsample[i] || node->x[i].layout == LAYOUT_BLOCKED) return false;
  return node->activation != DTYPE_F64;
}

/* Channels last; what is copied to shared memory is also of the type of matrices. */
static bool is_last(const struct tensor *tensor) {
  return tensor->layout == LAYOUT_LAST || tensor->shape.c == 1;
}
static bool is_wide(const struct node *node, const struct tensor *tensor) {
  return is_last(tensor) && tensor->dtype == node->activation &&
         tensor->shape.c * dtype_bytes(tensor->dtype) % 16 == 0;
}

static bool has_thin_inputs(const struct node *node) {
  return conv_input_channels(node) <= THIN_MOST_CHANNELS;
}
static bool has_thin_output(const struct node *node) {
  return node->y.shape.c <= THIN_MOST_CHANNELS;
}

static bool forward_spreads(const struct node *node) {
  if (!is_simple(node) || !has_thin_inputs(node) || !is_last(&node->y)) return false;
  struct thin_pair pair = thin_inputs(node, NULL);
  return thin_spread_fits(&pair, node->activation);
}

static bool forward_gathers(const struct node *node) {
  if (!is_simple(node) || !has_thin_output(node)) return false;
  for (int i = 0; i < node->input_count; i++)
    if (!is_wide(node, &node->x[i])) return false;
  struct thin_pair pair = thin_output(node);
  return thin_gather_fits(&pair, node->activation);
}

static bool forward_applies(const struct node *node, int input) {
  (void)input;
  return forward_spreads(node) || forward_gathers(node);
}

static bool data_spreads(const struct node *node, int input) {
  if (!is_simple(node) || !has_thin_output(node) || !is_last(&node->x[input])) return false;
  struct thin_pair pair = thin_gradient(node, NULL, input);
  return thin_spread_fits(&pair, node->activation);
}

static bool data_gathers(const struct node *node, int input) {
  if (!is_simple(node) || node->x[input].shape.c > THIN_MOST_CHANNELS) return false;
  struct thin_pair pair = thin_input_gradient(node, input);
  return is_wide(node, &node->y) && thin_gather_fits(&pair, node->activation);
}

static bool data_applies(const struct node *node, int input) {
  return data_spreads(node, input) || data_gathers(node, input);
}

/* All inputs at once, when it is input 0's turn. */
static bool weights_of_inputs(const struct node *node) {
  if (!is_simple(node) || !has_thin_inputs(node) || !is_wide(node, &node->y)) return false;
  struct thin_pair pair = thin_inputs(node, NULL);
  return thin_outer_fits(&pair, node->activation);
}

static bool weights_of_output(const struct node *node, int input) {
  if (!is_simple(node) || !has_thin_output(node) || !is_wide(node, &node->x[input])) return false;
  struct thin_pair pair = thin_gradient(node, NULL, input);
  return thin_outer_fits(&pair, node->activation);
}

static bool weights_applies(const struct node *node, int input) {
  return weights_of_inputs(node) || weights_of_output(node, input);
}

/* --- what is done --- */

static void run_forward(const struct node *node, const struct io *io, int input,
                        const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)input, (void)workspace;
  const float *weights = (const float *)io->w[CONV_WEIGHT];
  struct thin_result result = result_of(&node->y, io->y, end);
  if (forward_spreads(node)) {
    struct thin_pair pair = thin_inputs(node, io);
    thin_spread(&pair, node->activation, weights, &result, stream);
    return;
  }
  struct thin_pair pair = thin_output(node);
  struct thin_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    sources[i].data = io->x[i];
    sources[i].channels = node->x[i].shape.c;
    sources[i].offset = conv_cuda_weights_of(node, i).offset;
  }
  thin_gather(&pair, node->activation, sources, node->input_count, weights, &result, stream);
}

static void run_data(const struct node *node, const struct io *io, int input,
                     const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)workspace;
  const float *weights = (const float *)io->w[CONV_WEIGHT];
  struct thin_result result = result_of(&node->x[input], io->dx[input], end);
  if (data_spreads(node, input)) {
    struct thin_pair pair = thin_gradient(node, io, input);
    thin_spread(&pair, node->activation, weights, &result, stream);
    return;
  }
  struct thin_pair pair = thin_input_gradient(node, input);
  struct thin_source source = {io->dy, node->y.shape.c, pair.offset};
  thin_gather(&pair, node->activation, &source, 1, weights, &result, stream);
}

static void run_weights(const struct node *node, const struct io *io, int input,
                        const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)end;
  float *dw = (float *)io->dw[CONV_WEIGHT], *partial = (float *)workspace;
  if (weights_of_inputs(node)) {
    struct thin_pair pair = thin_inputs(node, io);
    if (input == 0) thin_outer(&pair, node->activation, io->dy, dw, partial, stream);
    return;
  }
  struct thin_pair pair = thin_gradient(node, io, input);
  thin_outer(&pair, node->activation, io->x[input], dw, partial, stream);
}

static size_t weights_workspace(const struct node *node, int input) {
  struct thin_pair pair =
      weights_of_inputs(node) ? thin_inputs(node, NULL) : thin_gradient(node, NULL, input);
  return thin_outer_bytes(&pair, node->activation);
}

const struct conv_cuda_part conv_cuda_thin_forward = {forward_applies, NULL, run_forward};
const struct conv_cuda_part conv_cuda_thin_data = {data_applies, NULL, run_data};
const struct conv_cuda_part conv_cuda_thin_weights = {weights_applies, weights_workspace,
                                                      run_weights};
