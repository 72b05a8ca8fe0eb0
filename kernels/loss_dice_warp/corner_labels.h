/* The labels of the corners of warped voxels, for loss_dice_warp_labels_simd.c: of a stretch of a
 * row, by vectors of neighbours on the w axis. A vector of corner labels holds four bytes in every
 * lane, so that two of them are all corners, and one label is compared with all at once. */
#pragma once
#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include "kernels/common/simd_cells.h"
#include "kernels/loss_dice_warp/dice.h"

/* One sample. */
struct sample {
  struct shape shape;
  struct simd_box box;
  int classes;
  bool border;  /* pads so; else outside the volume there is no label */
  bool windows; /* the processor looks bytes up in two vectors */
  const unsigned char *moving, *fixed;
  const float *u;
};

enum { VECTORS = 32, QUADS = 2 };

/* Of a vector some of whose corners are outside the volume: these corners, as bytes of ones, and -1
 * for axes on which a cell half outside has been moved inside and mirrored, else 1. */
struct edge {
  simd_int outside[QUADS];
  simd sign[3];
};

/* Vectors of a slice, row after row. What differs from vector to vector is done for all of a tile
 * before what comes next: where to go on is then known early. */
struct tile {
  alignas(64) simd fraction[3][VECTORS]; /* of the upper corners, 0 to 1 */
  simd_int voxel[VECTORS];               /* the lowest corner's number; all lie in the volume */
  simd_int quad[VECTORS][QUADS]; /* labels of the corners (d h w) 000 001 100 101; 01. 11. */
  unsigned lanes[VECTORS];       /* which there are */
  int at[VECTORS], h[VECTORS], w[VECTORS]; /* the first lane's voxel; its row and column */
  bool is_edge[VECTORS];
  struct edge edge[VECTORS]; /* where there is one */
  int edges[VECTORS], edge_count;
  int d, count;
};

/* --- sets of lanes, as comparisons give them --- */

#if defined SIMD_ISA_AVX512
typedef __mmask16 set;
static inline set set_of(unsigned lanes) {
  return (set)lanes;
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return (simd)_mm512_mask_mov_ps((__m512)no, lanes, (__m512)yes);
}
static inline simd set_keep(set lanes, simd value) {
  return (simd)_mm512_maskz_mov_ps(lanes, (__m512)value);
}
static inline simd set_add(set lanes, simd to, simd value) {
  return (simd)_mm512_mask_add_ps((__m512)to, lanes, (__m512)to, (__m512)value);
}
static inline unsigned set_lanes(set lanes) {
  return lanes;
}
/* The lanes whose byte of this number is zero. */
static inline set set_zero(simd_int value, int byte) {
  return _mm512_testn_epi32_mask((__m512i)value, _mm512_set1_epi32((int)(0xffU << 8 * byte)));
}
static inline set set_between(simd value, simd low, simd high) {
  __mmask16 above = _mm512_cmp_ps_mask((__m512)value, (__m512)low, _CMP_GT_OQ);
  return _mm512_mask_cmp_ps_mask(above, (__m512)value, (__m512)high, _CMP_LT_OQ);
}
#else
typedef simd_int set;
static inline set set_of(unsigned lanes) {
  return simd_lanes_mask(lanes);
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return simd_select(lanes, yes, no);
}
static inline simd set_keep(set lanes, simd value) {
  return (simd)(lanes & (simd_int)value);
}
static inline simd set_add(set lanes, simd to, simd value) {
  return to + set_keep(lanes, value);
}
static inline unsigned set_lanes(set lanes) {
  return simd_lanes_below(~lanes, 1);
}
static inline set set_zero(simd_int value, int byte) {
  return (value & (int)(0xffU << 8 * byte)) == 0;
}
static inline set set_between(simd value, simd low, simd high) {
  return (simd_int)(value > low) & (simd_int)(value < high);
}
#endif

/* --- bytes --- */

/* Which bytes of a vector are not `label`. */
static inline uint64_t bytes_unlike(simd_int quad, int label) {
#if defined SIMD_ISA_AVX512
  return _mm512_cmpneq_epi8_mask((__m512i)quad, _mm512_set1_epi8((char)label));
#elif defined SIMD_ISA_AVX2
  return ~(unsigned)_mm256_movemask_epi8(
      _mm256_cmpeq_epi8((__m256i)quad, _mm256_set1_epi8((char)label)));
#else
  const unsigned char *byte = (const unsigned char *)&quad;
  uint64_t unlike = 0;
  for (size_t i = 0; i < sizeof quad; i++) unlike |= (uint64_t)(byte[i] != label) << i;
  return unlike;
#endif
}

static inline simd_int bytes_all(int label) {
  return (int)((unsigned)label * 0x01010101U) - (simd_int){0};
}

/* As many bytes as lanes, of which there are `lanes`. */
#if defined SIMD_ISA_AVX512
typedef __m128i truths;
static inline truths truths_load(const unsigned char *from, unsigned lanes) {
  return _mm_maskz_loadu_epi8((__mmask16)lanes, from);
}
static inline set truths_equal(truths labels, int label) {
  return _mm_cmpeq_epi8_mask(labels, _mm_set1_epi8((char)label));
}
#else
typedef simd_int truths;
static inline truths truths_load(const unsigned char *from, unsigned lanes) {
  unsigned char some[SIMD_WIDTH] = {0};
  if (lanes == SIMD_LANES) return simd_from_bytes(from);
  memcpy(some, from, (size_t)__builtin_popcount(lanes));
  return simd_from_bytes(some);
}
static inline set truths_equal(truths labels, int label) {
  return labels == label;
}
#endif

/* --- where voxels fall --- */

/* Displacements of voxel `index` are limited to what leads to the volume's border or, without
 * padding, past it; NaN leads to its start. */
struct limit {
  simd low, high, last; /* last: of the whole voxels, so that with padding all cells are inside */
};

static inline struct limit limit_make(simd index, int extent, bool border) {
  struct limit limit = {-index, (float)(extent - 1) - index, {0}};
  limit.last = simd_max(limit.high - 1, limit.low);
  if (!border) limit.low -= 2;
  if (!border) limit.high += 2;
  return limit;
}

/* Splits off the fraction; gives the whole voxels. */
static inline simd_int limit_split(const struct limit *limit, bool border, simd u, simd *fraction) {
  simd at = simd_min(simd_max(u, limit->low), limit->high);
#if defined SIMD_ISA_AVX512
  simd whole = (simd)_mm512_roundscale_ps((__m512)at, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined SIMD_ISA_AVX2
  simd whole = (simd)_mm256_floor_ps((__m256)at);
#else
  simd_int number = __builtin_convertvector(at, simd_int);
  number += (simd_int)(at < __builtin_convertvector(number, simd));
  simd whole = __builtin_convertvector(number, simd);
#endif
  if (border) whole = simd_min(whole, limit->last);
  *fraction = at - whole;
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_cvttps_epi32((__m512)whole);
#else
  return __builtin_convertvector(whole, simd_int);
#endif
}

/* Moves cells into the volume along an axis and mirrors those half outside. */
static inline void edge_axis(int extent, simd_int *low, simd *fraction, simd *sign,
                             simd_int outside[2]) {
  const int last = extent - 1, many = -(last > 0); /* cells of an axis of one voxel stay */
  const simd one = simd_all(1);
  const simd_int below = *low == -1, above = *low == last, lost = (*low < -1) | (*low > last);
  const simd_int mirrored = below | (above & many);
  *sign = simd_select(mirrored, -one, one);
  *fraction = simd_select(mirrored, one - *fraction, *fraction);
  outside[0] = lost | (above & many);
  outside[1] = lost | below | (above & ~many);
  *low = (*low > 0) & *low & many;
  *low -= (*low >= last) & (*low - last + 1) & many;
}

static __attribute__((noinline)) void edge_make(const struct sample *sample, struct tile *tile,
                                                int i, simd_int low[3]) {
  const int extent[3] = {sample->shape.d, sample->shape.h, sample->shape.w};
  struct edge *edge = &tile->edge[i];
  simd_int outside[3][2];
  for (int k = 0; k < 3; k++)
    edge_axis(extent[k], &low[k], &tile->fraction[k][i], &edge->sign[k], outside[k]);
  edge->outside[0] = edge->outside[1] = (simd_int){0};
  for (int k = 0; k < SIMD_CORNERS; k++) {
    simd_int any = outside[0][k & 1] | outside[1][k >> 1 & 1] | outside[2][k >> 2];
    edge->outside[k >> 1 & 1] |= any & (int)(0xffU << 8 * (2 * (k & 1) + (k >> 2)));
  }
  tile->voxel[i] = simd_voxel(&sample->box, low);
  tile->is_edge[i] = true;
  tile->edges[tile->edge_count++] = i;
}

/* The columns of vector i; the lanes behind the row's end count as its last voxel but one. */
static inline simd_int tile_columns(const struct tile *tile, int i, int extent) {
  const simd_int column = *(const simd_int *)simd_lane_numbers + tile->w[i];
  const simd_int behind = column >= extent;
  if (__builtin_expect(tile->lanes[i] == SIMD_LANES, 1)) return column;
  return (~behind & column) | (behind & (extent - 2));
}

static inline int vectors_per_row(const struct sample *sample) {
  return (sample->shape.w + SIMD_WIDTH - 1) / SIMD_WIDTH;
}

/* The tile of slice d that starts with this one of its vectors. */
static inline void tile_start(const struct sample *sample, struct tile *tile, int d, int vector) {
  const struct shape *s = &sample->shape;
  const int row = vectors_per_row(sample), left = s->h * row - vector;
  int h = vector / row, w = vector % row * SIMD_WIDTH;
  tile->d = d;
  tile->count = left < VECTORS ? left : VECTORS;
  tile->edge_count = 0;
  for (int i = 0; i < tile->count; i++) {
    tile->h[i] = h;
    tile->w[i] = w;
    tile->at[i] = (d * s->h + h) * s->w + w;
    tile->lanes[i] = simd_lanes_until(s->w - w);
    w += SIMD_WIDTH;
    h += w >= s->w;
    w = w < s->w ? w : 0;
  }
}

static inline __attribute__((always_inline)) void tile_place(const struct sample *sample,
                                                             struct tile *tile, bool border) {
  const struct shape s = sample->shape;
  const struct simd_box box = sample->box;
  const int64_t step = (int64_t)s.d * s.h * s.w;
  const float *u = sample->u;
  const int count = tile->count, d = tile->d;
  struct limit limit[3];
  limit[0] = limit_make(simd_all((float)d), s.d, border);
  for (int i = 0; i < count; i++) {
    const simd_int column = tile_columns(tile, i, s.w);
    simd_int low[3];
    limit[1] = limit_make(simd_all((float)tile->h[i]), s.h, border);
    limit[2] = limit_make(__builtin_convertvector(column, simd), s.w, border);
    SIMD_UNROLL
    for (int k = 0; k < 3; k++)
      low[k] = limit_split(&limit[k], border,
                           simd_load_lanes(u + k * step + tile->at[i], tile->lanes[i]),
                           &tile->fraction[k][i]);
    low[0] += d;
    low[1] += tile->h[i];
    low[2] += column;
    if (!border) {
      unsigned whole = SIMD_LANES;
      for (int k = 0; k < 3; k++) whole &= simd_lanes_below(low[k], box.pairs[k]);
      tile->is_edge[i] = false;
      if (__builtin_expect(whole != SIMD_LANES, 0)) {
        edge_make(sample, tile, i, low);
        continue;
      }
    }
    tile->voxel[i] = simd_voxel(&box, low);
  }
}

/* --- the labels of the corners --- */

/* Of some lanes, one by one. */
static void quads_by_lane(const struct sample *sample, struct tile *tile, int i, unsigned lanes) {
  for (; lanes; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const unsigned char *from = sample->moving + ((const int *)&tile->voxel[i])[lane];
    for (int q = 0; q < QUADS; q++) {
      unsigned char *to = (unsigned char *)&tile->quad[i][q] + 4 * lane;
      memcpy(to, from + sample->box.row[2 * q], 2);
      memcpy(to + 2, from + sample->box.row[2 * q + 1], 2);
    }
  }
}

#if defined SIMD_ISA_AVX512

/* 64 bytes of each of the cells' rows, those before and behind the first lane's: neighbours fall
 * into few such windows. Gives the lanes that are in none yet. */
enum { WINDOW = 64, BEFORE = 24, ROUNDS = 6 };

__attribute__((target("avx512vbmi"))) static inline unsigned quads_window(
    const struct sample *sample, struct tile *tile, int i, unsigned left) {
  const struct simd_box *box = &sample->box;
  const int room = box->last - WINDOW + 1;
  const __m512i voxel = (__m512i)tile->voxel[i];
  const __m512i spread =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  const __m512i corner = _mm512_set1_epi32(0x41400100);
  int at = ((const int *)&tile->voxel[i])[__builtin_ctz(left)] - BEFORE;
  at = at < 0 ? 0 : at < room ? at : room;
  const __m512i place = _mm512_sub_epi32(voxel, _mm512_set1_epi32(at));
  const __mmask16 here =
      _mm512_mask_cmplt_epu32_mask((__mmask16)left, place, _mm512_set1_epi32(WINDOW - 1));
  const __m512i byte = _mm512_add_epi8(_mm512_shuffle_epi8(place, spread), corner);
  const unsigned char *from = sample->moving + at;
  for (int q = 0; q < QUADS; q++) {
    __m512i found = _mm512_permutex2var_epi8(_mm512_loadu_si512(from + box->row[2 * q]), byte,
                                             _mm512_loadu_si512(from + box->row[2 * q + 1]));
    _mm512_mask_store_epi32(&tile->quad[i][q], here, found);
  }
  return left & ~(unsigned)here;
}

__attribute__((target("avx512vbmi"), noinline)) static void tile_windows(
    const struct sample *sample, struct tile *tile) {
  unsigned left[VECTORS];
  int list[VECTORS], count = 0;
  for (int i = 0; i < tile->count; i++) {
    list[count] = i;
    left[i] = quads_window(sample, tile, i, SIMD_LANES);
    count += left[i] != 0;
  }
  for (int round = 1; count && round < ROUNDS; round++) {
    const int before = count;
    count = 0;
    for (int n = 0; n < before; n++) {
      const int i = list[n];
      list[count] = i;
      left[i] = quads_window(sample, tile, i, left[i]);
      count += left[i] != 0;
    }
  }
  for (int n = 0; n < count; n++) quads_by_lane(sample, tile, list[n], left[list[n]]);
}

static bool windows_available(const struct simd_box *box) {
  return __builtin_cpu_supports("avx512vbmi") && box->last >= WINDOW - 1;
}

#else

static void tile_windows(const struct sample *sample, struct tile *tile) {
  (void)sample;
  (void)tile;
}

static bool windows_available(const struct simd_box *box) {
  (void)box;
  return false;
}

#endif

/* Of the first lane's lowest corner. */
static inline int tile_label(const struct tile *tile, int i) {
  return *(const unsigned char *)tile->quad[i];
}

/* Corners outside the volume get this label, too. */
static void edge_fill(struct tile *tile, int i) {
  const simd_int all = bytes_all(tile_label(tile, i));
  for (int q = 0; q < QUADS; q++) {
    const simd_int outside = tile->edge[i].outside[q];
    tile->quad[i][q] = (outside & all) | (~outside & tile->quad[i][q]);
  }
}

static void tile_find(const struct sample *sample, int d, int vector, struct tile *tile) {
  tile_start(sample, tile, d, vector);
  if (sample->border)
    tile_place(sample, tile, true);
  else
    tile_place(sample, tile, false);
  if (sample->windows)
    tile_windows(sample, tile);
  else
    for (int i = 0; i < tile->count; i++) quads_by_lane(sample, tile, i, SIMD_LANES);
  for (int n = 0; n < tile->edge_count; n++) edge_fill(tile, tile->edges[n]);
}

/* Whether there is more than one label, of which vectors none of whose corners is outside. */
static inline bool tile_mixed(const struct sample *sample, const struct tile *tile, int i,
                              int label) {
#if defined SIMD_ISA_AVX512
  const __m512i all = _mm512_set1_epi8((char)label);
  const __m512i first = _mm512_xor_si512((__m512i)tile->quad[i][0], all);
  const __m512i other = _mm512_ternarylogic_epi32((__m512i)tile->quad[i][1], all, first, 0xbe);
  const bool unlike = _mm512_test_epi32_mask(other, other) != 0;
#else
  const bool unlike =
      (bytes_unlike(tile->quad[i][0], label) | bytes_unlike(tile->quad[i][1], label)) != 0;
#endif
  return unlike | (!sample->border && tile->is_edge[i]);
}

/* The other labels of a vector's corners. */
struct others {
  uint64_t left[QUADS]; /* corners whose label has not come yet */
};

static inline struct others others_start(const simd_int quad[QUADS], int label) {
  return (struct others){{bytes_unlike(quad[0], label), bytes_unlike(quad[1], label)}};
}

/* The next of them; false where there is none. */
static inline bool others_next(struct others *others, const simd_int quad[QUADS], int *label) {
  const unsigned char *byte = (const unsigned char *)quad;
  if (!(others->left[0] | others->left[1])) return false;
  *label = others->left[0] ? byte[__builtin_ctzll(others->left[0])]
                           : byte[sizeof *quad + (size_t)__builtin_ctzll(others->left[1])];
  for (int q = 0; q < QUADS; q++) others->left[q] &= bytes_unlike(quad[q], *label);
  return true;
}
