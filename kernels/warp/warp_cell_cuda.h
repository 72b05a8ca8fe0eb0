/* Cells of displaced voxels on the GPU: their corners' numbers, weights and slopes. Corner bits as
 * in warp_sample.h: bit k is the upper voxel on axis k. Numbers of voxels are of an unsigned type
 * Index: 32 bits as long as a volume allows it, and only a corner inside has a meaningful one. */
#pragma once
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/warp/warp_sample.h"
}

enum { WARP_CORNERS = 8 };

/* Extents of a volume, and voxels from a row, from a slice, to the next. */
template <typename Index>
struct warp_grid {
  int extent[3];
  Index row, slice;
};

template <typename Index>
static inline struct warp_grid<Index> warp_grid_of(const struct shape &s) {
  struct warp_grid<Index> grid = {
    {s.d, s.h, s.w}, (Index)s.w, (Index)s.h *(Index)s.w
  };
  return grid;
}

/* Whether 32 bits number the voxels of a volume. */
static inline bool
warp_grid_small(const struct shape &s) {
  return shape_voxels(s) <= UINT32_MAX;
}

template <typename Index>
__device__ inline Index warp_grid_voxel(const struct warp_grid<Index> &grid, int d, int h, int w) {
  return ((Index)d * (Index)grid.extent[1] + (Index)h) * grid.row + (Index)w;
}

/* From the lowest corner to `corner`, in voxels. */
template <typename Index>
__device__ inline Index warp_grid_corner(const struct warp_grid<Index> &grid, int corner) {
  return (corner & 1 ? grid.slice : 0) + (corner & 2 ? grid.row : 0) + (Index)(corner >> 2);
}

template <typename Index>
struct warp_cell {
  struct warp_axis at[3];
  Index voxel;   /* the number of the lowest corner */
  bool interior; /* all corners are voxels of the image */
};

/* With WARP_NEAREST the lowest corner has all the weight. */
template <enum warp_mode MODE, typename Index>
__device__ inline struct warp_cell<Index> warp_cell_find(const struct warp_grid<Index> &grid, int d,
                                                         int h, int w, const float (&u)[3],
                                                         enum warp_padding padding) {
  const int index[3] = {d, h, w};
  struct warp_cell<Index> cell;
  cell.interior = true;
#pragma unroll
  for (int k = 0; k < 3; k++) {
    if (MODE == WARP_LINEAR) {
      cell.at[k] = warp_axis(index[k], u[k], grid.extent[k], padding);
    } else {
      cell.at[k].low = warp_nearest(index[k], u[k], grid.extent[k], padding);
      cell.at[k].fraction = cell.at[k].slope = 0;
    }
    cell.interior = cell.interior && warp_inside(cell.at[k].low, grid.extent[k] - 1);
  }
  cell.voxel = warp_grid_voxel(grid, cell.at[0].low, cell.at[1].low, cell.at[2].low);
  return cell;
}

/* The corners of an image that are inside; values of those outside stay. `bytes`: from a voxel to
 * the next. */
template <typename T, int LANES, typename Index>
__device__ inline void warp_cell_load(const struct warp_grid<Index> &grid,
                                      const struct warp_cell<Index> &cell, const T *image,
                                      unsigned bytes, float (&value)[WARP_CORNERS][LANES]) {
  if (cell.interior) {
    const T *lowest = cuda_at(image, cell.voxel, bytes);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const T *low = cuda_at(lowest, warp_grid_corner(grid, j), bytes);
      cuda_load(low, value[j]);
      cuda_load(cuda_at(low, 1u, bytes), value[j + 4]);
    }
  } else {
#pragma unroll
    for (int corner = 0; corner < WARP_CORNERS; corner++) {
      const Index voxel = cell.voxel + warp_grid_corner(grid, corner);
      if (warp_corner_inside(cell.at, grid.extent, corner))
        cuda_load(cuda_at(image, voxel, bytes), value[corner]);
    }
  }
}

/* sum += what the values interpolate to. */
template <int LANES, typename Index>
__device__ inline void warp_cell_blend(const struct warp_cell<Index> &cell,
                                       const float (&value)[WARP_CORNERS][LANES],
                                       float (&sum)[LANES]) {
#pragma unroll
  for (int corner = 0; corner < WARP_CORNERS; corner++)
#pragma unroll
    for (int l = 0; l < LANES; l++)
      sum[l] += warp_corner_weight(cell.at, corner) * value[corner][l];
}

__device__ inline float warp_between(float low, float high, float fraction) {
  return low + fraction * (high - low);
}

/* The derivatives along the three axes of what the corners' values interpolate to. */
template <typename Index>
__device__ inline void warp_cell_slope(const struct warp_cell<Index> &cell,
                                       const float (&value)[WARP_CORNERS], float (&slope)[3]) {
  const float d = cell.at[0].fraction, h = cell.at[1].fraction, w = cell.at[2].fraction;
  float rise[4], at[4]; /* (h, w), (h+1, w), (h, w+1), (h+1, w+1) */
#pragma unroll
  for (int k = 0; k < 4; k++) {
    rise[k] = value[2 * k + 1] - value[2 * k];
    at[k] = value[2 * k] + d * rise[k];
  }
  slope[0] = warp_between(warp_between(rise[0], rise[1], h), warp_between(rise[2], rise[3], h), w);
  slope[1] = warp_between(at[1] - at[0], at[3] - at[2], w);
  slope[2] = warp_between(at[2], at[3], h) - warp_between(at[0], at[1], h);
#pragma unroll
  for (int k = 0; k < 3; k++) slope[k] *= cell.at[k].slope;
}
