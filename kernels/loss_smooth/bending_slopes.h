/* Gradients of bending energies by rows. Of a sum of squares of differences they are differences of
 * these differences, and since all are taken in one box, products of such along the axes: 25 voxels
 * around one, with weights of where along d and h its row is, and of where along w it is. For
 * _simd.c files. */
#pragma once
#include "kernels/loss_smooth/bending.h"

/* At a place along an axis: the weights of its neighbours. What lies outside has none. */
struct bending_place {
  float second[5]; /* twice the reach before to twice the reach behind: of second differences */
  float first[3];  /* two voxels before, here, two behind: of first differences */
  float taken;     /* 1 where differences are taken, else 0 */
};

static inline struct bending_place bending_place_at(const struct bending *bending, int axis,
                                                    int at) {
  const int first = bending->first[axis], end = bending->end[axis], reach = bending->reach;
#define TAKEN(place) ((place) >= first && (place) < end ? 1.0F : 0.0F)
  const float before = TAKEN(at - reach), here = TAKEN(at), behind = TAKEN(at + reach);
  const float left = TAKEN(at - 1), right = TAKEN(at + 1);
#undef TAKEN
  return (struct bending_place){.second = {before, -2 * (before + here), before + 4 * here + behind,
                                           -2 * (here + behind), behind},
                                .first = {-left, left + right, -right},
                                .taken = here};
}

/* Floats to the voxels along d or h; none to those outside. */
struct bending_steps {
  int64_t two[3], far[2]; /* two before, here, two behind; twice the reach, or next to it where that
                             is two */
};

static inline struct bending_steps bending_steps_at(int at, int extent, int reach, int64_t step) {
  const int far = reach == 2 ? 4 : 1;
#define STEP(by) (at + (by) >= 0 && at + (by) < extent ? (by)*step : 0)
  return (struct bending_steps){{STEP(-2), 0, STEP(2)}, {STEP(-far), STEP(far)}};
#undef STEP
}

/* Of a row's neighbours; d and h as in struct bending_steps. */
struct bending_weights {
  float two[3][3], far_d[2], far_h[2]; /* [d][h]: counted where differences are taken along w */
  float mixed, mixed_d[3], mixed_h[3], along; /* times the weights of first, and second, differences
                                                 along w */
};

static inline struct bending_weights bending_weights_of(const struct bending *bending, float scale,
                                                        const struct bending_place *d,
                                                        const struct bending_place *h) {
  const int two = bending->reach == 2, far = !two;
  float of[BENDING_TERMS];
  for (int t = 0; t < BENDING_TERMS; t++) of[t] = scale * bending->scale[t];
  const float only_d = of[BENDING_D] * h->taken, only_h = of[BENDING_H] * d->taken;
  const float dw = of[BENDING_DW] * h->taken, hw = of[BENDING_HW] * d->taken;
  struct bending_weights weights = {.along = of[BENDING_W] * d->taken * h->taken,
                                    .mixed = dw * d->first[1] + hw * h->first[1]};
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) weights.two[i][k] = of[BENDING_DH] * d->first[i] * h->first[k];
  weights.two[1][1] += only_d * d->second[2] + only_h * h->second[2];
  for (int side = 0; side < 2; side++) {
    weights.two[2 * side][1] += only_d * d->second[side ? 4 - two : two];
    weights.two[1][2 * side] += only_h * h->second[side ? 4 - two : two];
    weights.far_d[side] = only_d * d->second[side ? 4 - far : far];
    weights.far_h[side] = only_h * h->second[side ? 4 - far : far];
    weights.mixed_d[2 * side] = dw * d->first[2 * side];
    weights.mixed_h[2 * side] = hw * h->first[2 * side];
  }
  return weights;
}

/* Tables of the weights along w, of as many columns as whole vectors have. */
enum { BENDING_TAKEN, BENDING_FIRST, BENDING_SECOND = 4, BENDING_TABLES = 9 };

static inline int bending_columns(int width) {
  return (width + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static inline void bending_fill_tables(const struct bending *bending, float *table) {
  const int columns = bending_columns(bending->shape.w);
  for (int w = 0; w < columns; w++) {
    const struct bending_place place = bending_place_at(bending, 2, w);
    table[BENDING_TAKEN * columns + w] = place.taken;
    for (int k = 0; k < 3; k++) table[(BENDING_FIRST + k) * columns + w] = place.first[k];
    for (int k = 0; k < 5; k++) table[(BENDING_SECOND + k) * columns + w] = place.second[k];
  }
}

/* Columns w + by on of a row; what is outside it is 0, or, where easy, any number. */
static inline __attribute__((always_inline)) simd bending_beside(const float *row, int w, int by,
                                                                 int width, bool easy) {
  if (easy) return simd_load(row + w + by);
  const unsigned before = w + by < 0 ? simd_lanes_until(-w - by) : 0;
  const int count = width - w - by;
  return simd_load_lanes(row + w + by, count > 0 ? simd_lanes_until(count) & ~before : 0);
}

/* Of a vector of columns, what its row and those around it at the same columns give: as it is, and
 * to first differences along w. */
struct bending_sums {
  simd own, mixed;
};

static inline __attribute__((always_inline)) struct bending_sums bending_sum(
    const struct bending_weights *weights, const float *u, const struct bending_steps *d,
    const struct bending_steps *h, int w, int width, bool easy) {
  simd x[3][3], own = {0}, far = {0}, mixed;
  SIMD_UNROLL
  for (int i = 0; i < 3; i++) {
    SIMD_UNROLL
    for (int k = 0; k < 3; k++) {
      x[i][k] = bending_beside(u + d->two[i] + h->two[k], w, 0, width, easy);
      own += weights->two[i][k] * x[i][k];
    }
  }
  SIMD_UNROLL
  for (int side = 0; side < 2; side++) {
    far += weights->far_d[side] * bending_beside(u + d->far[side], w, 0, width, easy);
    far += weights->far_h[side] * bending_beside(u + h->far[side], w, 0, width, easy);
  }
  mixed = weights->mixed * x[1][1];
  mixed += weights->mixed_d[0] * x[0][1] + weights->mixed_d[2] * x[2][1];
  mixed += weights->mixed_h[0] * x[1][0] + weights->mixed_h[2] * x[1][2];
  return (struct bending_sums){own + far, mixed};
}

/* Of rows [from, to) of slice d, which have the same weights and steps. */
struct bending_rows {
  int d, from, to;
  struct bending_weights weights;
  struct bending_steps step_d, step_h;
};

/* The gradient of row h. */
static inline __attribute__((always_inline)) void bending_slope_row(const struct bending_rows *rows,
                                                                    const float *table,
                                                                    const float *u, int width,
                                                                    int reach, bool add, bool easy,
                                                                    float *dx) {
#define SUM(w) bending_sum(&rows->weights, u, &rows->step_d, &rows->step_h, w, width, easy)
  const int columns = bending_columns(width);
  struct bending_sums before = {{0}, {0}}, now = {{0}, {0}}, behind = SUM(0);
  for (int w = 0; w < width; w += SIMD_WIDTH, table += SIMD_WIDTH) {
    simd along = {0}, sum;
    before = now;
    now = behind;
    behind = (struct bending_sums){{0}, {0}};
    if (w + SIMD_WIDTH < width) behind = SUM(w + SIMD_WIDTH);
    SIMD_UNROLL
    for (int k = 0; k < 5; k++)
      along += simd_load(table + (BENDING_SECOND + k) * columns) *
               bending_beside(u, w, (k - 2) * reach, width, easy);
    sum = simd_load(table + BENDING_TAKEN * columns) * now.own + rows->weights.along * along;
    sum += simd_load(table + BENDING_FIRST * columns) * simd_before(before.mixed, now.mixed, 2);
    sum += simd_load(table + (BENDING_FIRST + 1) * columns) * now.mixed;
    sum +=
        simd_load(table + (BENDING_FIRST + 2) * columns) * simd_after(now.mixed, behind.mixed, 2);
    const unsigned lanes = simd_lanes_until(width - w);
    if (add) sum += simd_load_lanes(dx + w, lanes);
    simd_store_lanes(dx + w, sum, lanes);
  }
#undef SUM
}

/* Whether vectors that begin before these rows, and those that they read, or run over their ends,
 * stay within u. */
static inline bool bending_easy(const struct shape *shape, const struct bending_rows *rows) {
  enum { BEFORE = 2, BEHIND = 4 }; /* slices and rows away, of which columns outside are read */
  const int d = rows->d > BEFORE ? rows->d - BEFORE : 0;
  const int h = rows->from > BEFORE ? rows->from - BEFORE : 0;
  return shape->w >= SIMD_WIDTH + BEHIND && d + h > 0 &&
         (rows->d + BEHIND < shape->d - 1 || rows->to + BEHIND < shape->h);
}

static inline __attribute__((always_inline)) void bending_slope_rows(
    const struct bending_rows *shared, const float *table, const struct shape *shape,
    const float *u, int reach, bool add, float *dx) {
  const struct bending_rows rows = *shared; /* stores may change what has an address */
  const bool easy = bending_easy(shape, &rows);
  const int height = shape->h, width = shape->w;
  for (int h = rows.from; h < rows.to; h++) {
    const int64_t at = ((int64_t)rows.d * height + h) * width;
    if (easy)
      bending_slope_row(&rows, table, u + at, width, reach, add, true, dx + at);
    else
      bending_slope_row(&rows, table, u + at, width, reach, add, false, dx + at);
  }
}

static inline __attribute__((always_inline)) void bending_slopes(const struct bending *bending,
                                                                 const float *table, const float *u,
                                                                 int d, float scale, int reach,
                                                                 bool add, float *dx) {
  const struct shape *shape = &bending->shape;
  const int inner = bending->first[1] + reach, outer = bending->end[1] - reach;
  const struct bending_place place_d = bending_place_at(bending, 0, d);
  struct bending_rows rows = {
      .d = d, .step_d = bending_steps_at(d, shape->d, reach, (int64_t)shape->h * shape->w)};
  for (int h = 0; h < shape->h; h = rows.to) {
    const struct bending_place place_h = bending_place_at(bending, 1, h);
    rows.from = h;
    rows.to = h >= inner && h < outer ? outer : h + 1;
    if (!bending_easy(shape, &rows)) rows.to = h + 1;
    rows.weights = bending_weights_of(bending, scale, &place_d, &place_h);
    rows.step_h = bending_steps_at(h, shape->h, reach, shape->w);
    bending_slope_rows(&rows, table, shape, u, reach, add, dx);
  }
}

/* Of slice d; `scale` is that of a difference's square, twice; table: bending_fill_tables. */
static inline void bending_gradient(const struct bending *bending, const float *table,
                                    const float *u, int d, float scale, bool add, float *dx) {
  if (bending->reach == 2)
    bending_slopes(bending, table, u, d, scale, 2, add, dx);
  else
    bending_slopes(bending, table, u, d, scale, 1, add, dx);
}
