/* The eight corners of a cell of a volume for a vector of neighbours at once: what trilinear
 * interpolation reads. Neighbours fall next to each other, so with AVX-512 no lane is fetched by
 * itself: what lies in 32 floats from one voxel on is loaded as two vectors for each of the cell's
 * four rows, and permuted. Lanes that fall elsewhere take further turns. */
#pragma once
#include <stdalign.h>
#include <string.h>
#include "kernels/common/simd_math.h"

enum {
  SIMD_LANES = (1 << SIMD_WIDTH) - 1, /* all of them, as a set of bits */
  SIMD_CORNERS = 8,                   /* bit 0: the upper slice (d), 1: row (h), 2: column (w) */
  SIMD_ROWS = 4,
  SIMD_WINDOW = 2 * SIMD_WIDTH,
  SIMD_BEFORE = 4, /* a window starts so many voxels before its first lane's */
};

static const int simd_lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* The voxels of a volume that count: what is outside this box has no values. */
struct simd_box {
  int first[3], count[3]; /* d h w */
  int pairs[3];           /* of neighbours along an axis, not below 0 */
  int row[SIMD_ROWS]; /* voxels to the rows of a cell, bits d h: along an axis of one voxel, none */
  int last, room;     /* numbers of voxels from which cells and windows lie within the volume: below
                         `last`, up to `room`; -1: none */
};

/* Twice as many fit an int. */
enum { SIMD_MOST_VOXELS = 1 << 30 };

/* `first` and `count` within the extents, counts not below 0; at most SIMD_MOST_VOXELS. */
static inline struct simd_box simd_box_make(const int extent[3], const int first[3],
                                            const int count[3]) {
  struct simd_box box;
  for (int k = 0; k < 3; k++) {
    box.first[k] = first[k];
    box.count[k] = count[k];
    box.pairs[k] = count[k] - (count[k] > 0);
  }
  int slice = extent[0] > 1 ? extent[1] * extent[2] : 0, row = extent[1] > 1 ? extent[2] : 0;
  for (int k = 0; k < SIMD_ROWS; k++) box.row[k] = (k & 1) * slice + (k >> 1) * row;
  box.last = extent[0] * extent[1] * extent[2] - slice - row - 1;
  box.room = box.last - SIMD_WINDOW + 1;
  if (box.room < 0) box.room = -1;
  return box;
}

/* The lanes of `at` from 0 to `end`. */
static inline unsigned simd_lanes_below(simd_int at, int end) {
#if defined SIMD_ISA_AVX512
  return _mm512_cmplt_epu32_mask((__m512i)at, _mm512_set1_epi32(end));
#else
  simd_int below = (at >= 0) & (at < end);
#if defined SIMD_ISA_AVX2
  return (unsigned)_mm256_movemask_ps((__m256)below);
#elif defined __x86_64__
  return (unsigned)_mm_movemask_ps((__m128)below);
#else
  unsigned lanes = 0;
  for (int i = 0; i < SIMD_WIDTH; i++) lanes |= (unsigned)(below[i] & 1) << i;
  return lanes;
#endif
#endif
}

/* The first `count`, at most all. */
static inline unsigned simd_lanes_until(int count) {
  return count < SIMD_WIDTH ? (1U << count) - 1 : SIMD_LANES;
}

#if !defined SIMD_ISA_AVX512
static inline simd_int simd_lanes_mask(unsigned lanes) {
  static const int bits[] = {1, 2, 4, 8, 16, 32, 64, 128};
  return (*(const simd_int *)bits & (int)lanes) != 0;
}
#endif

static inline simd simd_pick(unsigned lanes, simd yes, simd no) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_mask_mov_ps((__m512)no, (__mmask16)lanes, (__m512)yes);
#else
  return simd_select(simd_lanes_mask(lanes), yes, no);
#endif
}

/* The other lanes are 0, and nothing is read for them. */
static inline simd simd_load_lanes(const float *from, unsigned lanes) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_maskz_loadu_ps((__mmask16)lanes, from);
#else
  simd value = {0};
  if (lanes == SIMD_LANES) return simd_load(from);
#if defined SIMD_ISA_AVX2
  return (simd)_mm256_maskload_ps(from, (__m256i)simd_lanes_mask(lanes));
#endif
  for (int i = 0; i < SIMD_WIDTH; i++)
    if (lanes >> i & 1) value[i] = from[i];
  return value;
#endif
}
static inline void simd_store_lanes(float *to, simd value, unsigned lanes) {
#if defined SIMD_ISA_AVX512
  _mm512_mask_storeu_ps(to, (__mmask16)lanes, (__m512)value);
#else
  if (lanes == SIMD_LANES)
    simd_store(to, value);
  else
    for (int i = 0; i < SIMD_WIDTH; i++)
      if (lanes >> i & 1) to[i] = value[i];
#endif
}

/* Sums of vectors by lane, in double. */
typedef double simd_half __attribute__((vector_size(4 * SIMD_WIDTH), aligned(8), may_alias));
typedef float simd_half_float __attribute__((vector_size(2 * SIMD_WIDTH), aligned(4), may_alias));
struct simd_sum {
  simd_half half[2];
};
static inline void simd_sum_add(struct simd_sum *sum, simd value) {
#if defined SIMD_ISA_AVX512
  sum->half[0] += (simd_half)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)value));
  sum->half[1] += (simd_half)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)value, 1));
#else
  simd_half_float half[2];
  memcpy(half, &value, sizeof half);
  for (int k = 0; k < 2; k++) sum->half[k] += __builtin_convertvector(half[k], simd_half);
#endif
}

/* Unsigned: of lanes far away the numbers wrap, and are not used. */
static inline simd_int simd_voxel(const struct simd_box *box, const simd_int at[3]) {
  simd_bits slice = (simd_bits)at[0] * (unsigned)box->row[1];
  return (simd_int)(slice + (simd_bits)at[1] * (unsigned)box->row[2] + (simd_bits)at[2]);
}

/* A vector of cells. */
struct simd_cells {
  simd_int voxel;        /* the lowest corner's number, also where that is outside */
  unsigned inside[3][2]; /* lanes whose lower and upper corners are in the box along an axis */
  unsigned some;         /* lanes with a corner in the box */
  bool near;             /* what is read for every lane lies within the volume */
  bool whole;            /* and in the box */
};

static inline void simd_cells_sets(struct simd_cells *cells, const struct simd_box *box,
                                   const simd_int at[3]) {
  for (int k = 0; k < 3; k++) {
    cells->inside[k][0] = simd_lanes_below(at[k], box->count[k]);
    cells->inside[k][1] = simd_lanes_below(at[k] + 1, box->count[k]);
    cells->some &= cells->inside[k][0] | cells->inside[k][1];
  }
}

/* low: of the cells' lowest corner, by axis; `lanes`: which there are. */
static inline void simd_cells_find(struct simd_cells *cells, const struct simd_box *box,
                                   const simd_int low[3], unsigned lanes) {
  simd_int at[3];
  unsigned whole = lanes;
  for (int k = 0; k < 3; k++) {
    at[k] = low[k] - box->first[k];
    whole &= simd_lanes_below(at[k], box->pairs[k]);
    cells->inside[k][0] = cells->inside[k][1] = lanes;
  }
  cells->voxel = simd_voxel(box, low);
  cells->some = lanes;
  cells->near = cells->whole = whole == SIMD_LANES && box->room >= 0;
  if (cells->whole) return;
  simd_cells_sets(cells, box, at);
  cells->near = box->room >= 0 && !(cells->some & ~simd_lanes_below(cells->voxel, box->last));
  cells->voxel = (simd_int)simd_pick(cells->some, (simd)cells->voxel, (simd){0});
}

/* Only the voxels; false unless all corners of all lanes are in the box. */
static inline bool simd_cells_inner(struct simd_cells *cells, const struct simd_box *box,
                                    const simd_int low[3]) {
  cells->voxel = simd_voxel(box, low);
#if defined SIMD_ISA_AVX512
  __mmask16 whole = 0xffff;
  for (int k = 0; k < 3; k++)
    whole = _mm512_mask_cmplt_epu32_mask(whole, (__m512i)(low[k] - box->first[k]),
                                         _mm512_set1_epi32(box->pairs[k]));
  return whole == 0xffff && box->room >= 0;
#else
  unsigned whole = SIMD_LANES;
  for (int k = 0; k < 3; k++) whole &= simd_lanes_below(low[k] - box->first[k], box->pairs[k]);
  return whole == SIMD_LANES && box->room >= 0;
#endif
}

/* The lanes whose corner is in the box. */
static inline unsigned simd_cells_inside(const struct simd_cells *cells, int corner) {
  return cells->some & cells->inside[0][corner & 1] & cells->inside[1][corner >> 1 & 1] &
         cells->inside[2][corner >> 2];
}

/* What the corners outside the box are. */
static inline void simd_corners_outside(const struct simd_cells *cells, simd value,
                                        simd corner[SIMD_CORNERS]) {
  if (cells->whole) return;
  for (int k = 0; k < SIMD_CORNERS; k++)
    corner[k] = simd_pick(simd_cells_inside(cells, k), corner[k], value);
}

#if defined SIMD_ISA_AVX512

/* Not inlined, lest parts of it be computed in front of a loop that seldom needs them. */
#define SIMD_APART __attribute__((noinline, unused))

/* Lane by lane; corners outside the box are 0. */
static SIMD_APART void simd_corners_far(const struct simd_box *box, const struct simd_cells *cells,
                                        const float *volume, simd corner[SIMD_CORNERS]) {
  for (int k = 0; k < SIMD_CORNERS; k++)
    corner[k] = (simd)_mm512_mask_i32gather_ps(
        _mm512_setzero_ps(), (__mmask16)simd_cells_inside(cells, k),
        (__m512i)(cells->voxel + (box->row[k & 3] + (k >> 2))), volume, sizeof(float));
}

/* Two floats from each of 4 numbers on. Loads that repeat what they read and blends of them go
 * through more of a processor's pipes than insertions do. */
static inline __attribute__((always_inline)) __m256d simd_pairs(const float *from,
                                                                const int64_t voxel[4]) {
  __m256d two[4];
  SIMD_UNROLL
  for (int k = 0; k < 4; k++)
    two[k] = _mm256_broadcast_sd((const double *)(const void *)(from + voxel[k]));
  return _mm256_blend_pd(_mm256_blend_pd(two[0], two[1], 2), _mm256_blend_pd(two[2], two[3], 8),
                         12);
}

/* Four lanes of all rows after four: there are not registers for the numbers of more. */
static inline __attribute__((always_inline)) void simd_corners_pairs(const struct simd_box *box,
                                                                     const int *voxel,
                                                                     const float *volume,
                                                                     simd corner[SIMD_CORNERS]) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  __m256d quarter[SIMD_ROWS][4];
  SIMD_UNROLL
  for (int q = 0; q < 4; q++) {
    const int64_t at[4] = {voxel[4 * q], voxel[4 * q + 1], voxel[4 * q + 2], voxel[4 * q + 3]};
    SIMD_UNROLL
    for (int k = 0; k < SIMD_ROWS; k++) quarter[k][q] = simd_pairs(volume + box->row[k], at);
    __asm__ volatile("" ::: "memory"); /* in this order */
  }
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) {
    __m512 half[2];
    for (int i = 0; i < 2; i++)
      half[i] = _mm512_castpd_ps(
          _mm512_insertf64x4(_mm512_castpd256_pd512(quarter[k][2 * i]), quarter[k][2 * i + 1], 1));
    corner[k] = (simd)_mm512_permutex2var_ps(half[0], even, half[1]);
    corner[k + 4] = (simd)_mm512_permutex2var_ps(half[0], odd, half[1]);
  }
}

/* The voxel of the first of `lanes`. */
static inline int simd_voxel_first(simd_int voxel, unsigned lanes) {
  __m512i first = (__m512i)voxel;
  if (!(lanes & 1)) first = _mm512_maskz_compress_epi32((__mmask16)lanes, first);
  return _mm_cvtsi128_si32(_mm512_castsi512_si128(first));
}

/* From where on a window holds the first of these cells, which are near. */
static inline int simd_window_start(const struct simd_box *box, const struct simd_cells *cells) {
  int at = simd_voxel_first(cells->voxel, cells->some) - SIMD_BEFORE;
  return at < 0 ? 0 : at < box->room ? at : box->room;
}

static inline void simd_corners_window(const struct simd_box *box, simd_int place,
                                       const float *from, simd corner[SIMD_CORNERS]) {
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) {
    const __m512 a = _mm512_loadu_ps(from + box->row[k]);
    const __m512 b = _mm512_loadu_ps(from + box->row[k] + SIMD_WIDTH);
    corner[k] = (simd)_mm512_permutex2var_ps(a, (__m512i)place, b);
    corner[k + 4] = (simd)_mm512_permutex2var_ps(a, (__m512i)(place + 1), b);
  }
}

/* Of cells that simd_cells_inner has found, in memory: loads take vectors apart faster than
 * permutations do. */
static inline void simd_corners_inner(const struct simd_box *box, const simd_int *voxels,
                                      const float *volume, simd corner[SIMD_CORNERS]) {
  int at = _mm_cvtsi128_si32(_mm512_castsi512_si128((__m512i)*voxels)) - SIMD_BEFORE;
  at = at < 0 ? 0 : at < box->room ? at : box->room;
  const simd_int place = *voxels - at;
  if (simd_lanes_below(place, SIMD_WINDOW - 1) == SIMD_LANES)
    simd_corners_window(box, place, volume + at, corner);
  else
    simd_corners_pairs(box, (const int *)voxels, volume, corner);
}

/* Corners of `volume`; what is outside the box is anything. */
static inline void simd_corners(const struct simd_box *box, const struct simd_cells *cells,
                                const float *volume, simd corner[SIMD_CORNERS]) {
  if (__builtin_expect(!cells->near, 0)) {
    const struct simd_cells own = *cells; /* the caller's stay in registers */
    simd_corners_far(box, &own, volume, corner);
    return;
  }
  const int at = simd_window_start(box, cells);
  const simd_int place = cells->voxel - at;
  if (cells->some & ~simd_lanes_below(place, SIMD_WINDOW - 1)) {
    alignas(64) int voxel[SIMD_WIDTH];
    memcpy(voxel, &cells->voxel, sizeof voxel);
    __asm__ volatile("" : "+m"(voxel));
    simd_corners_pairs(box, voxel, volume, corner);
    return;
  }
  simd_corners_window(box, place, volume + at, corner);
}

#else

/* Of cells that simd_cells_inner has found. */
static inline void simd_corners_inner(const struct simd_box *box, const simd_int *voxels,
                                      const float *volume, simd corner[SIMD_CORNERS]) {
#if defined SIMD_ISA_AVX2
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++)
    corner[k] = (simd)_mm256_i32gather_ps(volume + box->row[k & 3] + (k >> 2), (__m256i)*voxels,
                                          sizeof(float));
#else
  float value[SIMD_CORNERS][SIMD_WIDTH];
  int voxel[SIMD_WIDTH];
  memcpy(voxel, voxels, sizeof voxel);
  for (int i = 0; i < SIMD_WIDTH; i++) SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++)
    value[k][i] = volume[voxel[i] + box->row[k & 3] + (k >> 2)];
  for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = simd_load(value[k]);
#endif
}

static inline void simd_corners(const struct simd_box *box, const struct simd_cells *cells,
                                const float *volume, simd corner[SIMD_CORNERS]) {
  float value[SIMD_CORNERS][SIMD_WIDTH];
  int voxel[SIMD_WIDTH];
  memcpy(voxel, &cells->voxel, sizeof voxel);
  for (int i = 0; i < SIMD_WIDTH; i++) {
    const float *from = volume + voxel[i];
    if (cells->near) SIMD_UNROLL
    for (int k = 0; k < SIMD_CORNERS; k++) value[k][i] = from[box->row[k & 3] + (k >> 2)];
    else for (int k = 0; k < SIMD_CORNERS; k++) value[k][i] =
        simd_cells_inside(cells, k) >> i & 1 ? from[box->row[k & 3] + (k >> 2)] : 0;
  }
  for (int k = 0; k < SIMD_CORNERS; k++) corner[k] = simd_load(value[k]);
}

#endif

static inline simd simd_blend(simd low, simd high, simd fraction) {
  return low + fraction * (high - low);
}

/* Between the corners; at: fractions d h w, the weights of the upper corners. */
static inline simd simd_corners_sample(const simd corner[SIMD_CORNERS], const simd at[3]) {
  simd row[SIMD_ROWS];
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) row[k] = simd_blend(corner[2 * k], corner[2 * k + 1], at[0]);
  return simd_blend(simd_blend(row[0], row[1], at[1]), simd_blend(row[2], row[3], at[1]), at[2]);
}

/* The derivatives of that by the fractions. */
static inline void simd_corners_slope(const simd corner[SIMD_CORNERS], const simd at[3],
                                      simd slope[3]) {
  simd rise[SIMD_ROWS], row[SIMD_ROWS];
  SIMD_UNROLL
  for (int k = 0; k < SIMD_ROWS; k++) {
    rise[k] = corner[2 * k + 1] - corner[2 * k];
    row[k] = corner[2 * k] + at[0] * rise[k];
  }
  simd near = row[1] - row[0], far = row[3] - row[2];
  slope[0] =
      simd_blend(simd_blend(rise[0], rise[1], at[1]), simd_blend(rise[2], rise[3], at[1]), at[2]);
  slope[1] = simd_blend(near, far, at[2]);
  slope[2] = row[2] + at[1] * far - (row[0] + at[1] * near);
}
