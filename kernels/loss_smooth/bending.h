/* Bending energies by rows: all their differences are taken in one box. For _simd.c files. */
#pragma once
#include "kernels/common/simd_beside.h"
#include "kernels/common/simd_cells.h"
#include "kernels/loss_smooth/terms.h"

enum { BENDING_D, BENDING_H, BENDING_W, BENDING_DH, BENDING_DW, BENDING_HW, BENDING_TERMS };

struct bending {
  struct shape shape;
  int reach; /* voxels to the neighbours in a second difference */
  int first[3], end[3];
  float scale[BENDING_TERMS]; /* of squares of differences without their common coefficient */
};

static inline struct bending bending_make(const struct smooth_penalty *penalty,
                                          const struct shape *shape, const float *scale) {
  const struct smooth_term *term = &penalty->term[0];
  struct bending bending = {.shape = *shape, .reach = term->tap[0].offset[0]};
  for (int k = 0; k < 3; k++) {
    bending.first[k] = term->first[k];
    bending.end[k] = term->end[k];
  }
  for (int t = 0; t < BENDING_TERMS; t++) bending.scale[t] = scale[t];
  return bending;
}

/* The columns of a vector and those around it, of the row itself and of the first differences along
 * d and h. */
enum { BENDING_BEFORE, BENDING_NOW, BENDING_AFTER, BENDING_AROUND };
struct bending_columns {
  simd own[BENDING_AROUND], d[BENDING_AROUND], h[BENDING_AROUND];
};

/* A row, and where those around it are. */
struct bending_row {
  const float *here;
  int64_t row, slice;
  int width;
};

/* Column w on of the row `by` further; 0 past the row's end, or what is behind it where easy. */
static inline __attribute__((always_inline)) simd bending_load(const struct bending_row *row,
                                                               int64_t by, int w, bool easy) {
  const float *from = row->here + by + w;
  return easy ? simd_load(from) : simd_load_lanes(from, simd_lanes_until(row->width - w));
}

/* Moves on to the vector in front of column w. */
static inline __attribute__((always_inline)) void bending_move(struct bending_columns *columns,
                                                               const struct bending_row *row, int w,
                                                               bool easy) {
  const bool there = w < row->width;
  for (int k = BENDING_BEFORE; k < BENDING_AFTER; k++) {
    columns->own[k] = columns->own[k + 1];
    columns->d[k] = columns->d[k + 1];
    columns->h[k] = columns->h[k + 1];
  }
  if (!there) return;
  columns->own[BENDING_AFTER] = bending_load(row, 0, w, easy);
  columns->d[BENDING_AFTER] =
      bending_load(row, row->slice, w, easy) - bending_load(row, -row->slice, w, easy);
  columns->h[BENDING_AFTER] =
      bending_load(row, row->row, w, easy) - bending_load(row, -row->row, w, easy);
}

static inline __attribute__((always_inline)) simd bending_mixed(const simd around[BENDING_AROUND]) {
  return simd_after(around[BENDING_NOW], around[BENDING_AFTER], 1) -
         simd_before(around[BENDING_BEFORE], around[BENDING_NOW], 1);
}

/* The energies of columns from w on. */
static inline __attribute__((always_inline)) simd bending_energy(
    const float *scale, const struct bending_row *row, const struct bending_columns *columns, int w,
    int reach, bool easy) {
  const simd *own = columns->own, twice = 2 * own[BENDING_NOW];
  const int64_t slice = row->slice, next = row->row;
  const simd d = bending_load(row, reach * slice, w, easy) +
                 bending_load(row, -reach * slice, w, easy) - twice;
  const simd h =
      bending_load(row, reach * next, w, easy) + bending_load(row, -reach * next, w, easy) - twice;
  const simd along = simd_after(own[BENDING_NOW], own[BENDING_AFTER], reach) +
                     simd_before(own[BENDING_BEFORE], own[BENDING_NOW], reach) - twice;
  const simd dh =
      (bending_load(row, slice + next, w, easy) - bending_load(row, slice - next, w, easy)) -
      (bending_load(row, next - slice, w, easy) - bending_load(row, -slice - next, w, easy));
  const simd dw = bending_mixed(columns->d), hw = bending_mixed(columns->h);
  simd axes = scale[BENDING_D] * (d * d) + scale[BENDING_H] * (h * h);
  simd mixed = scale[BENDING_DH] * (dh * dh) + scale[BENDING_DW] * (dw * dw);
  axes += scale[BENDING_W] * (along * along);
  mixed += scale[BENDING_HW] * (hw * hw);
  return axes + mixed;
}

/* What row (d, h) of u adds to `sum`. easy: what vectors read past rows' ends lies within u. */
static inline __attribute__((always_inline)) void bending_add_row(const struct bending *bending,
                                                                  const float *u, int d, int h,
                                                                  int reach, bool easy,
                                                                  struct simd_sum *sum) {
  const int width = bending->shape.w, first = bending->first[2], end = bending->end[2];
  const int64_t slice = (int64_t)width * bending->shape.h;
  const struct bending_row row = {u + d * slice + (int64_t)h * width, width, slice, width};
  struct bending_columns columns = {{{0}}, {{0}}, {{0}}};
  simd energy = {0}, none = {0};
  bending_move(&columns, &row, 0, easy);
  for (int w = 0; w < end; w += SIMD_WIDTH) {
    const int skip = first > w ? first - w : 0;
    const unsigned lanes = simd_lanes_until(end - w) & ~simd_lanes_until(skip);
    bending_move(&columns, &row, w + SIMD_WIDTH, easy);
    energy +=
        simd_pick(lanes, bending_energy(bending->scale, &row, &columns, w, reach, easy), none);
  }
  simd_sum_add(sum, energy);
}

/* Of slice d, in units of the first term's scale. */
static inline double bending_slice(const struct bending *bending, const float *u, int d) {
  /* rows that are read have one behind them, but for the furthest corner of near neighbours */
  const int width = bending->shape.w;
  const bool easy = bending->reach == 2 ? width >= SIMD_WIDTH : width % SIMD_WIDTH == 0;
  struct simd_sum sum = {{{0}}};
  double lanes[SIMD_WIDTH], total = 0;
  if (d < bending->first[0] || d >= bending->end[0]) return 0;
  for (int h = bending->first[1]; h < bending->end[1]; h++)
    if (!easy)
      bending_add_row(bending, u, d, h, bending->reach, false, &sum);
    else if (bending->reach == 2)
      bending_add_row(bending, u, d, h, 2, true, &sum);
    else
      bending_add_row(bending, u, d, h, 1, true, &sum);
  memcpy(lanes, &sum, sizeof lanes);
  for (int i = 0; i < SIMD_WIDTH; i++) total += lanes[i];
  return total;
}
