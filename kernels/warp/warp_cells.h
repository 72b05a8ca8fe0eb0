/* What the fast kernels along displacements share: the cells that a run of voxels falls into, split
 * off on vectors, and slabs of a volume that may be scattered from at the same time. Float only. */
#pragma once
#include "kernels/common/simd.h"
#include "kernels/warp/warp_sample.h"

enum { WARP_RUN = 64 };

/* Where up to WARP_RUN neighbours on the w axis fall. */
struct warp_cells {
  int low[3][WARP_RUN];
  float fraction[3][WARP_RUN], slope[3][WARP_RUN]; /* as struct warp_axis */
  int interior[WARP_RUN];                          /* all eight corners are voxels of the image */
  int voxel[WARP_RUN]; /* the lowest corner's number; only where interior */
};

static inline simd warp_select(simd_int mask, simd yes, simd no) {
  return (simd)((mask & (simd_int)yes) | (~mask & (simd_int)no));
}

/* warp_axis_split on vectors. `step`: 1 on the w axis, where the index runs, else 0. `stride`:
 * floats from one displacement to the next. */
static inline void warp_cells_split(struct warp_cells *cells, int axis, const float *u, int stride,
                                    int index, int step, int count) {
  static const int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const simd far = simd_all(WARP_FAR);
  float *moved = cells->fraction[axis];
  for (int i = 0; i < count; i++) moved[i] = u[i * stride];
  for (int i = count; i % SIMD_WIDTH; i++) moved[i] = 0;
  for (int i = 0; i < count; i += SIMD_WIDTH) {
    simd at = simd_load(moved + i);
    at = warp_select((simd_int)(at > -far), at, -far);
    at = warp_select((simd_int)(at < far), at, far);
    simd_int whole = __builtin_convertvector(at, simd_int);
    whole += (simd_int)(at < __builtin_convertvector(whole, simd));
    *(simd_int *)(cells->low[axis] + i) = whole + index + step * (*(const simd_int *)lanes + i);
    simd_store(moved + i, at - __builtin_convertvector(whole, simd));
    simd_store(cells->slope[axis] + i, simd_all(1));
  }
}

static inline void warp_cells_clamp(struct warp_cells *cells, int axis, int extent, int count) {
  for (int i = 0; i < count; i++) {
    struct warp_axis at = {cells->low[axis][i], cells->fraction[axis][i], 1};
    at = warp_axis_clamp(at, extent);
    cells->low[axis][i] = at.low;
    cells->fraction[axis][i] = at.fraction;
    cells->slope[axis][i] = at.slope;
  }
}

/* The nearest voxel as a cell whose lowest corner has all the weight. */
static inline void warp_cells_round(struct warp_cells *cells, int axis, int count) {
  for (int i = 0; i < count; i++) {
    float fraction = cells->fraction[axis][i];
    cells->low[axis][i] += fraction > 0.5f || (fraction == 0.5f && cells->low[axis][i] & 1);
    cells->fraction[axis][i] = 0;
    cells->slope[axis][i] = 0;
  }
}

/* Cells of `count` voxels from `first` on; u: the displacements along each axis. */
static inline void warp_cells_find(struct warp_cells *cells, const float *const u[3], int stride,
                                   const int first[3], int count, const int extent[3],
                                   const struct warp_arguments *arguments) {
  for (int axis = 0; axis < 3; axis++) {
    warp_cells_split(cells, axis, u[axis], stride, first[axis], axis == 2, count);
    if (arguments->padding == WARP_BORDER) warp_cells_clamp(cells, axis, extent[axis], count);
    if (arguments->mode == WARP_NEAREST) warp_cells_round(cells, axis, count);
  }
  for (int i = 0; i < count; i++) {
    int d = cells->low[0][i], h = cells->low[1][i], w = cells->low[2][i];
    cells->interior[i] = ((unsigned)d < (unsigned)extent[0] - 1) &
                         ((unsigned)h < (unsigned)extent[1] - 1) &
                         ((unsigned)w < (unsigned)extent[2] - 1);
    cells->voxel[i] = cells->interior[i] ? (d * extent[1] + h) * extent[2] + w : 0;
  }
}

/* Number of a corner's voxel (bit k of `corner`: the upper one on axis k), or -1 outside. */
static inline int warp_cells_corner(const struct warp_cells *cells, int i, int corner,
                                    const int extent[3]) {
  int d = cells->low[0][i] + (corner & 1), h = cells->low[1][i] + (corner >> 1 & 1);
  int w = cells->low[2][i] + (corner >> 2 & 1);
  bool inside = warp_inside(d, extent[0]) && warp_inside(h, extent[1]) && warp_inside(w, extent[2]);
  return inside ? (d * extent[1] + h) * extent[2] + w : -1;
}

/* Slices of a volume in slabs so thick that what every second one scatters stays apart: first all
 * even slabs run at the same time, then all odd ones. The sums depend on the displacements only,
 * not on the threads. */
struct warp_slabs {
  int thickness, count;
};

static inline struct warp_slabs warp_slabs_plan(int slices, int lowest, int highest) {
  int down = lowest < -slices ? slices : lowest < 0 ? -lowest : 0;
  int up = highest + 1 > slices ? slices : highest + 1 > 0 ? highest + 1 : 0;
  int thickness = down + up > 4 ? down + up : 4;
  return (struct warp_slabs){thickness, (slices + thickness - 1) / thickness};
}

/* Widens [lowest, highest] by the whole voxels of `count` displacements along d. */
static inline void warp_reach(const float *u, int stride, int64_t count, int *lowest,
                              int *highest) {
  int low = *lowest, high = *highest;
  for (int64_t i = 0; i < count; i++) {
    int whole = warp_axis_split(0, u[i * stride]).low;
    low = whole < low ? whole : low;
    high = whole > high ? whole : high;
  }
  *lowest = low;
  *highest = high;
}
