/* Adding along displacements on the GPU, the transpose of sampling, with the same bits every time:
 * terms are rounded to multiples of a power of two, the unit, and added as 64-bit integers, whose
 * sums no order changes. The unit follows from the largest magnitude that is added, so that not
 * even all voxels landing on one can overflow: 2^-40 of it at 2^22 voxels, far below the 2^-24 of a
 * float32 sum. Against sorted lists of sources per voxel this needs no more than one pass, and no
 * displacement makes it slow; where the largest magnitude is not finite, all of the result is NaN.
 *
 * As any grouping gives the same sums, a thread that walks along d keeps what it owes to the next
 * slice, and neighbours along w hand over what they owe to the same voxel: a smooth field costs
 * about two additions to memory per voxel, not eight. */
#pragma once
#include "kernels/warp/warp_cell_cuda.h"

typedef unsigned long long warp_total; /* a sum in units, two's complement */

/* What terms are multiplied by before they are rounded, and sums afterwards. */
struct warp_unit {
  float scale, unit;
  bool finite;
};

/* Bits that a term may have so that `terms` of them cannot overflow. */
static inline int warp_unit_bits(int64_t terms) {
  int bits = 62;
  for (; terms > 1; terms = (terms + 1) / 2) bits--;
  return bits;
}

/* `largest`: the bits of the largest magnitude of a term. Units below 2^-126 are not made: scale
 * and unit are normal numbers. */
__device__ inline struct warp_unit warp_unit_find(unsigned largest, int bits) {
  int exponent = (int)(largest >> 23) - 126, shift = bits - exponent;
  if (shift > 126) shift = 126;
  struct warp_unit unit;
  unit.scale = __uint_as_float((unsigned)(127 + shift) << 23);
  unit.unit = __uint_as_float((unsigned)(127 - shift) << 23);
  unit.finite = largest < 0x7f800000u;
  return unit;
}

__device__ inline float warp_unit_value(const struct warp_unit &unit, warp_total total) {
  return unit.finite ? (float)(long long)total * unit.unit : NAN;
}

/* Bits of the magnitude: their order is that of magnitudes, with NaN above all. */
__device__ inline unsigned warp_magnitude(float value) {
  return __float_as_uint(value) & 0x7fffffffu;
}

__device__ inline unsigned warp_larger(unsigned a, unsigned b) {
  return a > b ? a : b;
}

/* Raises *largest to the largest value of the block's threads, all of which must call. */
__device__ inline void warp_raise(unsigned value, unsigned *largest) {
  for (int distance = 16; distance > 0; distance /= 2)
    value = warp_larger(value, __shfl_xor_sync(0xffffffffu, value, distance));
  int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
  if (thread % 32 == 0 && value > 0) atomicMax(largest, value);
}

/* Where sums are: of channel c of voxel i at [c * channel + i * voxel]. */
struct warp_sums {
  warp_total *total;
  int64_t channel;
  int voxel;
};

/* What a thread owes to four corners of one slice: the bits of j are h and w. */
template <int CHANNELS, typename Index>
struct warp_face {
  Index voxel; /* the number of corner 0 */
  long long owed[CHANNELS][4];
};

template <int CHANNELS, typename Index>
__device__ inline void warp_face_clear(struct warp_face<CHANNELS, Index> *face) {
  face->voxel = 0;
#pragma unroll
  for (int i = 0; i < CHANNELS * 4; i++) face->owed[i / 4][i % 4] = 0;
}

/* Adds to memory, but for corners that are owed nothing, as are those outside the volume: their
 * numbers mean nothing. */
template <int CHANNELS, typename Index>
__device__ inline void warp_face_pay(const struct warp_face<CHANNELS, Index> &face,
                                     const struct warp_grid<Index> &grid,
                                     const struct warp_sums &sums) {
  const unsigned bytes = (unsigned)sums.voxel * (unsigned)sizeof(warp_total);
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const Index voxel = face.voxel + (j & 1 ? grid.row : 0) + (Index)(j >> 1);
    long long any = 0;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) any |= face.owed[c][j];
    if (any == 0) continue;
    warp_total *total = cuda_at(sums.total, voxel, bytes);
#pragma unroll
    for (int c = 0; c < CHANNELS; c++)
      atomicAdd(total + c * sums.channel, (warp_total)face.owed[c][j]);
  }
}

/* Hands the upper corners along w to the thread `distance` further in the row, where they are its
 * lower ones. All threads of a warp must call; rows of `width` threads. */
template <int CHANNELS, typename Index>
__device__ inline void warp_face_hand_over(struct warp_face<CHANNELS, Index> *face, int lane,
                                           int width, int distance) {
  const unsigned all = 0xffffffffu;
  const Index before = __shfl_up_sync(all, face->voxel, distance, width);
  const Index after = __shfl_down_sync(all, face->voxel, distance, width);
  const bool takes = lane >= distance && (Index)(before + 1) == face->voxel;
  const bool gives = lane + distance < width && after == (Index)(face->voxel + 1);
#pragma unroll
  for (int c = 0; c < CHANNELS; c++)
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const long long given = __shfl_up_sync(all, face->owed[c][j + 2], distance, width);
      if (takes) face->owed[c][j] += given;
      if (gives) face->owed[c][j + 2] = 0;
    }
}

/* One voxel on a thread's way along d: adds its terms, weight times value (in units), to what the
 * thread owes, of which the lower slice is then complete: `lower`; `upper` is kept. */
template <int CHANNELS, typename Index>
__device__ inline void warp_face_step(struct warp_face<CHANNELS, Index> *lower,
                                      struct warp_face<CHANNELS, Index> *upper,
                                      const struct warp_cell<Index> &cell,
                                      const float (&value)[CHANNELS],
                                      const struct warp_grid<Index> &grid,
                                      const struct warp_sums &sums) {
  if (upper->voxel != cell.voxel) {
    warp_face_pay(*upper, grid, sums);
    warp_face_clear(upper);
  }
  lower->voxel = cell.voxel;
  upper->voxel = cell.voxel + grid.slice;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    float low = warp_corner_weight(cell.at, 2 * j), high = warp_corner_weight(cell.at, 2 * j + 1);
    if (!cell.interior) {
      if (!warp_corner_inside(cell.at, grid.extent, 2 * j)) low = 0;
      if (!warp_corner_inside(cell.at, grid.extent, 2 * j + 1)) high = 0;
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
      lower->owed[c][j] = upper->owed[c][j] + llrintf(low * value[c]);
      upper->owed[c][j] = llrintf(high * value[c]);
    }
  }
}
