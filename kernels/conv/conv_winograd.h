/* Winograd's minimal filtering F(2,3) along two or three axes (A. Lavin, S. Gray, "Fast Algorithms
 * for Convolutional Neural Networks", 2016): a tile of 2 target voxels along each axis is computed
 * from 4 products instead of 6. Between blocked float tensors only. Errors of values in +-1 through
 * 16 channels, over the root mean square: at most 1e-6 (the direct kernels': 2e-6), of weight
 * gradients over 10^5 voxels at most 2e-6.
 *
 * Tiles go through three stages: windows of the sources are transformed, each point of the
 * transform is a matrix product of its own over channels, and the products are transformed back.
 * With k the taps, x the window and u, v the transforms:
 *   FULL: v = (x0-x2, x1+x2, x2-x1, x1-x3), u = (k0, (k0+k1+k2)/2, (k0-k1+k2)/2, k2),
 *         y0 = m0+m1+m2, y1 = m1-m2-m3 where m = u v
 *   UP: the source is read through a nearest x2 upsampling, so that x1 = x2 and m2 = 0: from the
 *         three stored voxels v = (x0-x1, x1, x1-x2), u = (k0, k0+k1+k2, k2), as m0, m1 and m3
 *   DOWN: the adjoint of UP, one target voxel y = m0+m1+m2 from four source voxels:
 *         v = (x0-x2, x1+x2, x3-x1), u = (k0, k0+k1+k2, k2)
 *   ONE: a kernel of one voxel; nothing to transform
 *   SPREAD, SPREAD_UP: what the target's gradient is to the products of FULL and UP:
 *         dm = (dy0, dy0+dy1, dy0-dy1, -dy1), and without the third */
#pragma once
#include "kernels/conv/conv_direct.h"

enum winograd_kind {
  WINOGRAD_ONE,
  WINOGRAD_FULL,
  WINOGRAD_UP,
  WINOGRAD_DOWN,
  WINOGRAD_SPREAD,
  WINOGRAD_SPREAD_UP
};

/* Along one axis: voxels of a tile's window, distance of two windows, points, target voxels. */
static inline int winograd_window(enum winograd_kind kind) {
  static const int windows[] = {1, 4, 3, 4, 2, 2};
  return windows[kind];
}
static inline int winograd_step(enum winograd_kind kind) {
  return kind == WINOGRAD_ONE || kind == WINOGRAD_UP ? 1 : 2;
}
static inline int winograd_points(enum winograd_kind kind) {
  static const int points[] = {1, 4, 3, 3, 4, 3};
  return points[kind];
}
static inline int winograd_outputs(enum winograd_kind kind) {
  return kind == WINOGRAD_FULL || kind == WINOGRAD_UP ? 2 : 1;
}

/* The kinds of all axes together that there is code for. */
enum winograd_family {
  WINOGRAD_FULL_3D,
  WINOGRAD_UP_3D,
  WINOGRAD_DOWN_3D,
  WINOGRAD_FULL_HW, /* a kernel of 1 x 3 x 3 */
  WINOGRAD_FULL_DH, /* of 3 x 3 x 1 */
  WINOGRAD_SPREAD_3D,
  WINOGRAD_SPREAD_UP_3D,
  WINOGRAD_SPREAD_HW,
  WINOGRAD_SPREAD_DH,
  WINOGRAD_FAMILIES
};
enum winograd_kind winograd_axis_kind(enum winograd_family family, int axis);
int winograd_family_points(enum winograd_family family);
/* Points of the target's own transform, 1 where it is a sum. */
int winograd_target_points(enum winograd_family family);

/* The family of the target's gradient where a source has family `family`. */
enum winograd_family winograd_spread_family(enum winograd_family family);

/* Floats of 16 source channels by 16 target channels. */
enum { WINOGRAD_PAIR = CHANNEL_BLOCK * CHANNEL_BLOCK };

/* A source of a pass. */
struct winograd_source {
  const struct tensor *tensor; /* blocked */
  const float *data;
  enum winograd_family family;
  int first[3]; /* the source voxel at the start of tile 0's window */
  /* of a target computed: [block of 16 target channels][point][stored source channel][16] */
  const float *weights;
};

/* How tiles cover a target: tile i begins at first + outputs * i. */
struct winograd_grid {
  int first[3], tiles[3];
};

/* Whether a node whose inputs at full resolution are of a family is computed faster in the
 * transformed domain: what it saves in products must pay for the transforms, of the weights above
 * all where there are few tiles. */
bool winograd_pays(const struct node *node, enum winograd_family family);

/* Floats of zeros that stand for rows outside a source. */
size_t winograd_zero_size(const struct tensor *source);

/* Transforms the weights of one input: packed in the order of conv_packing with one phase of 3 taps
 * (1 along axes of kind ONE) along each axis, in groups of 16. */
size_t winograd_weights_size(enum winograd_family family, const struct conv_packing *packing);
void SIMD_NAME(winograd_weights)(enum winograd_family family, const struct conv_packing *packing,
                                 const float *packed, float *weights);

/* A blocked target from `count` sources, whose families have the same target voxels per tile.
 * zeros: winograd_zero_size floats of the largest source. */
void SIMD_NAME(winograd_rows)(const struct conv_target *target, const struct winograd_grid *grid,
                              const struct winograd_source *sources, int count, const float *zeros);

/* The weight gradient of one source, in the packing's order, from the target's gradient `dy`.
 * partial: winograd_outer_size() floats; the result is at its start. */
size_t SIMD_NAME(winograd_outer_size)(const struct tensor *target, const struct winograd_grid *grid,
                                      enum winograd_family family,
                                      const struct conv_packing *packing);
void SIMD_NAME(winograd_outer)(const struct tensor *target, const float *dy,
                               const struct winograd_grid *grid,
                               const struct winograd_source *source,
                               const struct conv_packing *packing, const float *zeros,
                               float *partial);
