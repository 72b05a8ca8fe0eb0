/* The labels of the corners of warped voxels, for loss_dice_warp_labels_simd.c: a row of voxels in
 * vectors, the labels as vectors of one corner each, and sets of lanes to compare them by. */
#pragma once
#include <stdint.h>
#include <string.h>
#include "kernels/loss_dice_warp/dice.h"
#include "kernels/warp/warp_vector.h"

/* One sample. */
struct sample {
  struct shape shape;
  struct simd_box box;
  int classes;
  struct warp_arguments warp;
  const unsigned char *moving, *fixed;
  const float *u;
};

enum { TILE = 256, VECTORS = TILE / SIMD_WIDTH };

/* A vector of voxels, neighbours on the w axis. */
struct voxels {
  struct warp_vector at;
  simd_int label[SIMD_CORNERS]; /* of the corners; DICE_OUTSIDE outside the volume */
  struct simd_cells cells;
  unsigned lanes; /* which there are */
  int one;        /* the label of all corners, or -1 */
} __attribute__((aligned(64)));

/* Columns [w, w + count) of row (d, h). What differs from vector to vector is done for all of a
 * tile before what comes next: where to go on is then known early. */
struct tile {
  int w, count;
  struct voxels voxels[VECTORS];
};

/* --- sets of lanes, as comparisons give them --- */

#if defined SIMD_ISA_AVX512
typedef __mmask16 set;
static inline set set_of(unsigned lanes) {
  return (set)lanes;
}
static inline set set_equal(set among, simd_int a, int b) {
  return _mm512_mask_cmpeq_epi32_mask(among, (__m512i)a, _mm512_set1_epi32(b));
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return (simd)_mm512_mask_mov_ps((__m512)no, lanes, (__m512)yes);
}
static inline unsigned set_lanes(set lanes) {
  return lanes;
}
#else
typedef simd_int set;
static inline set set_of(unsigned lanes) {
  return simd_lanes_mask(lanes);
}
static inline set set_equal(set among, simd_int a, int b) {
  return among & (a == b);
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return simd_select(lanes, yes, no);
}
static inline unsigned set_lanes(set lanes) {
  return simd_lanes_below(~lanes, 1);
}
#endif

/* Of the first of `lanes`, which are some. */
static inline int first_of(simd_int value, unsigned lanes) {
#if defined SIMD_ISA_AVX512
  return simd_voxel_first(value, lanes);
#else
  int values[SIMD_WIDTH];
  memcpy(values, &value, sizeof values);
  return values[__builtin_ctz(lanes)];
#endif
}

/* --- the labels of the corners --- */

static simd_int bytes_of(const unsigned char *from, unsigned lanes) {
  unsigned char some[SIMD_WIDTH] = {0};
  if (lanes == SIMD_LANES) return simd_from_bytes(from);
  memcpy(some, from, (size_t)__builtin_popcount(lanes));
  return simd_from_bytes(some);
}

/* Lane by lane. */
static void find_far(const struct sample *sample, struct voxels *voxels) {
  int voxel[SIMD_WIDTH], label[SIMD_WIDTH];
  memcpy(voxel, &voxels->cells.voxel, sizeof voxel);
  for (int k = 0; k < SIMD_CORNERS; k++) {
    const unsigned char *from = sample->moving + sample->box.row[k & 3] + (k >> 2);
    unsigned inside = simd_cells_inside(&voxels->cells, k);
    memset(label, 0, sizeof label);
    for (; inside; inside &= inside - 1) {
      int lane = __builtin_ctz(inside);
      label[lane] = from[voxel[lane]];
    }
    memcpy(&voxels->label[k], label, sizeof label);
  }
}

/* Four neighbours on the w axis, the first in the lowest byte, from `at` on in every lane. */
static inline simd_int gather(const unsigned char *from, simd_int at) {
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_i32gather_epi32((__m512i)at, from, 1);
#elif defined SIMD_ISA_AVX2
  return (simd_int)_mm256_i32gather_epi32((const int *)(const void *)from, (__m256i)at, 1);
#else
  int voxel[SIMD_WIDTH], found[SIMD_WIDTH];
  simd_int value;
  memcpy(voxel, &at, sizeof voxel);
  for (int i = 0; i < SIMD_WIDTH; i++) found[i] = from[voxel[i]] | from[voxel[i] + 1] << 8;
  memcpy(&value, found, sizeof value);
  return value;
#endif
}

/* Of lanes wherever in the volume they are. Reads two bytes behind a pair. */
static inline void find_gathered(const struct sample *sample, struct voxels *voxels) {
  for (int k = 0; k < SIMD_ROWS; k++) {
    simd_int pair = gather(sample->moving + sample->box.row[k], voxels->cells.voxel);
    voxels->label[k] = pair & 0xff;
    voxels->label[k + 4] = pair >> 8 & 0xff;
  }
}

#if defined SIMD_ISA_AVX512

/* By windows of 32 bytes in each of the cells' rows, of which the first holds the first lane and so
 * on: neighbours fall into few. A word of every half of a lane is a corner. False where they would
 * be more than WINDOWS. */
static inline bool find_windows(const struct sample *sample, struct voxels *voxels) {
  enum { ALWAYS = 2, WINDOWS = 6 }; /* a loop whose end depends on data is dear */
  const struct simd_box *box = &sample->box;
  const __m512i both = _mm512_set1_epi32(0x10000);
  unsigned left = voxels->cells.some;
  __m512i pair[SIMD_ROWS];
  for (int k = 0; k < SIMD_ROWS; k++) pair[k] = _mm512_setzero_si512();
  for (int i = 0; i < ALWAYS || (left && i < WINDOWS); i++) {
    int at = simd_voxel_first(voxels->cells.voxel, left) - SIMD_BEFORE;
    at = at < 0 ? 0 : at < box->room ? at : box->room;
    const __m512i place = (__m512i)(voxels->cells.voxel - at);
    const unsigned here = left & simd_lanes_below((simd_int)place, SIMD_WINDOW - 1);
    const __m512i word =
        _mm512_add_epi32(_mm512_or_si512(place, _mm512_slli_epi32(place, 16)), both);
    const __mmask32 words = _mm512_movepi16_mask(_mm512_movm_epi32((__mmask16)here));
    for (int k = 0; k < SIMD_ROWS; k++) {
      const void *row = sample->moving + at + box->row[k];
      pair[k] = _mm512_mask_permutexvar_epi16(pair[k], words, word,
                                              _mm512_cvtepu8_epi16(_mm256_loadu_si256(row)));
    }
    left &= ~here;
  }
  for (int k = 0; k < SIMD_ROWS; k++) {
    voxels->label[k] = (simd_int)_mm512_and_si512(pair[k], _mm512_set1_epi32(0xffff));
    voxels->label[k + 4] = (simd_int)_mm512_srli_epi32(pair[k], 16);
  }
  return !left;
}

#else

static inline bool find_windows(const struct sample *sample, struct voxels *voxels) {
  (void)sample;
  (void)voxels;
  return false;
}

#endif

/* Finds the labels; sets the one that all corners of all lanes have, or -1. */
static inline void find_labels(const struct sample *sample, struct voxels *voxels) {
  const struct simd_box *box = &sample->box;
  const struct simd_cells *cells = &voxels->cells;
  if (!cells->near)
    find_far(sample, voxels);
  else if (!find_windows(sample, voxels)) {
    if (simd_lanes_below(cells->voxel, box->last - 2) == SIMD_LANES)
      find_gathered(sample, voxels);
    else
      find_far(sample, voxels);
  }
  voxels->one = -1;
  if (cells->whole) {
    const int first = first_of(voxels->label[0], SIMD_LANES);
    set alike = set_of(SIMD_LANES);
    for (int k = 0; k < SIMD_CORNERS; k++) alike = set_equal(alike, voxels->label[k], first);
    voxels->one = set_lanes(alike) == SIMD_LANES ? first : -1;
    return;
  }
  for (int k = 0; k < SIMD_CORNERS; k++)
    voxels->label[k] = (simd_int)simd_pick(simd_cells_inside(cells, k), (simd)voxels->label[k],
                                           (simd)(DICE_OUTSIDE - (simd_int){0}));
}

/* Goes through the labels of the corners of a vector. */
struct labels {
  set left[SIMD_CORNERS]; /* lanes whose label has not come yet */
  set own[SIMD_CORNERS];  /* those of label `now` */
  int now;
};

static inline struct labels labels_start(const struct voxels *voxels) {
  struct labels labels = {.now = first_of(voxels->label[0], SIMD_LANES)};
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++) {
    labels.left[k] = set_of(SIMD_LANES);
    labels.own[k] = set_equal(labels.left[k], voxels->label[k], labels.now);
  }
  return labels;
}

/* Goes to the next one; false where there is none. */
static inline bool labels_next(struct labels *labels, const struct voxels *voxels) {
  simd_int other = {0};
  set some = set_of(0);
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++) {
    labels->left[k] &= (set)~labels->own[k];
    some |= labels->left[k];
    other = (simd_int)set_pick(labels->left[k], (simd)voxels->label[k], (simd)other);
  }
  unsigned lanes = set_lanes(some);
  if (!lanes) return false;
  labels->now = first_of(other, lanes);
  SIMD_UNROLL
  for (int k = 0; k < SIMD_CORNERS; k++)
    labels->own[k] = set_equal(labels->left[k], voxels->label[k], labels->now);
  return true;
}

/* The voxels of row (d, h) from column w on. */
static inline void place(const struct sample *sample, int d, int h, int w, struct voxels *voxels) {
  const struct shape *s = &sample->shape;
  const int extent[3] = {s->d, s->h, s->w}, first[3] = {d, h, w};
  const float *u = sample->u + ((int64_t)d * s->h + h) * s->w + w;
  const int64_t step = (int64_t)s->d * s->h * s->w;
  simd by[3];
  voxels->lanes = simd_lanes_until(s->w - w);
  for (int k = 0; k < 3; k++) by[k] = simd_load_lanes(u + k * step, voxels->lanes);
  voxels->at = warp_vector_find(by, first, extent, &sample->warp);
  simd_cells_find(&voxels->cells, &sample->box, voxels->at.low, voxels->lanes);
}

static void tile_find(const struct sample *sample, int d, int h, int w, struct tile *tile) {
  const int left = sample->shape.w - w;
  tile->w = w;
  tile->count = left < TILE ? left : TILE;
  for (int i = 0; i * SIMD_WIDTH < tile->count; i++)
    place(sample, d, h, w + i * SIMD_WIDTH, &tile->voxels[i]);
  for (int i = 0; i * SIMD_WIDTH < tile->count; i++) find_labels(sample, &tile->voxels[i]);
}
