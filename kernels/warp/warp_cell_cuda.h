/* Cells of displaced voxels on the GPU: which of the eight corners are voxels of the image, their
 * weights and slopes. Corner bits as in warp_sample.h: bit k is the upper voxel on axis k. Voxel
 * numbers have 64 bits: they cost little beside the loads, and no volume is too large. */
#pragma once
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/warp/warp_sample.h"
}

enum { WARP_CORNERS = 8 };

struct warp_cell {
  struct warp_axis at[3];
  int64_t voxel;   /* number of the lowest corner, by the formula even where it is outside */
  unsigned inside; /* a bit per corner */
};

/* Extents of a volume and voxels from a row, from a slice, to the next. */
struct warp_grid {
  int extent[3];
  int64_t row, slice;
};

static inline struct warp_grid warp_grid_of(const struct shape *s) {
  struct warp_grid grid = {{s->d, s->h, s->w}, s->w, (int64_t)s->h * s->w};
  return grid;
}

__device__ inline int64_t warp_grid_voxel(const struct warp_grid &grid, int d, int h, int w) {
  return d * grid.slice + h * grid.row + w;
}

/* From the lowest corner to `corner`, in voxels. */
__device__ inline int64_t warp_grid_corner(const struct warp_grid &grid, int corner) {
  return (corner & 1 ? grid.slice : 0) + (corner & 2 ? grid.row : 0) + (corner >> 2);
}

/* With WARP_NEAREST only corner 0 is inside, and has all the weight. */
__device__ inline struct warp_cell warp_cell_find(const struct warp_grid &grid, int d, int h, int w,
                                                  const float (&u)[3],
                                                  const struct warp_arguments &arguments) {
  const int index[3] = {d, h, w};
  const unsigned upper[3] = {0xaa, 0xcc, 0xf0}; /* corners that are the upper voxel on an axis */
  struct warp_cell cell;
  cell.inside = arguments.mode == WARP_NEAREST ? 1 : 0xff;
#pragma unroll
  for (int k = 0; k < 3; k++) {
    cell.at[k] = warp_axis(index[k], u[k], grid.extent[k], arguments.padding);
    if (arguments.mode == WARP_NEAREST) {
      cell.at[k].low = warp_nearest(index[k], u[k], grid.extent[k], arguments.padding);
      cell.at[k].fraction = cell.at[k].slope = 0;
    }
    cell.inside &= (warp_inside(cell.at[k].low, grid.extent[k]) ? ~upper[k] : 0) |
                   (warp_inside(cell.at[k].low + 1, grid.extent[k]) ? upper[k] : 0);
  }
  cell.voxel = warp_grid_voxel(grid, cell.at[0].low, cell.at[1].low, cell.at[2].low);
  return cell;
}

__device__ inline float warp_blend(float low, float high, float fraction) {
  return low + fraction * (high - low);
}

/* The derivatives along the three axes of what the corners' values interpolate. */
__device__ inline void warp_cell_slope(const struct warp_cell &cell,
                                       const float (&value)[WARP_CORNERS], float (&slope)[3]) {
  const float d = cell.at[0].fraction, h = cell.at[1].fraction, w = cell.at[2].fraction;
  float rise[4], at[4]; /* (h, w), (h+1, w), (h, w+1), (h+1, w+1) */
#pragma unroll
  for (int k = 0; k < 4; k++) {
    rise[k] = value[2 * k + 1] - value[2 * k];
    at[k] = value[2 * k] + d * rise[k];
  }
  slope[0] = warp_blend(warp_blend(rise[0], rise[1], h), warp_blend(rise[2], rise[3], h), w);
  slope[1] = warp_blend(at[1] - at[0], at[3] - at[2], w);
  slope[2] = warp_blend(at[2], at[3], h) - warp_blend(at[0], at[1], h);
#pragma unroll
  for (int k = 0; k < 3; k++) slope[k] *= cell.at[k].slope;
}
