/* The convolution whose passes go through the transformed domain where that is faster, and are the
 * direct ones where it is not: decided by shape alone. */
#include "kernels/conv/conv_winograd.h"

extern const struct kernel SIMD_NAME(conv_winograd);

enum { MOST_PADDING = 2 };

/* --- what fits --- */

static bool all_blocked(const struct node *node) {
  for (int i = 0; i < node->input_count; i++)
    if (node->x[i].layout != LAYOUT_BLOCKED) return false;
  return node->y.layout == LAYOUT_BLOCKED;
}

/* The family of inputs that are read at full resolution. */
static bool find_family(const struct node *node, enum winograd_family *family) {
  const struct conv_arguments *a = conv_arguments_of(node);
  const enum winograd_family families[] = {WINOGRAD_FULL_3D, WINOGRAD_FULL_HW, WINOGRAD_FULL_DH};
  for (int i = 0; i < 3; i++)
    if (a->stride[i] != 1 || a->padding[i] > MOST_PADDING) return false;
  for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
    bool fits = families[f] == WINOGRAD_FULL_3D || !conv_any_upsampled(node);
    for (int i = 0; i < 3; i++)
      fits = fits && a->kernel[i] == (winograd_axis_kind(families[f], i) == WINOGRAD_ONE ? 1 : 3);
    *family = families[f];
    if (fits) return all_blocked(node);
  }
  return false;
}

static enum winograd_family family_of(const struct node *node, bool upsampled,
                                      enum winograd_family otherwise) {
  enum winograd_family family = WINOGRAD_FULL_3D;
  find_family(node, &family);
  return upsampled ? otherwise : family;
}

/* --- geometry --- */

/* Where an upsampled input is read, tiles begin at odd voxels of it. */
static int first_target(const struct node *node, int axis) {
  return conv_any_upsampled(node) && conv_arguments_of(node)->padding[axis] % 2 == 0 ? -1 : 0;
}

static struct winograd_grid grid_of(const struct tensor *target, enum winograd_family family,
                                    const int first[3]) {
  struct shape s = target->shape;
  const int extent[] = {s.d, s.h, s.w};
  struct winograd_grid grid;
  for (int i = 0; i < 3; i++) {
    int outputs = winograd_outputs(winograd_axis_kind(family, i));
    grid.first[i] = first[i];
    grid.tiles[i] = (extent[i] - first[i] + outputs - 1) / outputs;
  }
  return grid;
}

static struct winograd_grid forward_grid(const struct node *node) {
  int first[3];
  for (int i = 0; i < 3; i++) first[i] = first_target(node, i);
  return grid_of(&node->y, family_of(node, false, WINOGRAD_FULL_3D), first);
}

static struct winograd_source forward_source(const struct node *node, const struct io *io,
                                             int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  bool upsampled = a->upsample[input];
  struct winograd_source source = {.tensor = &node->x[input],
                                   .data = io->x[input],
                                   .family = family_of(node, upsampled, WINOGRAD_UP_3D)};
  for (int i = 0; i < 3; i++) {
    int first = first_target(node, i) - a->padding[i];
    source.first[i] = upsampled ? (first - 1) / 2 : first;
  }
  return source;
}

static struct winograd_source gradient_source(const struct node *node, const struct io *io,
                                              int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct winograd_source source = {.tensor = &node->y,
                                   .data = io->dy,
                                   .family = family_of(node, a->upsample[input], WINOGRAD_DOWN_3D)};
  for (int i = 0; i < 3; i++) source.first[i] = a->padding[i] - (a->kernel[i] - 1);
  return source;
}

static struct conv_extent plain_extent(const struct node *node, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  return (struct conv_extent){a->kernel[axis], 1, a->padding[axis], false};
}

static struct conv_packing forward_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, true);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_forward(plain_extent(node, i), 1);
  return packing;
}

static struct conv_packing gradient_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, false);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_gradient(plain_extent(node, i));
  return packing;
}

/* --- workspaces --- */

/* Zeros, then transformed weights, then what they are packed in before. */
static size_t zeros_size(const struct node *node) {
  size_t most = winograd_zero_size(&node->y);
  for (int i = 0; i < node->input_count; i++) {
    size_t size = winograd_zero_size(&node->x[i]);
    if (size > most) most = size;
  }
  return most;
}

static const float *clear_zeros(const struct node *node, float **workspace) {
  float *zeros = *workspace;
  memset(zeros, 0, sizeof(float) * zeros_size(node));
  *workspace += zeros_size(node);
  return zeros;
}

static size_t output_size(const struct node *node) {
  size_t weights = 0, packed = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = forward_packing(node, i);
    enum winograd_family family =
        family_of(node, conv_arguments_of(node)->upsample[i], WINOGRAD_UP_3D);
    weights += winograd_weights_size(family, &packing);
    size_t size = conv_packing_size(&packing);
    if (size > packed) packed = size;
  }
  return zeros_size(node) + weights + packed;
}

static size_t data_size(const struct node *node, int input) {
  struct conv_packing packing = gradient_packing(node, input);
  enum winograd_family family =
      family_of(node, conv_arguments_of(node)->upsample[input], WINOGRAD_DOWN_3D);
  return zeros_size(node) + winograd_weights_size(family, &packing) + conv_packing_size(&packing);
}

static size_t weights_size(const struct node *node, int input) {
  struct conv_packing packing = forward_packing(node, input);
  struct winograd_grid grid = forward_grid(node);
  enum winograd_family family =
      family_of(node, conv_arguments_of(node)->upsample[input], WINOGRAD_UP_3D);
  return zeros_size(node) +
         conv_round_to_line(SIMD_NAME(winograd_outer_size)(&node->y, &grid, family, &packing));
}

/* --- passes --- */

static const float *weights_of(const struct node *node, const struct io *io, int input) {
  return (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input);
}

static void output_pass(const struct node *node, const struct io *io,
                        const struct conv_target *target, float *workspace) {
  struct winograd_source sources[OP_MAX_INPUTS];
  struct conv_packing packing[OP_MAX_INPUTS];
  const float *zeros = clear_zeros(node, &workspace);
  for (int i = 0; i < node->input_count; i++) {
    sources[i] = forward_source(node, io, i);
    packing[i] = forward_packing(node, i);
    sources[i].weights = workspace;
    workspace += winograd_weights_size(sources[i].family, &packing[i]);
  }
  for (int i = 0; i < node->input_count; i++) {
    conv_pack(&packing[i], weights_of(node, io, i), workspace);
    SIMD_NAME(winograd_weights)
    (sources[i].family, &packing[i], workspace, (float *)sources[i].weights);
  }
  struct winograd_grid grid = forward_grid(node);
  SIMD_NAME(winograd_rows)(target, &grid, sources, node->input_count, zeros);
}

static void data_pass(const struct node *node, const struct io *io, int input,
                      const struct conv_target *target, float *workspace) {
  const int first[3] = {0};
  const float *zeros = clear_zeros(node, &workspace);
  struct winograd_source source = gradient_source(node, io, input);
  struct conv_packing packing = gradient_packing(node, input);
  float *packed = workspace + winograd_weights_size(source.family, &packing);
  conv_pack(&packing, weights_of(node, io, input), packed);
  SIMD_NAME(winograd_weights)(source.family, &packing, packed, workspace);
  source.weights = workspace;
  struct winograd_grid grid = grid_of(target->tensor, source.family, first);
  SIMD_NAME(winograd_rows)(target, &grid, &source, 1, zeros);
}

static void weights_pass(const struct node *node, const struct io *io, int input,
                         float *workspace) {
  const float *zeros = clear_zeros(node, &workspace);
  struct winograd_source source = forward_source(node, io, input);
  struct conv_packing packing = forward_packing(node, input);
  struct winograd_grid grid = forward_grid(node);
  SIMD_NAME(winograd_outer)(&node->y, io->dy, &grid, &source, &packing, zeros, workspace);
  conv_unpack(&packing, workspace,
              (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input));
}

const struct conv_passes SIMD_NAME(conv_winograd_passes) = {
    .output_size = output_size,
    .weights_size = weights_size,
    .data_size = data_size,
    .output = output_pass,
    .weights = weights_pass,
    .data = data_pass,
};

static bool applies(const struct node *node) {
  enum winograd_family family;
  return find_family(node, &family) && simd_available();
}

static bool pays(const struct node *node) {
  enum winograd_family family;
  return find_family(node, &family) && winograd_pays(node, family);
}

CONV_PASSES_KERNEL(conv_winograd, SIMD_NAME(conv_winograd_passes), .name = SIMD_LABEL("winograd"),
                   .dtype = DTYPE_F32, .applies = applies, .pays = pays);
