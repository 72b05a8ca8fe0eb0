/* Where a displaced voxel falls: shared by all kernels that sample along a displacement. Follows
 * grid_sample of PyTorch with align_corners=True, but never forms p + u: the whole voxels and the
 * fraction of u are split off exactly. `real` is the element type of the including file. Also C++,
 * and then for the device, too. */
#pragma once
#include "kernels/common/real.h"
#include "kernels/warp/warp.h"

#ifdef __CUDACC__
#define WARP_FUNCTION static inline __host__ __device__
#else
#define WARP_FUNCTION static inline
#endif

/* A position on one axis between voxels `low` and low + 1, which may lie outside [0, extent). */
struct warp_axis {
  int low;
  real fraction; /* weight of low + 1 */
  real slope;    /* derivative of the position: 1, or 0 where it is clamped */
};

/* Further away than any extent: an int holds it, and NaN ends there too. */
static const real WARP_FAR = 1 << 28;

WARP_FUNCTION struct warp_axis warp_axis_split(int index, real displacement) {
  real u = displacement > -WARP_FAR ? displacement : -WARP_FAR;
  u = u < WARP_FAR ? u : WARP_FAR;
  int whole = (int)u;
  whole -= u < (real)whole;
  const struct warp_axis axis = {index + whole, u - (real)whole, 1};
  return axis;
}

WARP_FUNCTION struct warp_axis warp_axis_clamp(struct warp_axis axis, int extent) {
  const struct warp_axis first = {0, 0, 0}, last = {extent - 1, 0, 0};
  if (axis.low < 0 || (axis.low == 0 && axis.fraction <= 0)) return first;
  return axis.low >= extent - 1 ? last : axis;
}

/* Voxel `index` of an axis of `extent` voxels, moved by `displacement`. */
WARP_FUNCTION struct warp_axis warp_axis(int index, real displacement, int extent,
                                         enum warp_padding padding) {
  struct warp_axis axis = warp_axis_split(index, displacement);
  return padding == WARP_BORDER ? warp_axis_clamp(axis, extent) : axis;
}

/* The nearest voxel, half to even; may lie outside [0, extent) with WARP_ZEROS. */
WARP_FUNCTION int warp_nearest(int index, real displacement, int extent,
                               enum warp_padding padding) {
  struct warp_axis axis = warp_axis(index, displacement, extent, padding);
  bool up = axis.fraction > (real)0.5 || (axis.fraction == (real)0.5 && axis.low & 1);
  return axis.low + up;
}

WARP_FUNCTION bool warp_inside(int index, int extent) {
  return (unsigned)index < (unsigned)extent;
}

/* Whether this corner (bit k: the upper voxel on axis k) of the cell is a voxel of the image. */
WARP_FUNCTION bool warp_corner_inside(const struct warp_axis at[3], const int extent[3],
                                      int corner) {
  bool inside = true;
  for (int k = 0; k < 3; k++) inside &= warp_inside(at[k].low + (corner >> k & 1), extent[k]);
  return inside;
}

/* Voxels from the image's start to this corner. */
WARP_FUNCTION int64_t warp_corner_voxel(const struct warp_axis at[3], const int extent[3],
                                        int corner) {
  int64_t d = at[0].low + (corner & 1), h = at[1].low + (corner >> 1 & 1);
  return (d * extent[1] + h) * extent[2] + at[2].low + (corner >> 2 & 1);
}

/* Interpolation weight of a corner. */
WARP_FUNCTION real warp_corner_weight(const struct warp_axis at[3], int corner) {
  real weight = 1;
  for (int k = 0; k < 3; k++) weight *= corner >> k & 1 ? at[k].fraction : 1 - at[k].fraction;
  return weight;
}

/* Derivative of that weight with respect to the displacement along `axis`. */
WARP_FUNCTION real warp_corner_slope(const struct warp_axis at[3], int corner, int axis) {
  real slope = corner >> axis & 1 ? at[axis].slope : -at[axis].slope;
  for (int k = 0; k < 3; k++)
    if (k != axis) slope *= corner >> k & 1 ? at[k].fraction : 1 - at[k].fraction;
  return slope;
}
