/* loss_smooth by rows of planar tensors. Forward adds the differences of a row into one float64 per
 * column, so that the lanes of a vector are columns and the order of the sum is fixed. Backward
 * gathers: for every tap of every term the difference that reads this voxel through it is computed
 * again, which costs less than storing them. */
#include <math.h>
#include <string.h>
#include "kernels/common/fold.h"
#include "kernels/common/simd.h"
#include "kernels/loss_smooth/terms.h"

enum { TILE = 256 }; /* columns per piece: what is kept per row stays in the first cache */

/* A term's difference along a row: the sum of coefficient[k] * from[k][i]. */
struct row {
  int taps;
  const float *from[SMOOTH_MOST_TAPS];
  float coefficient[SMOOTH_MOST_TAPS];
};

static bool within(const struct smooth_term *term, int axis, int at) {
  return at >= term->first[axis] && at < term->end[axis];
}

/* The row (d, h) of a term from column w on; `volume` is one component. */
static struct row row_make(const struct smooth_term *term, const struct shape *shape,
                           const float *volume, int d, int h, int w) {
  struct row row = {.taps = term->taps};
  for (int k = 0; k < term->taps; k++) {
    const int *offset = term->tap[k].offset;
    int64_t line = (int64_t)(d + offset[0]) * shape->h + h + offset[1];
    row.from[k] = volume + line * shape->w + w + offset[2];
    row.coefficient[k] = (float)term->tap[k].coefficient;
  }
  return row;
}

static inline float row_value(const struct row *row, int taps, int i) {
  float value = row->coefficient[0] * row->from[0][i] + row->coefficient[1] * row->from[1][i];
  if (taps > 2) value += row->coefficient[2] * row->from[2][i];
  if (taps > 3) value += row->coefficient[3] * row->from[3][i];
  return value;
}

static inline float sign(float value) {
  return (float)(value > 0) - (float)(value < 0);
}

/* One function for every number of taps and kind of penalty, so that the loops are plain. */
#define ROW_FUNCTIONS(name, taps, energy, slope)                                                  \
  static void energy_##name(const struct row *row, float scale, int count, float *restrict sum) { \
    struct row r = *row;                                                                          \
    for (int i = 0; i < count; i++) {                                                             \
      float value = row_value(&r, taps, i);                                                       \
      sum[i] += scale * (energy);                                                                 \
    }                                                                                             \
  }                                                                                               \
  static void slope_##name(const struct row *row, float scale, int count, float *restrict sum) {  \
    struct row r = *row;                                                                          \
    for (int i = 0; i < count; i++) {                                                             \
      float value = row_value(&r, taps, i);                                                       \
      sum[i] += scale * (slope);                                                                  \
    }                                                                                             \
  }

ROW_FUNCTIONS(squared_2, 2, value *value, 2 * value)
ROW_FUNCTIONS(squared_3, 3, value *value, 2 * value)
ROW_FUNCTIONS(squared_4, 4, value *value, 2 * value)
ROW_FUNCTIONS(absolute_2, 2, fabsf(value), sign(value))

typedef void row_function(const struct row *row, float scale, int count, float *restrict sum);

/* By [absolute][taps]. */
static row_function *const energies[2][SMOOTH_MOST_TAPS + 1] = {
    {NULL, NULL, energy_squared_2, energy_squared_3, energy_squared_4},
    {NULL, NULL, energy_absolute_2}};
static row_function *const slopes[2][SMOOTH_MOST_TAPS + 1] = {
    {NULL, NULL, slope_squared_2, slope_squared_3, slope_squared_4},
    {NULL, NULL, slope_absolute_2}};

static int larger(int a, int b) {
  return a > b ? a : b;
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

/* --- forward --- */

/* Adds the energies of row (d, h), columns [begin, end), to sum[0..end-begin). */
static void energy_row(const struct smooth_penalty *penalty, const struct shape *shape,
                       const float *volume, const int at[2], int begin, int end, double *sum) {
  float energy[TILE] = {0};
  for (int t = 0; t < penalty->terms; t++) {
    const struct smooth_term *term = &penalty->term[t];
    int first = larger(begin, term->first[2]), last = smaller(end, term->end[2]);
    if (!within(term, 0, at[0]) || !within(term, 1, at[1]) || first >= last) continue;
    struct row row = row_make(term, shape, volume, at[0], at[1], first);
    float scale = (float)(term->scale / penalty->term[0].scale);
    energies[penalty->absolute][term->taps](&row, scale, last - first, energy + first - begin);
  }
  for (int i = 0; i < end - begin; i++) sum[i] += (double)energy[i];
}

static double slice_energy(const struct smooth_penalty *penalty, const struct shape *shape,
                           const float *volume, int d) {
  double total = 0;
  for (int begin = 0; begin < shape->w; begin += TILE) {
    int end = smaller(begin + TILE, shape->w);
    double sum[TILE] = {0};
    for (int h = 0; h < shape->h; h++)
      energy_row(penalty, shape, volume, (int[2]){d, h}, begin, end, sum);
    for (int i = 0; i < end - begin; i++) total += sum[i];
  }
  return total * penalty->term[0].scale;
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
}

static enum status loss_smooth_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  struct smooth_penalty penalty = smooth_penalty_make(node);
  struct shape shape = node->x[0].shape;
  const float *x = io->x[0];
  double *partial = io->workspace;
  int slices = slice_count(node);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) {
    const float *volume = x + i / shape.d * shape_voxels(shape);
    partial[i] = slice_energy(&penalty, &shape, volume, i % shape.d);
  }
  *(double *)io->y = fold_sum(partial, slices);
  return STATUS_OK;
}

/* --- backward --- */

/* Adds what one tap of a term brings to row (d, h), columns [begin, end). */
static void slope_tap(const struct smooth_penalty *penalty, const struct smooth_term *term,
                      const struct smooth_tap *tap, const struct shape *shape, const float *volume,
                      const int at[2], int begin, int end, float *sum) {
  int d = at[0] - tap->offset[0], h = at[1] - tap->offset[1];
  int first = larger(begin, term->first[2] + tap->offset[2]);
  int last = smaller(end, term->end[2] + tap->offset[2]);
  if (!within(term, 0, d) || !within(term, 1, h) || first >= last) return;
  struct row row = row_make(term, shape, volume, d, h, first - tap->offset[2]);
  float scale = (float)(tap->coefficient * term->scale / penalty->term[0].scale);
  slopes[penalty->absolute][term->taps](&row, scale, last - first, sum + first - begin);
}

static void slope_row(const struct smooth_penalty *penalty, const struct shape *shape,
                      const float *volume, const int at[2], int begin, int end, float *sum) {
  memset(sum, 0, (size_t)(end - begin) * sizeof *sum);
  for (int t = 0; t < penalty->terms; t++)
    for (int k = 0; k < penalty->term[t].taps; k++)
      slope_tap(penalty, &penalty->term[t], &penalty->term[t].tap[k], shape, volume, at, begin, end,
                sum);
}

static void slice_gradient(const struct smooth_penalty *penalty, const struct shape *shape,
                           const float *volume, float *dx, bool add, double dy, int d) {
  float sum[TILE], scale = (float)(dy * penalty->term[0].scale);
  for (int h = 0; h < shape->h; h++)
    for (int begin = 0; begin < shape->w; begin += TILE) {
      int end = smaller(begin + TILE, shape->w);
      slope_row(penalty, shape, volume, (int[2]){d, h}, begin, end, sum);
      float *row = dx + ((int64_t)d * shape->h + h) * shape->w + begin;
      for (int i = 0; i < end - begin; i++) row[i] = (add ? row[i] : 0) + scale * sum[i];
    }
}

static enum status loss_smooth_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  struct smooth_penalty penalty = smooth_penalty_make(node);
  struct shape shape = node->x[0].shape;
  const float *x = io->x[0];
  float *dx = io->dx[0];
  double dy = *(const double *)io->dy;
  int slices = dx ? slice_count(node) : 0;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slices; i++) {
    int64_t at = i / shape.d * shape_voxels(shape);
    slice_gradient(&penalty, &shape, x + at, dx + at, io->dx_add[0], dy, i % shape.d);
  }
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
