/* Where the voxels of a vector fall: warp_axis and warp_nearest on vectors of floats. */
#pragma once
#include "kernels/common/simd_cells.h"
#include "kernels/common/simd_math.h"
#include "kernels/warp/warp_sample.h"

/* By axis, as struct warp_axis. */
struct warp_vector {
  simd_int low[3];
  simd fraction[3], slope[3];
};

/* As warp_axis_split. */
static inline void warp_vector_split(struct warp_vector *at, int axis, simd u, simd_int index) {
  const simd far = simd_all(WARP_FAR);
#if defined SIMD_ISA_AVX512
  u = (simd)_mm512_max_ps((__m512)u, (__m512)-far); /* the second where one is no number */
  u = (simd)_mm512_min_ps((__m512)u, (__m512)far);
  simd whole = (simd)_mm512_roundscale_ps((__m512)u, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  at->low[axis] = (simd_int)_mm512_cvttps_epi32((__m512)whole) + index;
  at->fraction[axis] = u - whole;
#else
  u = simd_select(u > -far, u, -far);
  u = simd_select(u < far, u, far);
  simd_int whole = __builtin_convertvector(u, simd_int);
  whole += (simd_int)(u < __builtin_convertvector(whole, simd)); /* -1 where true */
  at->low[axis] = whole + index;
  at->fraction[axis] = u - __builtin_convertvector(whole, simd);
#endif
  at->slope[axis] = simd_all(1);
}

/* The same, but what falls further away than an int holds, or is no number, falls anywhere outside.
 */
static inline void warp_vector_split_near(struct warp_vector *at, int axis, simd u,
                                          simd_int index) {
#if defined SIMD_ISA_AVX512
  simd whole = (simd)_mm512_roundscale_ps((__m512)u, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  at->low[axis] = (simd_int)_mm512_cvttps_epi32((__m512)whole) + index;
  at->fraction[axis] = u - whole;
#else
  warp_vector_split(at, axis, u, index);
#endif
}

/* As warp_axis_clamp. */
static inline void warp_vector_clamp(struct warp_vector *at, int axis, int extent) {
  const simd none = {0};
  simd_int low = at->low[axis], after = low >= extent - 1;
  simd_int before = (low < 0) | ((low == 0) & (simd_int)(at->fraction[axis] <= 0));
  low = (after & (extent - 1)) | (~after & low);
  at->low[axis] = ~before & low;
  at->fraction[axis] = simd_select(before | after, none, at->fraction[axis]);
  at->slope[axis] = simd_select(before | after, none, at->slope[axis]);
}

/* The nearest voxel as a cell whose lowest corner has all the weight. */
static inline void warp_vector_round(struct warp_vector *at, int axis) {
  const simd none = {0};
  simd fraction = at->fraction[axis];
  simd_int odd = (at->low[axis] & 1) != 0;
  at->low[axis] -= (simd_int)(fraction > 0.5f) | ((simd_int)(fraction == 0.5f) & odd);
  at->fraction[axis] = at->slope[axis] = none;
}

static inline simd_int warp_vector_index(const int first[3], int axis) {
  simd_int index = first[axis] - (simd_int){0};
  if (axis == 2) index += *(const simd_int *)simd_lane_numbers;
  return index;
}

/* u: displacements of neighbours on the w axis by axis, of which `first` is the first. */
static inline struct warp_vector warp_vector_find(const simd u[3], const int first[3],
                                                  const int extent[3],
                                                  const struct warp_arguments *arguments) {
  struct warp_vector at;
  for (int k = 0; k < 3; k++) {
    warp_vector_split(&at, k, u[k], warp_vector_index(first, k));
    if (arguments->padding == WARP_BORDER) warp_vector_clamp(&at, k, extent[k]);
    if (arguments->mode == WARP_NEAREST) warp_vector_round(&at, k);
  }
  return at;
}
