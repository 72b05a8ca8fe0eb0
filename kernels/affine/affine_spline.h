/* The deformation of affine: a cubic B-spline on a coarse grid, in double. `real` is the element
 * type of the including file. Also C++, and then for the device, too. */
#pragma once
#include "kernels/affine/affine_sample.h"

enum { AFFINE_TAPS = 4 };

/* On a GPU, in front of a loop that is to keep its values out of registers. */
#ifdef __CUDA_ARCH__ /* not in the host's pass of nvcc */
#define AFFINE_ROLLED _Pragma("unroll 1")
#else
#define AFFINE_ROLLED
#endif

/* Where a voxel of y is on an axis of the grid: between coefficients `low` and low + 1, both of
 * which may lie outside. */
struct affine_knot {
  int low;
  double t;
};

/* For voxel `voxel` of `extent` and `points` coefficients. */
HOST_DEVICE static inline struct affine_knot affine_knot_find(int voxel, int extent, int points) {
  struct affine_knot knot;
  double position = (voxel + 0.5) * points / extent - 0.5;
  knot.low = affine_floor(position);
  knot.t = position - knot.low;
  return knot;
}

/* The four coefficients around it: which, of `points`, and how much each counts. */
HOST_DEVICE static inline int affine_tap(struct affine_knot knot, int i, int points) {
  int index = knot.low - 1 + i;
  return index < 0 ? 0 : index < points ? index : points - 1;
}

HOST_DEVICE static inline double affine_weight(struct affine_knot knot, int i) {
  double t = i < 2 ? 1 - knot.t : knot.t, s = 1 - t; /* the outer ones: of coefficient 0 or 3 */
  return i == 0 || i == 3 ? t * t * t / 6 : (4 + s * s * (3 * s - 6)) / 6;
}

/* What one axis of the grid gives to a voxel of y; some of the four may be the same. */
struct affine_taps {
  int at[AFFINE_TAPS];
  double weight[AFFINE_TAPS];
};

HOST_DEVICE static inline struct affine_taps affine_taps_find(int voxel, int extent, int points) {
  struct affine_taps taps;
  struct affine_knot knot = affine_knot_find(voxel, extent, points);
  for (int i = 0; i < AFFINE_TAPS; i++) {
    taps.at[i] = affine_tap(knot, i, points);
    taps.weight[i] = affine_weight(knot, i);
  }
  return taps;
}

/* The coefficients of one sample and axis: an element is `voxel` from the next on the w axis. */
struct affine_grid {
  int d, h, w;
  int64_t voxel;
};

/* Sum over the four columns of a row of coefficients. */
HOST_DEVICE static inline double affine_taps_sum(const struct affine_taps *taps, const real *row,
                                                 int64_t stride) {
  double sum = 0;
  for (int i = 0; i < AFFINE_TAPS; i++) sum += taps->weight[i] * (double)row[taps->at[i] * stride];
  return sum;
}

/* u of a voxel of y on one axis. */
HOST_DEVICE static inline double affine_displacement(const struct affine_grid *grid,
                                                     struct affine_knot d,
                                                     const struct affine_taps *h,
                                                     const struct affine_taps *w,
                                                     const real *control) {
  double sum = 0;
  AFFINE_ROLLED
  for (int i = 0; i < AFFINE_TAPS; i++) {
    const int64_t slice = (int64_t)affine_tap(d, i, grid->d) * grid->h;
    double plane = 0;
    for (int j = 0; j < AFFINE_TAPS; j++)
      plane +=
          h->weight[j] *
          affine_taps_sum(w, control + (slice + h->at[j]) * grid->w * grid->voxel, grid->voxel);
    sum += affine_weight(d, i) * plane;
  }
  return sum;
}
