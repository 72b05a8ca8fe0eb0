/* The labels of the corners of warped voxels, for loss_dice_warp_labels_simd.c: of a stretch of a
 * row, by vectors of neighbours on the w axis. A vector of corner labels holds four bytes in every
 * lane, so that two of them are all corners, and one label is compared with all at once. */
#pragma once
#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include "kernels/common/simd_cells.h"
#include "kernels/loss_dice_warp/dice.h"
#include "kernels/loss_dice_warp/label_lanes.h"

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

/* So many floats ahead is fetched what is read or written once, in three places at a time. */
enum { AHEAD = 512 };

/* Of a vector some of whose corners are outside the volume: these corners, as bytes of ones, and -1
 * for axes on which a cell half outside has been moved inside and mirrored, else 1. */
struct edge {
  simd_int outside[QUADS];
  simd sign[3];
};

/* Where a vector of neighbours on the w axis falls. */
struct place {
  alignas(64) simd fraction[3]; /* of the upper corners, 0 to 1 */
  simd_int voxel;               /* the lowest corner's number; all lie in the volume */
  simd_int quad[QUADS];         /* labels of the corners (d h w) 000 001 100 101; 010 011 110 111 */
  int at;                       /* the first lane's voxel */
  unsigned lanes;               /* which there are */
  unsigned left;                /* of these, whose labels are yet to be found */
  int edge;                     /* HELD, INNER or its number among the tile's edges */
};

/* Inner voxels are not at the border, or without padding, with all corners in the volume. Padding
 * may hold those at the border. */
enum { HELD = -2, INNER = -1 };

/* Vectors of a slice, row after row. What differs from vector to vector is done for all of a tile
 * before what comes next: where to go on is then known early. */
struct tile {
  struct place place[VECTORS];
  struct edge edge[VECTORS];
  int edges, count;
  int d, vector, row; /* the slice; of its vectors the first; how many there are in a row */
};

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

static inline simd floor_of(simd value) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_roundscale_ps((__m512)value, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined SIMD_ISA_AVX2
  return (simd)_mm256_floor_ps((__m256)value);
#else
  const simd far = simd_all(1 << 30); /* an int holds it */
  value = simd_select((value > -far) & (value < far), value, -far);
  const simd_int number = __builtin_convertvector(value, simd_int);
  const simd whole = __builtin_convertvector(number, simd);
  return whole + __builtin_convertvector((simd_int)(value < whole), simd);
#endif
}

/* Of what floor_of gives; of what no int holds, one that no sum with an index makes fit. */
static inline simd_int number_of(simd whole) {
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_cvttps_epi32((__m512)whole);
#elif defined SIMD_ISA_AVX2
  return (simd_int)_mm256_cvttps_epi32((__m256)whole);
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
                                                struct place *place, const simd_int at[3]) {
  const int extent[3] = {sample->shape.d, sample->shape.h, sample->shape.w};
  struct edge *edge = &tile->edge[tile->edges];
  simd_int outside[3][2], low[3] = {at[0], at[1], at[2]};
  for (int k = 0; k < 3; k++)
    edge_axis(extent[k], &low[k], &place->fraction[k], &edge->sign[k], outside[k]);
  edge->outside[0] = edge->outside[1] = (simd_int){0};
  for (int k = 0; k < SIMD_CORNERS; k++) {
    simd_int any = outside[0][k & 1] | outside[1][k >> 1 & 1] | outside[2][k >> 2];
    edge->outside[k >> 1 & 1] |= any & (int)(0xffU << 8 * (2 * (k & 1) + (k >> 2)));
  }
  place->voxel = simd_voxel(&sample->box, low);
  place->edge = tile->edges++;
}

/* The columns of a vector; the lanes behind the row's end count as its last voxel but one. */
static inline simd_int columns_of(int w, int extent) {
  const simd_int column = *(const simd_int *)simd_lane_numbers + w, behind = column >= extent;
  if (__builtin_expect(w + SIMD_WIDTH <= extent, 1)) return column;
  return (~behind & column) | (behind & (extent - 2));
}

static inline int vectors_per_row(const struct sample *sample) {
  return (sample->shape.w + SIMD_WIDTH - 1) / SIMD_WIDTH;
}

/* The voxels themselves, by axis. */
static inline void place_index(const struct sample *sample, const struct tile *tile,
                               const struct place *place, simd_int index[3]) {
  const int vector = tile->vector + (int)(place - tile->place);
  index[0] = tile->d - (simd_int){0};
  index[1] = vector / tile->row - (simd_int){0};
  index[2] = columns_of(vector % tile->row * SIMD_WIDTH, sample->shape.w);
}

/* Of voxels that may leave the volume. */
static inline void place_any(const struct sample *sample, struct tile *tile, struct place *place) {
  const struct shape s = sample->shape;
  const int extent[3] = {s.d, s.h, s.w};
  const int64_t step = (int64_t)s.d * s.h * s.w;
  simd_int index[3], low[3];
  place_index(sample, tile, place, index);
  for (int k = 0; k < 3; k++) {
    const struct limit limit =
        limit_make(__builtin_convertvector(index[k], simd), extent[k], sample->border);
    const simd u = simd_load_lanes(sample->u + place->at + k * step, place->lanes);
    const simd at = simd_min(simd_max(u, limit.low), limit.high);
    const simd whole = simd_min(floor_of(at), sample->border ? limit.last : at);
    place->fraction[k] = at - whole;
    low[k] = number_of(whole) + index[k];
  }
  place->voxel = simd_voxel(&sample->box, low);
  place->edge = HELD;
  if (!sample->border) edge_make(sample, tile, place, low);
}

/* Inner voxels: none of their cells touches the border, or without padding, leaves the volume. */
struct inner {
  int first, count[3]; /* of the cells, by axis */
};

/* Of column w of row h; false where some voxels are not inner ones. */
static inline __attribute__((always_inline)) bool place_inner(const struct sample *sample,
                                                              const struct inner *inner, int d,
                                                              int h, int w, struct place *place) {
  const struct shape *s = &sample->shape;
  const int at = (d * s->h + h) * s->w + w;
  const int64_t step = (int64_t)s->d * s->h * s->w;
  const unsigned lanes = simd_lanes_until(s->w - w);
  const simd_int none = {0};
  const simd_int index[3] = {none + d, none + h, columns_of(w, s->w)};
  const float *u = sample->u + at;
  simd_int low[3];
  set within = set_of(SIMD_LANES);
  SIMD_UNROLL
  for (int k = 0; k < 3; k++) {
    __builtin_prefetch(u + k * step + AHEAD);
    const simd by = simd_load_lanes(u + k * step, lanes), whole = floor_of(by);
    low[k] = number_of(whole) + index[k];
    place->fraction[k] = by - whole;
    const simd_bits from = (simd_bits)low[k] - (unsigned)inner->first; /* wraps where far away */
    within = set_below(within, (simd_int)from, inner->count[k]);
  }
  place->voxel = simd_voxel(&sample->box, low);
  place->at = at;
  place->lanes = lanes;
  place->edge = INNER;
  return set_lanes(within) == SIMD_LANES;
}

/* The tile of slice d that starts with this one of its vectors. */
static void tile_place(const struct sample *shared, int d, int vector, struct tile *tile) {
  const struct sample sample = *shared; /* stores of vectors may change what has an address */
  const struct shape s = sample.shape;
  const int row = vectors_per_row(&sample), left = s.h * row - vector;
  const int count = left < VECTORS ? left : VECTORS, extent[3] = {s.d, s.h, s.w};
  struct inner inner = {.first = sample.border};
  struct place *others[VECTORS];
  int h = vector / row, w = vector % row * SIMD_WIDTH, other = 0;
  for (int k = 0; k < 3; k++)
    inner.count[k] = extent[k] - 1 > inner.first ? extent[k] - 1 - inner.first : 0;
  tile->edges = 0;
  tile->count = count;
  tile->d = d;
  tile->vector = vector;
  tile->row = row;
  for (int i = 0; i < count; w = 0, h++)
    for (; i < count && w < s.w; i++, w += SIMD_WIDTH) {
      others[other] = &tile->place[i];
      other += !place_inner(&sample, &inner, d, h, w, &tile->place[i]);
    }
  for (int n = 0; n < other; n++) place_any(&sample, tile, others[n]);
}

/* --- the labels of the corners --- */

/* Of the lanes left, one by one. */
static void quads_by_lane(const struct sample *sample, struct place *place) {
  for (unsigned lanes = place->left; lanes; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const unsigned char *from = sample->moving + ((const int *)&place->voxel)[lane];
    for (int q = 0; q < QUADS; q++) {
      unsigned char *to = (unsigned char *)&place->quad[q] + 4 * lane;
      memcpy(to, from + sample->box.row[2 * q], 2);
      memcpy(to + 2, from + sample->box.row[2 * q + 1], 2);
    }
  }
}

#if defined SIMD_ISA_AVX512

/* 64 bytes of each of the cells' rows, before and behind the first lane left: neighbours fall into
 * few such windows. */
enum { WINDOW = 64, BEFORE = 24, ROUNDS = 6 };

struct windows {
  const unsigned char *moving;
  int room, row[SIMD_ROWS];
};

__attribute__((target("avx512vbmi"))) static inline unsigned quads_window(
    const struct windows *windows, struct place *place, unsigned left) {
  const __m512i voxel = (__m512i)place->voxel;
  const __m512i spread =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  const __m512i corner = _mm512_set1_epi32(0x41400100);
  int at = ((const int *)&place->voxel)[__builtin_ctz(left)] - BEFORE;
  at = at < 0 ? 0 : at;
  at = at < windows->room ? at : windows->room;
  const __m512i where = _mm512_sub_epi32(voxel, _mm512_set1_epi32(at));
  const __mmask16 here =
      _mm512_mask_cmplt_epu32_mask((__mmask16)left, where, _mm512_set1_epi32(WINDOW - 1));
  const __m512i byte = _mm512_add_epi8(_mm512_shuffle_epi8(where, spread), corner);
  const unsigned char *from = windows->moving + at;
  for (int q = 0; q < QUADS; q++) {
    __m512i found = _mm512_permutex2var_epi8(_mm512_loadu_si512(from + windows->row[2 * q]), byte,
                                             _mm512_loadu_si512(from + windows->row[2 * q + 1]));
    if (left != SIMD_LANES) found = _mm512_mask_mov_epi32((__m512i)place->quad[q], here, found);
    place->quad[q] = (simd_int)found;
  }
  return left & ~(unsigned)here;
}

__attribute__((target("avx512vbmi"), noinline)) static void tile_windows(
    const struct sample *sample, struct tile *tile) {
  const struct windows windows = {
      sample->moving,
      sample->box.last - WINDOW + 1,
      {sample->box.row[0], sample->box.row[1], sample->box.row[2], sample->box.row[3]}};
  const int all = tile->count;
  struct place *list[VECTORS];
  int count = 0;
  for (int i = 0; i < all; i++) {
    struct place *place = &tile->place[i];
    place->left = quads_window(&windows, place, SIMD_LANES);
    list[count] = place;
    count += place->left != 0;
  }
  for (int round = 1; count && round < ROUNDS; round++) {
    const int before = count;
    count = 0;
    for (int n = 0; n < before; n++) {
      struct place *place = list[n];
      place->left = quads_window(&windows, place, place->left);
      list[count] = place;
      count += place->left != 0;
    }
  }
  for (int n = 0; n < count; n++) quads_by_lane(sample, list[n]);
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
static inline int place_label(const struct place *place) {
  return *(const unsigned char *)place->quad;
}

/* Corners outside the volume get this label, too. */
static void edge_fill(const struct tile *tile, struct place *place) {
  const simd_int all = bytes_all(place_label(place));
  for (int q = 0; q < QUADS; q++) {
    const simd_int outside = tile->edge[place->edge].outside[q];
    place->quad[q] = (outside & all) | (~outside & place->quad[q]);
  }
}

static void tile_find(const struct sample *sample, int d, int vector, struct tile *tile) {
  tile_place(sample, d, vector, tile);
  if (sample->windows) tile_windows(sample, tile);
  for (int i = 0; i < tile->count && !sample->windows; i++) {
    tile->place[i].left = SIMD_LANES;
    quads_by_lane(sample, &tile->place[i]);
  }
  for (int i = 0; i < tile->count && tile->edges; i++)
    if (tile->place[i].edge >= 0) edge_fill(tile, &tile->place[i]);
}

/* A vector that may be of more than one label: its corners whose label has not come yet, at first
 * those of another than its first one; the label to go on with, -1 behind the last. */
struct mixed {
  const struct place *place;
  uint64_t left[QUADS];
  int label;
};

/* Whether there is more than its first label; of vectors at an edge, always. */
static inline bool mixed_make(struct mixed *mixed, const struct place *place, int first) {
  mixed->place = place;
  for (int q = 0; q < QUADS; q++) mixed->left[q] = bytes_unlike(place->quad[q], first);
  return (mixed->left[0] | mixed->left[1]) != 0 || place->edge >= 0;
}

/* The first time long before the label is used, so that nothing waits for it. */
static inline void mixed_next(struct mixed *mixed) {
  const simd_int *quad = mixed->place->quad;
  const unsigned char *byte = (const unsigned char *)quad;
  const uint64_t near = mixed->left[0], far = mixed->left[1];
  mixed->label = -1;
  if (!(near | far)) return;
  mixed->label =
      near ? byte[__builtin_ctzll(near)] : byte[sizeof *quad + (size_t)__builtin_ctzll(far)];
  for (int q = 0; q < QUADS; q++) mixed->left[q] &= bytes_unlike(quad[q], mixed->label);
}
