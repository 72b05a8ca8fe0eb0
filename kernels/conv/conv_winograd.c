/* The kinds of axes of each family, and sizes. */
#include "kernels/conv/conv_winograd.h"

static const enum winograd_kind kinds[WINOGRAD_FAMILIES][3] = {
    [WINOGRAD_FULL_3D] = {WINOGRAD_FULL, WINOGRAD_FULL, WINOGRAD_FULL},
    [WINOGRAD_UP_3D] = {WINOGRAD_UP, WINOGRAD_UP, WINOGRAD_UP},
    [WINOGRAD_DOWN_3D] = {WINOGRAD_DOWN, WINOGRAD_DOWN, WINOGRAD_DOWN},
    [WINOGRAD_FULL_HW] = {WINOGRAD_ONE, WINOGRAD_FULL, WINOGRAD_FULL},
    [WINOGRAD_FULL_DH] = {WINOGRAD_FULL, WINOGRAD_FULL, WINOGRAD_ONE},
    [WINOGRAD_SPREAD_3D] = {WINOGRAD_SPREAD, WINOGRAD_SPREAD, WINOGRAD_SPREAD},
    [WINOGRAD_SPREAD_UP_3D] = {WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP, WINOGRAD_SPREAD_UP},
    [WINOGRAD_SPREAD_HW] = {WINOGRAD_ONE, WINOGRAD_SPREAD, WINOGRAD_SPREAD},
    [WINOGRAD_SPREAD_DH] = {WINOGRAD_SPREAD, WINOGRAD_SPREAD, WINOGRAD_ONE},
};

enum winograd_kind winograd_axis_kind(enum winograd_family family, int axis) {
  return kinds[family][axis];
}

int winograd_family_points(enum winograd_family family) {
  int points = 1;
  for (int i = 0; i < 3; i++) points *= winograd_points(kinds[family][i]);
  return points;
}

size_t winograd_zero_size(const struct tensor *source) {
  return (size_t)source->shape.w * CHANNEL_BLOCK;
}

size_t winograd_weights_size(enum winograd_family family, const struct conv_packing *packing) {
  return (size_t)winograd_family_points(family) * (size_t)conv_packing_groups(packing) *
         CHANNEL_BLOCK * (size_t)conv_packing_lane_blocks(packing) * CHANNEL_BLOCK;
}

int winograd_target_points(enum winograd_family family) {
  if (family == WINOGRAD_DOWN_3D) return 1;
  return family == WINOGRAD_UP_3D ? 64 : winograd_family_points(family);
}

enum winograd_family winograd_spread_family(enum winograd_family family) {
  return family == WINOGRAD_FULL_HW   ? WINOGRAD_SPREAD_HW
         : family == WINOGRAD_FULL_DH ? WINOGRAD_SPREAD_DH
         : family == WINOGRAD_UP_3D   ? WINOGRAD_SPREAD_UP_3D
                                      : WINOGRAD_SPREAD_3D;
}

/* Multiply-adds of vectors that other work takes the time of (measured on AVX-512). */
enum {
  COST_OF_ENTERING = 3,   /* of a point of a tile and a block of channels */
  COST_OF_LEAVING = 4,    /* likewise */
  COST_OF_WEIGHTS = 1000, /* of a point of 16 x 16 channels: bound by memory */
  TILES_TOGETHER = 8,     /* what a sample's tiles are rounded up to */
};

/* Taps that see a voxel inside, on average over the voxels of an axis. */
static double mean_taps(int kernel, int extent) {
  return kernel == 1 ? 1 : kernel - 2.0 / extent;
}

bool winograd_pays(const struct node *node, enum winograd_family family) {
  struct shape s = node->y.shape;
  const int extent[] = {s.d, s.h, s.w};
  double blocks = tensor_stored_channels(&node->y) / CHANNEL_BLOCK, taps = 1, tiles = 1;
  double direct = 0, transformed = 0;
  for (int i = 0; i < 3; i++) {
    int outputs = winograd_outputs(winograd_axis_kind(family, i));
    taps *= mean_taps(conv_arguments_of(node)->kernel[i], extent[i]);
    tiles *= (extent[i] + outputs - 1) / outputs;
  }
  tiles = ((int64_t)tiles + TILES_TOGETHER - 1) / TILES_TOGETHER * TILES_TOGETHER * (double)s.n;
  for (int i = 0; i < node->input_count; i++) {
    bool upsampled = conv_arguments_of(node)->upsample[i];
    double points = winograd_family_points(upsampled ? WINOGRAD_UP_3D : family);
    double groups = tensor_stored_channels(&node->x[i]) / CHANNEL_BLOCK;
    double pairs = groups * blocks;
    direct += (double)shape_voxels(s) * s.n * (upsampled ? 8 : taps) * CHANNEL_BLOCK * pairs;
    transformed += tiles * points * (CHANNEL_BLOCK * pairs + COST_OF_ENTERING * groups);
    transformed += points * COST_OF_WEIGHTS * pairs;
  }
  transformed += tiles * winograd_target_points(family) * COST_OF_LEAVING * blocks;
  return transformed < direct;
}
