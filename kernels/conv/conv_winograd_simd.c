/* The convolution whose passes go through the transformed domain where that is faster, and are the
 * direct ones where it is not: decided by shape alone. */
#include <math.h>
#include "kernels/common/tiles.h"
#include "kernels/conv/conv_winograd.h"

extern const struct kernel SIMD_NAME(conv_winograd);

enum { MOST_PADDING = 2 };

/* --- what fits --- */

/* Kernels along an axis of a kind. */
static const struct axis_fit {
  int stride, least_kernel, most_kernel;
} axis_fits[] = {
    [WINOGRAD_ONE] = {1, 1, 1},  [WINOGRAD_FULL] = {1, 3, 3},      [WINOGRAD_PAIR] = {2, 3, 4},
    [WINOGRAD_WIDE] = {1, 3, 3}, [WINOGRAD_WIDE_PAIR] = {2, 3, 4},
};

static bool all_blocked(const struct node *node) {
  for (int i = 0; i < node->input_count; i++)
    if (node->x[i].layout != LAYOUT_BLOCKED) return false;
  return node->y.layout == LAYOUT_BLOCKED;
}

static bool fits(const struct node *node, enum winograd_family family) {
  const struct conv_arguments *a = conv_arguments_of(node);
  if (conv_any_upsampled(node) && family != WINOGRAD_FULL_3D && family != WINOGRAD_WIDE_3D)
    return false;
  for (int i = 0; i < 3; i++) {
    const struct axis_fit fit = axis_fits[winograd_axis_kind(family, i)];
    if (a->padding[i] > MOST_PADDING || a->stride[i] != fit.stride ||
        a->kernel[i] < fit.least_kernel || a->kernel[i] > fit.most_kernel)
      return false;
  }
  return true;
}

/* The family of inputs that are read at full resolution, of stride 1; of their parts where the
 * stride is 2: of those that fit, the one that costs least, for one sample, whose numbers shall not
 * depend on how many there are. */
static bool find_family(const struct node *node, enum winograd_family *family) {
  const enum winograd_family families[] = {WINOGRAD_FULL_3D, WINOGRAD_WIDE_3D, WINOGRAD_FULL_HW,
                                           WINOGRAD_WIDE_HW, WINOGRAD_FULL_DH, WINOGRAD_PPP,
                                           WINOGRAD_WIDE_PPP};
  double least = INFINITY;
  for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
    if (!fits(node, families[f])) continue;
    double cost = winograd_cost(node, families[f], 1, false);
    if (cost < least) least = cost, *family = families[f];
  }
  return least < INFINITY && all_blocked(node);
}

static enum winograd_family family_of(const struct node *node) {
  enum winograd_family family = WINOGRAD_FULL_3D;
  find_family(node, &family);
  return family;
}

/* --- geometry --- */

/* A pass between all of one side and parts of the other: each phase of the packing is one. */
enum { MOST_PARTS = CONV_MOST_COPIES };

/* Where a part lies in its tensor, and where the other side is read for it or reads it. */
static struct winograd_view find_part(const struct conv_packing *packing, int index,
                                      const struct tensor *tensor, int first[3]) {
  int phase[3], phases[3];
  conv_packing_split_phase(packing, index, phase);
  for (int i = 0; i < 3; i++) {
    phases[i] = packing->axis[i].phases;
    first[i] = packing->axis[i].first[phase[i]];
  }
  return winograd_view_of(tensor, phases, phase);
}

/* Where an upsampled input is read, tiles begin at odd voxels of it. */
static int first_target(const struct node *node, int axis) {
  return conv_any_upsampled(node) && conv_arguments_of(node)->padding[axis] % 2 == 0 ? -1 : 0;
}

static struct winograd_grid grid_of(const struct winograd_view *target, enum winograd_family family,
                                    const int first[3]) {
  struct winograd_grid grid;
  for (int i = 0; i < 3; i++) {
    int outputs = winograd_outputs(winograd_axis_kind(family, i));
    grid.first[i] = first[i];
    grid.tiles[i] = (target->extent[i] - first[i] + outputs - 1) / outputs;
  }
  return grid;
}

static struct winograd_grid forward_grid(const struct node *node) {
  const struct winograd_view view = winograd_view_all(&node->y);
  int first[3];
  for (int i = 0; i < 3; i++) first[i] = first_target(node, i);
  return grid_of(&view, family_of(node), first);
}

static struct conv_extent plain_extent(const struct node *node, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  return (struct conv_extent){a->kernel[axis], a->stride[axis], a->padding[axis], false};
}

static struct conv_packing forward_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, true);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_parts(plain_extent(node, i));
  return packing;
}

static struct conv_packing gradient_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, false);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_gradient(plain_extent(node, i));
  return packing;
}

/* The family of the target that an input's gradient passes through. */
static enum winograd_family forward_family(const struct node *node, int input) {
  const enum winograd_family family = family_of(node);
  return conv_arguments_of(node)->upsample[input] ? winograd_up_family(family) : family;
}
static enum winograd_family gradient_family(const struct node *node, int input) {
  const enum winograd_family family = family_of(node);
  return conv_arguments_of(node)->upsample[input] ? winograd_down_family(family) : family;
}

static struct winograd_source forward_source(const struct node *node, const struct io *io,
                                             int input, int part) {
  const bool upsampled = conv_arguments_of(node)->upsample[input];
  struct conv_packing packing = forward_packing(node, input);
  struct winograd_source source = {
      .tensor = &node->x[input],
      .data = io->x[input],
      .family = winograd_phase_family(&packing, part, forward_family(node, input))};
  source.view = find_part(&packing, part, source.tensor, source.first);
  for (int i = 0; i < 3; i++) {
    int first = first_target(node, i) + source.first[i];
    source.first[i] = upsampled ? (first - 1) / 2 : first;
  }
  return source;
}

/* --- workspaces --- */

/* Zeros, then transformed weights. */
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

static size_t output_size(const struct node *node, bool amx) {
  size_t weights = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = forward_packing(node, i);
    weights += winograd_weights_size(&packing, forward_family(node, i), amx);
  }
  return zeros_size(node) + weights;
}

static size_t data_size(const struct node *node, int input, bool amx) {
  struct conv_packing packing = gradient_packing(node, input);
  return zeros_size(node) + winograd_weights_size(&packing, gradient_family(node, input), amx);
}

static size_t weights_size(const struct node *node, int input, bool amx) {
  struct conv_packing packing = forward_packing(node, input);
  struct winograd_grid grid = forward_grid(node);
  return zeros_size(node) + conv_round_to_line(SIMD_NAME(winograd_outer_size)(
                                &node->y, &grid, forward_family(node, input), &packing, amx));
}

/* --- passes --- */

static const float *weights_of(const struct node *node, const struct io *io, int input) {
  return (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input);
}

static void output_pass(const struct node *node, const struct io *io,
                        const struct conv_target *target, float *workspace, bool amx) {
  struct winograd_source sources[OP_MAX_INPUTS * MOST_PARTS];
  const float *zeros = clear_zeros(node, &workspace);
  int count = 0;
  for (int i = 0; i < node->input_count; i++) {
    const enum winograd_family family = forward_family(node, i);
    struct conv_packing packing = forward_packing(node, i);
    SIMD_NAME(winograd_weights)(&packing, family, amx, weights_of(node, io, i), workspace);
    for (int part = 0; part < conv_packing_phases(&packing); part++, count++) {
      sources[count] = forward_source(node, io, i, part);
      sources[count].weights = workspace + winograd_phase_start(&packing, part, family, amx);
    }
    workspace += winograd_weights_size(&packing, family, amx);
  }
  struct winograd_grid grid = forward_grid(node);
  struct winograd_target whole = {target, winograd_view_all(target->tensor), family_of(node)};
  SIMD_NAME(winograd_rows)(&whole, 1, &grid, sources, count, zeros, amx);
}

static void data_pass(const struct node *node, const struct io *io, int input,
                      const struct conv_target *target, float *workspace, bool amx) {
  const int first[3] = {0};
  const float *zeros = clear_zeros(node, &workspace);
  const enum winograd_family family = gradient_family(node, input);
  struct winograd_target targets[MOST_PARTS];
  struct winograd_source sources[MOST_PARTS];
  struct conv_packing packing = gradient_packing(node, input);
  const int parts = conv_packing_phases(&packing);
  SIMD_NAME(winograd_weights)(&packing, family, amx, weights_of(node, io, input), workspace);
  for (int i = 0; i < parts; i++) {
    sources[i] = (struct winograd_source){
        .tensor = &node->y,
        .data = io->dy,
        .family = winograd_phase_family(&packing, i, family),
        .view = winograd_view_all(&node->y),
        .weights = workspace + winograd_phase_start(&packing, i, family, amx)};
    targets[i] = (struct winograd_target){
        target, find_part(&packing, i, target->tensor, sources[i].first), sources[i].family};
  }
  /* that of the first part, which is the largest */
  struct winograd_grid grid = grid_of(&targets[0].view, family, first);
  SIMD_NAME(winograd_rows)(targets, parts, &grid, sources, 1, zeros, amx);
}

static void weights_pass(const struct node *node, const struct io *io, int input, float *workspace,
                         bool amx) {
  const float *zeros = clear_zeros(node, &workspace);
  struct winograd_source sources[MOST_PARTS];
  struct conv_packing packing = forward_packing(node, input);
  struct winograd_grid grid = forward_grid(node);
  for (int i = 0; i < conv_packing_phases(&packing); i++)
    sources[i] = forward_source(node, io, input, i);
  SIMD_NAME(winograd_outer)
  (&node->y, io->dy, &grid, forward_family(node, input), sources, &packing, zeros, workspace, amx);
  conv_unpack(&packing, workspace,
              (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input));
}

/* The passes that multiply by the processor's vectors, or on its tiles. */
#define PASSES(kernel_name, amx)                                                             \
  static size_t kernel_name##_output_size(const struct node *node) {                         \
    return output_size(node, amx);                                                           \
  }                                                                                          \
  static size_t kernel_name##_weights_size(const struct node *node, int input) {             \
    return weights_size(node, input, amx);                                                   \
  }                                                                                          \
  static size_t kernel_name##_data_size(const struct node *node, int input) {                \
    return data_size(node, input, amx);                                                      \
  }                                                                                          \
  static void kernel_name##_output(const struct node *node, const struct io *io,             \
                                   const struct conv_target *target, float *space) {         \
    output_pass(node, io, target, space, amx);                                               \
  }                                                                                          \
  static void kernel_name##_weights(const struct node *node, const struct io *io, int input, \
                                    float *space) {                                          \
    weights_pass(node, io, input, space, amx);                                               \
  }                                                                                          \
  static void kernel_name##_data(const struct node *node, const struct io *io, int input,    \
                                 const struct conv_target *target, float *space) {           \
    data_pass(node, io, input, target, space, amx);                                          \
  }                                                                                          \
  const struct conv_passes SIMD_NAME(kernel_name##_passes) = {                               \
      .output_size = kernel_name##_output_size,                                              \
      .weights_size = kernel_name##_weights_size,                                            \
      .data_size = kernel_name##_data_size,                                                  \
      .output = kernel_name##_output,                                                        \
      .weights = kernel_name##_weights,                                                      \
      .data = kernel_name##_data,                                                            \
  }
PASSES(conv_winograd, false);
PASSES(conv_amx_winograd, true);

bool SIMD_NAME(conv_winograd_applies)(const struct node *node) {
  enum winograd_family family;
  return find_family(node, &family) && simd_available();
}

bool SIMD_NAME(conv_winograd_pays)(const struct node *node) {
  enum winograd_family family;
  return find_family(node, &family) && winograd_pays(node, family, false);
}

bool SIMD_NAME(conv_amx_winograd_applies)(const struct node *node) {
  return SIMD_NAME(conv_winograd_applies)(node) && tiles_available();
}

bool SIMD_NAME(conv_amx_winograd_pays)(const struct node *node) {
  enum winograd_family family;
  return find_family(node, &family) && winograd_pays(node, family, true);
}

CONV_PASSES_KERNEL(conv_winograd, SIMD_NAME(conv_winograd_passes), .name = SIMD_LABEL("winograd"),
                   .dtype = DTYPE_F32, .applies = SIMD_NAME(conv_winograd_applies),
                   .pays = SIMD_NAME(conv_winograd_pays));
