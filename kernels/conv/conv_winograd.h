/* Winograd's minimal filtering along two or three axes (A. Lavin, S. Gray, "Fast Algorithms for
 * Convolutional Neural Networks", 2016): F(2,3), a tile of 2 target voxels along an axis from 4
 * products instead of 6, along w where that costs less F(4,3), 4 voxels from 6 products instead of
 * 12; and F(2,2), 3 products instead of 4, where a stride of 2 makes two parts of a kernel of 3 or
 * 4, one for each parity of the voxels of what is larger. Between blocked float tensors only.
 * Errors of values in +-1 through 16 channels, over the root mean square: at most 3e-6 (F(2,3)
 * alone 1e-6, the direct kernels 2e-6), of weight gradients over 10^5 voxels at most 4e-6.
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
 *   WIDE: F(4,3), from polynomials' values at 0, 1, -1, p, -p and infinity, where p = 3/2 errs
 *         least of p from 1/2 to 2. With q = p p, a = x4-q x2, b = x3-q x1, c = x4-x2, d = x3-x1:
 *         v = (c+q(x0-x2), a+b, a-b, c+p d, c-p d, x5-x3-q d), u = (k0/q, -2/5 (k0+k1+k2),
 *         -2/5 (k0-k1+k2), 8/45 (k0+p k1+q k2), 8/45 (k0-p k1+q k2), k2),
 *         y_i = [i=0] m0 + m1 + (-1)^i m2 + p^i m3 + (-p)^i m4 + [i=3] m5
 *   WIDE_UP: x1 = x2 and x3 = x4, so that m2 = 0, and m3 and m4 have the same v: from the four
 *         stored voxels v = (x2-x1+q(x0-x1), x2-q x1, x2-x1, x3-x2-q(x2-x1)); what else v1, v3
 *         and v4 are multiplied by is in u = (k0/q, -4/5 (k0+k1+k2), 4/9 (k0+p k1+q k2),
 *         -4/45 (k0-p k1+q k2), k2)
 *   WIDE_DOWN: its adjoint, two target voxels from six source voxels: the v of WIDE but for v2, the
 *         u of WIDE_UP, y0 = m0+m1+(m3+m4), y1 = m1+q(m3+m4)+m5
 *   PAIR: two taps: v = (x0-x1, x1, x1-x2), u = (k0, k0+k1, k1), y0 = m0+m1, y1 = m1-m2
 *   LONE: one tap to the same targets as a PAIR whose k1 is 0, so that there is no third point
 *   WIDE_PAIR: F(4,2), from values at 1/2, -1/2, 3/2, -3/2 and infinity:
 *         v = (x3-9/4 x1 +- (x2-9/4 x0)/2, x3-x1/4 +- 3/2 (x2-x0/4), x4-5/2 x2+9/16 x0),
 *         u = (-(k0+k1/2)/2, (k0-k1/2)/2, (k0+3/2 k1)/6, -(k0-3/2 k1)/6, k1),
 *         y_i = m0/2^i + m1/(-2)^i + (3/2)^i m2 + (-3/2)^i m3 + [i=3] m4
 *   WIDE_LONE: likewise one tap, without the last point
 *   ONE: a kernel of one voxel; nothing to transform
 *   SPREAD, SPREAD_UP, ...: what the target's gradient is to the products of FULL, of UP and PAIR,
 *         of WIDE, WIDE_UP and WIDE_PAIR: dm = (dy0, dy0+dy1, dy0-dy1, -dy1), and without the
 * third, ... */
#pragma once
#include "kernels/conv/conv_direct.h"
#include "kernels/conv/conv_multiply.h"

enum winograd_kind {
  WINOGRAD_ONE,
  WINOGRAD_FULL,
  WINOGRAD_UP,
  WINOGRAD_DOWN,
  WINOGRAD_PAIR,
  WINOGRAD_LONE,
  WINOGRAD_WIDE,
  WINOGRAD_WIDE_UP,
  WINOGRAD_WIDE_DOWN,
  WINOGRAD_WIDE_PAIR,
  WINOGRAD_WIDE_LONE,
  WINOGRAD_SPREAD,
  WINOGRAD_SPREAD_UP,
  WINOGRAD_SPREAD_WIDE,
  WINOGRAD_SPREAD_WIDE_UP,
  WINOGRAD_SPREAD_WIDE_PAIR
};

/* Along one axis: voxels of a tile's window, distance of two windows, points, how many of them
 * differ in the transformed window and how many in the target's transform back, target voxels, and
 * taps. */
struct winograd_sizes {
  int window, step, points, entered, returned, outputs, taps;
};
static inline struct winograd_sizes winograd_sizes(enum winograd_kind kind) {
  static const struct winograd_sizes sizes[] = {
      [WINOGRAD_ONE] = {1, 1, 1, 1, 1, 1, 1},
      [WINOGRAD_FULL] = {4, 2, 4, 4, 4, 2, 3},
      [WINOGRAD_UP] = {3, 1, 3, 3, 3, 2, 3},
      [WINOGRAD_DOWN] = {4, 2, 3, 3, 1, 1, 3},
      [WINOGRAD_PAIR] = {3, 2, 3, 3, 3, 2, 2},
      [WINOGRAD_LONE] = {2, 2, 2, 2, 2, 2, 1},
      [WINOGRAD_WIDE] = {6, 4, 6, 6, 6, 4, 3},
      [WINOGRAD_WIDE_UP] = {4, 2, 5, 4, 5, 4, 3},
      [WINOGRAD_WIDE_DOWN] = {6, 4, 5, 5, 4, 2, 3},
      [WINOGRAD_WIDE_PAIR] = {5, 4, 5, 5, 5, 4, 2},
      [WINOGRAD_WIDE_LONE] = {4, 4, 4, 4, 4, 4, 1},
      [WINOGRAD_SPREAD] = {2, 2, 4, 4, 4, 1, 0},
      [WINOGRAD_SPREAD_UP] = {2, 2, 3, 3, 3, 1, 0},
      [WINOGRAD_SPREAD_WIDE] = {4, 4, 6, 6, 6, 1, 0},
      [WINOGRAD_SPREAD_WIDE_UP] = {4, 4, 5, 5, 5, 1, 0},
      [WINOGRAD_SPREAD_WIDE_PAIR] = {4, 4, 5, 5, 5, 1, 0},
  };
  return sizes[kind];
}
static inline int winograd_window(enum winograd_kind kind) {
  return winograd_sizes(kind).window;
}
static inline int winograd_step(enum winograd_kind kind) {
  return winograd_sizes(kind).step;
}
static inline int winograd_points(enum winograd_kind kind) {
  return winograd_sizes(kind).points;
}
static inline int winograd_entered(enum winograd_kind kind) {
  return winograd_sizes(kind).entered;
}
static inline int winograd_returned(enum winograd_kind kind) {
  return winograd_sizes(kind).returned;
}
static inline int winograd_outputs(enum winograd_kind kind) {
  return winograd_sizes(kind).outputs;
}
static inline int winograd_taps(enum winograd_kind kind) {
  return winograd_sizes(kind).taps;
}

/* The kinds of all axes together that there is code for. */
enum winograd_family {
  WINOGRAD_FULL_3D,
  WINOGRAD_UP_3D,
  WINOGRAD_DOWN_3D,
  WINOGRAD_WIDE_3D, /* 4 target voxels along w, 2 along the others */
  WINOGRAD_WIDE_UP_3D,
  WINOGRAD_WIDE_DOWN_3D,
  WINOGRAD_FULL_HW, /* a kernel of 1 x 3 x 3 */
  WINOGRAD_WIDE_HW,
  WINOGRAD_FULL_DH, /* of 3 x 3 x 1 */
  /* A part of a kernel of stride 2: P a PAIR, L a LONE tap along d h w. */
  WINOGRAD_PPP,
  WINOGRAD_PPL,
  WINOGRAD_PLP,
  WINOGRAD_PLL,
  WINOGRAD_LPP,
  WINOGRAD_LPL,
  WINOGRAD_LLP,
  WINOGRAD_LLL,
  WINOGRAD_WIDE_PPP, /* the same with 4 target voxels along w */
  WINOGRAD_WIDE_PPL,
  WINOGRAD_WIDE_PLP,
  WINOGRAD_WIDE_PLL,
  WINOGRAD_WIDE_LPP,
  WINOGRAD_WIDE_LPL,
  WINOGRAD_WIDE_LLP,
  WINOGRAD_WIDE_LLL,
  WINOGRAD_SPREAD_3D,
  WINOGRAD_SPREAD_UP_3D,
  WINOGRAD_SPREAD_WIDE_3D,
  WINOGRAD_SPREAD_WIDE_UP_3D,
  WINOGRAD_SPREAD_HW,
  WINOGRAD_SPREAD_WIDE_HW,
  WINOGRAD_SPREAD_WIDE_PPP,
  WINOGRAD_SPREAD_DH,
  WINOGRAD_FAMILIES
};
enum winograd_kind winograd_axis_kind(enum winograd_family family, int axis);
bool winograd_is_part(enum winograd_family family);
/* Where inputs at full resolution are of a family: that of an upsampled input, and of the target's
 * gradient on the way to the gradient of such an input. */
static inline enum winograd_family winograd_up_family(enum winograd_family family) {
  return family == WINOGRAD_WIDE_3D ? WINOGRAD_WIDE_UP_3D : WINOGRAD_UP_3D;
}
static inline enum winograd_family winograd_down_family(enum winograd_family family) {
  return family == WINOGRAD_WIDE_3D ? WINOGRAD_WIDE_DOWN_3D : WINOGRAD_DOWN_3D;
}
/* The products of all axes together, and the transformed windows they are made from. */
int winograd_family_points(enum winograd_family family);
int winograd_family_entered(enum winograd_family family);
/* The family whose points a target has that gets sources of family `family`, and how many of its
 * points are transformed back. */
enum winograd_family winograd_target_family(enum winograd_family family);
int winograd_family_returned(enum winograd_family target);

/* The products that make up a target's point p: number start[p] to start[p + 1] - 1, each of one
 * point of the weights and one of the transformed windows. */
enum { WINOGRAD_MOST_POINTS = 96 };
struct winograd_products {
  int start[WINOGRAD_MOST_POINTS + 1];
  struct winograd_factors {
    int weights, window;
  } factors[WINOGRAD_MOST_POINTS];
};
/* Those of sources of family `family`, whose windows were transformed as of family `windows`. */
void winograd_find_products(enum winograd_family target, enum winograd_family family,
                            enum winograd_family windows, struct winograd_products *products);

/* The family of the gradient of a target of family `target`. */
enum winograd_family winograd_spread_family(enum winograd_family target);

/* Floats of 16 source channels by 16 target channels. */
enum { WINOGRAD_SQUARE = CHANNEL_BLOCK * CHANNEL_BLOCK };
/* Of their gradients at one point, and a line more, so that points do not fall into the same lines
 * of a cache. */
enum { WINOGRAD_SUMS = WINOGRAD_SQUARE + CHANNEL_BLOCK };

/* Weights of a block of target channels at one point: where those of a group of source channels
 * begin, a line behind all of which the next point's do, for the same reason, in floats. On the
 * processor's tiles two groups lie together, as conv_pieces. */
static inline size_t winograd_weights_at(int group, bool amx) {
  return amx ? (size_t)(CONV_PIECES * WINOGRAD_SQUARE) * (size_t)(group / 2)
             : (size_t)WINOGRAD_SQUARE * (size_t)group;
}
static inline size_t winograd_weights_pitch(int groups, bool amx) {
  return winograd_weights_at(amx ? groups + 1 : groups, amx) + CHANNEL_BLOCK;
}

/* The voxels phases*j + phase of a blocked tensor along each axis, all of them where phases is 1:
 * how many there are, where the first is, and how far it is from voxel to voxel, from one block of
 * channels and from one sample to the next, in floats. */
struct winograd_view {
  int extent[3];
  int64_t start, pitch[3], block, sample;
};
struct winograd_view winograd_view_of(const struct tensor *tensor, const int phases[3],
                                      const int phase[3]);
struct winograd_view winograd_view_all(const struct tensor *tensor);

/* A source of a pass. */
struct winograd_source {
  const struct tensor *tensor; /* blocked */
  const float *data;
  enum winograd_family family;
  struct winograd_view view;
  int first[3]; /* the voxel of the view at the start of tile 0's window */
  /* of a target computed: [block of 16 target channels][point][stored source channel][16], or in
   * pieces, points winograd_weights_pitch() apart */
  const float *weights;
};

/* A part of a target. */
struct winograd_target {
  const struct conv_target *whole;
  struct winograd_view view;
  enum winograd_family family; /* a target's own */
};

/* How tiles cover (a part of) a target: tile i begins at first + outputs * i. */
struct winograd_grid {
  int first[3], tiles[3];
};
static inline int64_t winograd_grid_tiles(const struct winograd_grid *grid) {
  return (int64_t)grid->tiles[0] * grid->tiles[1] * grid->tiles[2];
}

/* What it costs to compute so many samples of a node whose inputs at full resolution are of a
 * family, in multiply-adds of vectors, and whether all cost less than by the direct kernel, on the
 * processor's tiles (`amx`) less than without them, too: what is saved in products must pay for the
 * transforms, of the weights above all where there are few tiles. */
double winograd_cost(const struct node *node, enum winograd_family family, int samples, bool amx);
bool winograd_pays(const struct node *node, enum winograd_family family, bool amx);

/* Floats of zeros that stand for rows outside a source. */
size_t winograd_zero_size(const struct tensor *source);

/* Transforms the weights `w` of one input, for each phase of the packing, which is in groups of 16,
 * those of a part: where its `weights` begin, and its family. `family` is that of the only phase of
 * a packing that has but one, else that of the part which is all pairs. */
enum winograd_family winograd_phase_family(const struct conv_packing *packing, int phase,
                                           enum winograd_family family);
size_t winograd_phase_start(const struct conv_packing *packing, int phase,
                            enum winograd_family family, bool amx);
size_t winograd_weights_size(const struct conv_packing *packing, enum winograd_family family,
                             bool amx);
void SIMD_NAME(winograd_weights)(const struct conv_packing *packing, enum winograd_family family,
                                 bool amx, const float *w, float *weights);

/* `parts` parts of a blocked target, which lie on the same grid, from `count` sources each:
 * sources[part][count], whose families have the target's voxels per tile. zeros: winograd_zero_size
 * floats of the largest source. amx: multiplied on the processor's tiles, as the weights are for.
 */
void SIMD_NAME(winograd_rows)(const struct winograd_target *targets, int parts,
                              const struct winograd_grid *grid,
                              const struct winograd_source *sources, int count, const float *zeros,
                              bool amx);

/* The weight gradients of all phases of the packing, sources[phase], in the packing's order, from
 * the gradient `dy` of a target. partial: winograd_outer_size() floats; the result is at its start.
 */
size_t SIMD_NAME(winograd_outer_size)(const struct tensor *target, const struct winograd_grid *grid,
                                      enum winograd_family family,
                                      const struct conv_packing *packing, bool amx);
void SIMD_NAME(winograd_outer)(const struct tensor *target, const float *dy,
                               const struct winograd_grid *grid, enum winograd_family family,
                               const struct winograd_source *sources,
                               const struct conv_packing *packing, const float *zeros,
                               float *partial, bool amx);

/* conv_winograd_simd.c: the passes, whether they apply, and whether they are worth it. */
bool SIMD_NAME(conv_winograd_applies)(const struct node *node);
bool SIMD_NAME(conv_winograd_pays)(const struct node *node);
extern const struct conv_passes SIMD_NAME(conv_winograd_passes);
/* Those on the processor's tiles. */
bool SIMD_NAME(conv_amx_winograd_applies)(const struct node *node);
bool SIMD_NAME(conv_amx_winograd_pays)(const struct node *node);
extern const struct conv_passes SIMD_NAME(conv_amx_winograd_passes);
