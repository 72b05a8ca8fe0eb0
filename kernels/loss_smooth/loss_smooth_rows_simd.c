/* loss_smooth by vectors of columns, of planar tensors. Forward adds the differences of a slice
 * into one float64 per column, so that the order of the sum is fixed. Backward gathers: the
 * differences that read a voxel are computed again, which costs less than storing them. */
#include <string.h>
#include "kernels/common/fold.h"
#include "kernels/common/simd_cells.h"
#include "kernels/loss_smooth/bending_slopes.h"

/* Bending energies, of 6 terms, have loops of their own; the others have a term of 2 taps for each
 * axis. */
enum { TERMS = 3, TAPS = 2, REACH = 1 /* of a tap */ };

/* A penalty as the loops below want it. A term's taps are in the ratio 1 -1, those of bending
 * energies 1 -2 1 or 1 -1 -1 1, as products of differences are; their first coefficient is in
 * `scale`. */
struct stencil {
  const struct smooth_penalty *penalty;
  const struct shape *shape;
  int64_t at[TERMS][TAPS];        /* floats to the taps */
  float scale[SMOOTH_MOST_TERMS]; /* of the terms' energies, in units of the first term's scale */
};

static struct stencil stencil_make(const struct smooth_penalty *penalty,
                                   const struct shape *shape) {
  struct stencil stencil = {.penalty = penalty, .shape = shape};
  for (int t = 0; t < penalty->terms; t++) {
    const struct smooth_term *term = &penalty->term[t];
    double unit = term->tap[0].coefficient, ratio = term->scale / penalty->term[0].scale;
    stencil.scale[t] = (float)((penalty->absolute ? unit : unit * unit) * ratio);
    for (int k = 0; k < TAPS && t < TERMS; k++) {
      const int *offset = term->tap[k].offset;
      stencil.at[t][k] = ((int64_t)offset[0] * shape->h + offset[1]) * shape->w + offset[2];
    }
  }
  return stencil;
}

/* Columns from `begin` on that are from `first` to `end`. */
static unsigned columns(int begin, int first, int end) {
  int skip = first - begin, count = end - begin;
  if (count <= 0 || skip >= SIMD_WIDTH) return 0;
  return simd_lanes_until(count) & SIMD_LANES << (skip > 0 ? skip : 0);
}

/* easy: all of it may be read. */
static inline __attribute__((always_inline)) simd difference(const float *u, const int64_t at[TAPS],
                                                             bool easy, unsigned lanes) {
  if (easy) return simd_pick(lanes, simd_load(u + at[0]) - simd_load(u + at[1]), (simd){0});
  if (!lanes) return (simd){0};
  return simd_load_lanes(u + at[0], lanes) - simd_load_lanes(u + at[1], lanes);
}

static bool within(const struct smooth_term *term, int axis, int at) {
  return at >= term->first[axis] && at < term->end[axis];
}

/* Rows of slice d in which the differences `reach` rows and slices around are all taken. */
struct rows {
  int first, end;
};

static struct rows rows_inside(const struct stencil *stencil, int reach, int d) {
  const struct shape *s = stencil->shape;
  struct rows rows = {0, s->h};
  for (int t = 0; t < TERMS; t++) {
    const struct smooth_term *term = &stencil->penalty->term[t];
    if (!within(term, 0, d - reach) || !within(term, 0, d + reach)) return (struct rows){0, 0};
    if (rows.first < term->first[1] + reach) rows.first = term->first[1] + reach;
    if (rows.end > term->end[1] - reach) rows.end = term->end[1] - reach;
  }
  return rows;
}

/* Whether vectors may run over the ends of rows: what such rows read has a row behind it. */
static bool readable(const struct stencil *stencil) {
  return stencil->shape->w >= SIMD_WIDTH + 2 * REACH;
}

/* --- forward --- */

static inline __attribute__((always_inline)) simd energy_row(const struct stencil *stencil,
                                                             bool absolute, bool easy,
                                                             const unsigned lanes[TERMS], int h,
                                                             const float *u) {
  simd energy = {0};
  SIMD_UNROLL
  for (int t = 0; t < TERMS; t++) {
    unsigned here = easy || within(&stencil->penalty->term[t], 1, h) ? lanes[t] : 0;
    simd value = difference(u, stencil->at[t], easy, here);
    if (absolute)
      value = simd_abs(value);
    else
      value *= value;
    energy += stencil->scale[t] * value;
  }
  return energy;
}

/* Adds the energies of columns from w on of slice d. */
static inline __attribute__((always_inline)) void energy_columns(const struct stencil *stencil,
                                                                 bool absolute, const float *u,
                                                                 int d, int w, double *sum) {
  const struct shape *s = stencil->shape;
  const struct rows rows = rows_inside(stencil, 0, d);
  const bool easy = readable(stencil);
  struct simd_sum energy = {{{0}}};
  unsigned lanes[TERMS] = {0};
  for (int t = 0; t < TERMS; t++) {
    const struct smooth_term *term = &stencil->penalty->term[t];
    if (within(term, 0, d)) lanes[t] = columns(w, term->first[2], term->end[2]);
  }
  for (int h = 0; h < s->h; h++) {
    const float *at = u + ((int64_t)d * s->h + h) * s->w + w;
    if (easy && h >= rows.first && h < rows.end)
      simd_sum_add(&energy, energy_row(stencil, absolute, true, lanes, h, at));
    else
      simd_sum_add(&energy, energy_row(stencil, absolute, false, lanes, h, at));
  }
  memcpy(sum, &energy, sizeof energy);
}

static inline __attribute__((always_inline)) double slice_energy(const struct stencil *stencil,
                                                                 bool absolute, const float *u,
                                                                 int d) {
  double total = 0;
  for (int w = 0; w < stencil->shape->w; w += SIMD_WIDTH) {
    double sum[SIMD_WIDTH] = {0};
    energy_columns(stencil, absolute, u, d, w, sum);
    for (int i = 0; i < SIMD_WIDTH; i++) total += sum[i];
  }
  return total * stencil->penalty->term[0].scale;
}

static double energy_of(const struct stencil *stencil, const float *u, int d) {
  if (stencil->penalty->terms == BENDING_TERMS) {
    const struct bending bending = bending_make(stencil->penalty, stencil->shape, stencil->scale);
    return bending_slice(&bending, u, d) * stencil->penalty->term[0].scale;
  }
  return stencil->penalty->absolute ? slice_energy(stencil, true, u, d)
                                    : slice_energy(stencil, false, u, d);
}

static bool loss_smooth_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR;
}

static int slice_count(const struct node *node) {
  struct shape s = node->x[0].shape;
  return s.n * s.c * s.d;
}

static void loss_smooth_prepare(struct node *node) {
  node->forward_workspace = (size_t)slice_count(node) * sizeof(double);
  node->backward_workspace =
      (size_t)(BENDING_TABLES * bending_columns(node->x[0].shape.w)) * sizeof(float);
}

static enum status loss_smooth_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  const struct shape *shape = &node->x[0].shape;
  const struct smooth_penalty penalty = smooth_penalty_make(node);
  const struct stencil stencil = stencil_make(&penalty, shape);
  double *partial = io->workspace;
  int slices = slice_count(node);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++)
    partial[i] = energy_of(&stencil, (const float *)io->x[0] + i / shape->d * shape_voxels(*shape),
                           i % shape->d);
  *(double *)io->y = fold_sum(partial, slices);
  return STATUS_OK;
}

/* --- backward --- */

/* Which lanes of a vector of columns a term's differences reach through a tap: in slice d, by tap,
 * and then in row h. */
struct reach {
  unsigned lanes[TERMS][TAPS];
};

static inline __attribute__((always_inline)) struct reach reach_slice(const struct stencil *stencil,
                                                                      int d, int w) {
  struct reach reach;
  for (int t = 0; t < TERMS; t++)
    for (int k = 0; k < TAPS; k++) {
      const struct smooth_term *term = &stencil->penalty->term[t];
      const int *offset = term->tap[k].offset;
      reach.lanes[t][k] =
          within(term, 0, d - offset[0]) ? columns(w - offset[2], term->first[2], term->end[2]) : 0;
    }
  return reach;
}

/* The slopes' signs are what |difference| has for slopes. */
static inline simd sign(simd value) {
  const simd_int one = (simd_int)simd_all(1);
  return (simd)((simd_int)(value > 0) & one) - (simd)((simd_int)(value < 0) & one);
}

/* The gradient of a term in row h: differences in the ratio of the taps that lead to them. */
static inline __attribute__((always_inline)) simd term_slope(const struct stencil *stencil,
                                                             bool absolute, bool easy,
                                                             const struct reach *reach, int t,
                                                             int h, const float *u) {
  const struct smooth_term *term = &stencil->penalty->term[t];
  simd value[TAPS];
  SIMD_UNROLL
  for (int k = 0; k < TAPS; k++) {
    unsigned lanes = easy || within(term, 1, h - term->tap[k].offset[1]) ? reach->lanes[t][k] : 0;
    value[k] = difference(u - stencil->at[t][k], stencil->at[t], easy, lanes);
    if (absolute) value[k] = sign(value[k]);
  }
  return value[0] - value[1];
}

static inline __attribute__((always_inline)) simd slope_row(const struct stencil *stencil,
                                                            bool absolute, bool easy,
                                                            const struct reach *reach, int h,
                                                            const float *u) {
  simd sum = {0};
  SIMD_UNROLL
  for (int t = 0; t < TERMS; t++)
    sum += stencil->scale[t] * term_slope(stencil, absolute, easy, reach, t, h, u);
  return sum;
}

static inline __attribute__((always_inline)) void slope_columns(const struct stencil *stencil,
                                                                bool absolute, const float *u,
                                                                float *dx, bool add, float scale,
                                                                int d, int w) {
  const struct shape *s = stencil->shape;
  const struct rows rows = rows_inside(stencil, REACH, d);
  const struct reach reach = reach_slice(stencil, d, w);
  const unsigned lanes = simd_lanes_until(s->w - w);
  for (int h = 0; h < s->h; h++) {
    int64_t at = ((int64_t)d * s->h + h) * s->w + w;
    simd sum;
    if (h >= rows.first && h < rows.end && readable(stencil))
      sum = slope_row(stencil, absolute, true, &reach, h, u + at);
    else
      sum = slope_row(stencil, absolute, false, &reach, h, u + at);
    sum *= scale;
    if (add) sum += simd_load_lanes(dx + at, lanes);
    simd_store_lanes(dx + at, sum, lanes);
  }
}

static inline __attribute__((always_inline)) void slice_gradient(const struct stencil *stencil,
                                                                 bool absolute, const float *u,
                                                                 float *dx, bool add, float scale,
                                                                 int d) {
  for (int w = 0; w < stencil->shape->w; w += SIMD_WIDTH)
    slope_columns(stencil, absolute, u, dx, add, scale, d, w);
}

/* What slices' gradients are made of; table: of bending energies. */
struct gradient {
  struct stencil stencil;
  const float *x, *table;
  float *dx, scale;
  bool add;
};

static void gradient_of(const struct gradient *gradient, int slice) {
  const struct stencil *stencil = &gradient->stencil;
  const int d = slice % stencil->shape->d;
  const int64_t start = slice / stencil->shape->d * shape_voxels(*stencil->shape);
  const float *u = gradient->x + start, scale = gradient->scale;
  float *dx = gradient->dx + start;
  if (stencil->penalty->terms == BENDING_TERMS) {
    const struct bending bending = bending_make(stencil->penalty, stencil->shape, stencil->scale);
    bending_gradient(&bending, gradient->table, u, d, scale, gradient->add, dx);
  } else if (stencil->penalty->absolute) {
    slice_gradient(stencil, true, u, dx, gradient->add, scale, d);
  } else {
    slice_gradient(stencil, false, u, dx, gradient->add, scale, d);
  }
}

static enum status loss_smooth_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  const struct shape *shape = &node->x[0].shape;
  const struct smooth_penalty penalty = smooth_penalty_make(node);
  const double slope = (penalty.absolute ? 1 : 2) * penalty.term[0].scale * *(const double *)io->dy;
  const struct gradient gradient = {.stencil = stencil_make(&penalty, shape),
                                    .x = io->x[0],
                                    .table = io->workspace,
                                    .dx = io->dx[0],
                                    .scale = (float)slope,
                                    .add = io->dx_add[0]};
  const int slices = io->dx[0] ? slice_count(node) : 0;
  if (penalty.terms == BENDING_TERMS) {
    const struct bending bending = bending_make(&penalty, shape, gradient.stencil.scale);
    bending_fill_tables(&bending, io->workspace);
  }
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) gradient_of(&gradient, i);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_smooth_rows);
const struct kernel SIMD_NAME(loss_smooth_rows) = {
    .name = SIMD_LABEL("rows"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_smooth_applies,
    .prepare = loss_smooth_prepare,
    .forward = loss_smooth_forward,
    .backward = loss_smooth_backward,
};
