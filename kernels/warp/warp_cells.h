/* What the fast kernels along displacements share: the cells that a run of voxels falls into, split
 * off on vectors, and slabs of a volume that may be scattered from at the same time. Float only. */
#pragma once
#include "kernels/warp/warp_vector.h"

enum { WARP_RUN = 64 };

/* Where up to WARP_RUN neighbours on the w axis fall. */
struct warp_cells {
  int low[3][WARP_RUN];
  float fraction[3][WARP_RUN], slope[3][WARP_RUN]; /* as struct warp_axis */
  int interior[WARP_RUN];                          /* all eight corners are voxels of the image */
  int voxel[WARP_RUN]; /* the lowest corner's number; only where interior */
};

/* Cells of a vector of voxels, the run's from number i on; u: their displacements along each axis,
 * `first` the first one's place. */
static inline void warp_cells_set(struct warp_cells *cells, int i, const simd u[3],
                                  const int first[3], const int extent[3],
                                  const struct warp_arguments *arguments) {
  const struct warp_vector at = warp_vector_find(u, first, extent, arguments);
  simd_int interior = (simd_int){0} - 1;
  simd_bits voxel = {0};
  for (int k = 0; k < 3; k++) {
    *(simd_int *)(cells->low[k] + i) = at.low[k];
    simd_store(cells->fraction[k] + i, at.fraction[k]);
    simd_store(cells->slope[k] + i, at.slope[k]);
    interior &= (at.low[k] >= 0) & (at.low[k] < extent[k] - 1);
    voxel = voxel * (unsigned)extent[k] + (simd_bits)at.low[k];
  }
  *(simd_int *)(cells->interior + i) = interior & 1;
  *(simd_int *)(cells->voxel + i) = interior & (simd_int)voxel;
}

/* Cells of `count` voxels from `first` on; u: the displacements along each axis. */
static inline void warp_cells_find(struct warp_cells *cells, const float *const u[3],
                                   const int first[3], int count, const int extent[3],
                                   const struct warp_arguments *arguments) {
  for (int i = 0; i < count; i += SIMD_WIDTH) {
    const int at[3] = {first[0], first[1], first[2] + i};
    simd by[3];
    for (int k = 0; k < 3; k++) by[k] = simd_load_lanes(u[k] + i, simd_lanes_until(count - i));
    warp_cells_set(cells, i, by, at, extent, arguments);
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

/* Widens [lowest, highest] by the whole voxels of `count` displacements along d. stride: 1 or 4,
 * the floats from one to the next. */
static inline void warp_reach(const float *u, int stride, int64_t count, int *lowest,
                              int *highest) {
  float least[SIMD_WIDTH], most[SIMD_WIDTH];
  int64_t i = 0;
  simd low = simd_all(WARP_FAR), high = -low;
  const simd far = low;
  for (; i + SIMD_WIDTH <= count * stride; i += SIMD_WIDTH) {
    simd at = simd_load(u + i);
    at = simd_select(at > -far, at, -far);
    low = simd_select(at < low, at, low);
    high = simd_select(at > high, at, high);
  }
  simd_store(least, low);
  simd_store(most, high);
  for (; i < count * stride; i += stride) {
    float at = u[i] > -WARP_FAR ? u[i] : -WARP_FAR;
    least[0] = at < least[0] ? at : least[0];
    most[0] = at > most[0] ? at : most[0];
  }
  for (int lane = 0; lane < SIMD_WIDTH; lane += stride) {
    int from = warp_axis_split(0, least[lane]).low, to = warp_axis_split(0, most[lane]).low;
    *lowest = from < *lowest ? from : *lowest;
    *highest = to > *highest ? to : *highest;
  }
}
