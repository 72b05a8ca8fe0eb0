/* Derivatives of displacements: determinant map, folds, Learn2Reg's SDlogJ, digital diffeomorphism.
 * Sums go over a fixed number of blocks of planes, so that threads do not change them. */
#include "metrics/metrics.h"
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum { BLOCKS = 64, TETRAHEDRA = 10 };

struct field {
  const float *u;
  const int *extent;
  int64_t stride[3], voxels;
};

static struct field field_of(const float *displacement, const int extent[3]) {
  int64_t plane = (int64_t)extent[1] * extent[2];
  return (struct field){displacement, extent, {plane, extent[2], 1}, plane * extent[0]};
}

static double determinant(double m[3][3]) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
         m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

/* Determinant of the derivative at a voxel. */
static double jacobian_at(const struct field *field, const int index[3]) {
  double m[3][3];
  int64_t p = index[0] * field->stride[0] + index[1] * field->stride[1] + index[2];
  for (int axis = 0; axis < 3; axis++) {
    int back = index[axis] > 0, ahead = index[axis] < field->extent[axis] - 1;
    const float *high = field->u + p + ahead * field->stride[axis];
    const float *low = field->u + p - back * field->stride[axis];
    double step = back + ahead ? back + ahead : 1;
    for (int c = 0; c < 3; c++)
      m[axis][c] = (axis == c) + ((double)high[c * field->voxels] - low[c * field->voxels]) / step;
  }
  return determinant(m);
}

void metrics_jacobian(const float *displacement, const int extent[3], float *result) {
  struct field field = field_of(displacement, extent);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        int64_t p = i * field.stride[0] + j * field.stride[1] + k;
        result[p] = (float)jacobian_at(&field, (int[3]){i, j, k});
      }
}

/* What a block of planes adds up. */
struct sums {
  int64_t count, folded;
  double mean, squares; /* of the count values: mean, and sum of squared distances from it */
  double volume;
};

static void add_value(struct sums *sums, double value) {
  double before = value - sums->mean;
  sums->count++;
  sums->mean += before / (double)sums->count;
  sums->squares += before * (value - sums->mean);
}

/* Chan, Golub, LeVeque: means and squares of two sets taken together. */
static void merge(struct sums *to, const struct sums *from) {
  int64_t count = to->count + from->count;
  double apart = from->mean - to->mean, share = count ? (double)from->count / (double)count : 0;
  to->mean += apart * share;
  to->squares += from->squares + apart * apart * share * (double)to->count;
  to->count = count;
  to->folded += from->folded;
  to->volume += from->volume;
}

/* What is done at each voxel that is `margin` or more away from the border. */
typedef void visit(const struct field *field, const int index[3], const uint8_t *mask,
                   struct sums *sums);

static void visit_planes(const struct field *field, int first, int end, int margin,
                         visit *visit_voxel, const uint8_t *mask, struct sums *sums) {
  for (int i = first; i < end; i++)
    for (int j = margin; j < field->extent[1] - margin; j++)
      for (int k = margin; k < field->extent[2] - margin; k++)
        visit_voxel(field, (int[3]){i, j, k}, mask, sums);
}

static struct sums sum_over(const float *displacement, const int extent[3], int margin,
                            visit *visit_voxel, const uint8_t *mask) {
  struct field field = field_of(displacement, extent);
  struct sums part[BLOCKS] = {{0}}, all = {0};
  int planes = extent[0] > 2 * margin ? extent[0] - 2 * margin : 0;
#pragma omp parallel for schedule(static)
  for (int b = 0; b < BLOCKS; b++)
    visit_planes(&field, margin + (int)((int64_t)planes * b / BLOCKS),
                 margin + (int)((int64_t)planes * (b + 1) / BLOCKS), margin, visit_voxel, mask,
                 &part[b]);
  for (int b = 0; b < BLOCKS; b++) merge(&all, &part[b]);
  return all;
}

static void visit_fold(const struct field *field, const int index[3], const uint8_t *mask,
                       struct sums *sums) {
  (void)mask;
  sums->count++;
  sums->folded += !(jacobian_at(field, index) > 0);
}

double metrics_fold_percent(const float *displacement, const int extent[3]) {
  struct sums sums = sum_over(displacement, extent, 0, visit_fold, NULL);
  return 100.0 * (double)sums.folded / (double)sums.count;
}

static void visit_log(const struct field *field, const int index[3], const uint8_t *mask,
                      struct sums *sums) {
  (void)mask;
  add_value(sums, log(fmin(fmax(jacobian_at(field, index) + 3, 1e-9), 1e9)));
}

double metrics_deviation_log_jacobian_l2r(const float *displacement, const int extent[3]) {
  struct sums sums = sum_over(displacement, extent, 2, visit_log, NULL);
  return sums.count ? sqrt(sums.squares / (double)sums.count) : NAN;
}

/* The ten determinants: rows are T(x + offset) - T(x), T(x) = x + u(x); sign makes that of the
 * identity positive. Eight tetrahedra at the corner x of a cube, two in the middle of the cubes
 * above and below. */
static const struct {
  signed char offset[3][3], sign;
} tetrahedra[TETRAHEDRA] = {
    {{{+1, 0, 0}, {0, +1, 0}, {0, 0, +1}}, +1},    {{{+1, 0, 0}, {0, +1, 0}, {0, 0, -1}}, -1},
    {{{+1, 0, 0}, {0, -1, 0}, {0, 0, +1}}, -1},    {{{+1, 0, 0}, {0, -1, 0}, {0, 0, -1}}, +1},
    {{{-1, 0, 0}, {0, +1, 0}, {0, 0, +1}}, -1},    {{{-1, 0, 0}, {0, +1, 0}, {0, 0, -1}}, +1},
    {{{-1, 0, 0}, {0, -1, 0}, {0, 0, +1}}, +1},    {{{-1, 0, 0}, {0, -1, 0}, {0, 0, -1}}, -1},
    {{{-1, -1, 0}, {-1, 0, -1}, {0, -1, -1}}, +1}, {{{+1, +1, 0}, {0, +1, +1}, {+1, 0, +1}}, +1},
};

static double tetrahedron_at(const struct field *field, int64_t p, int which) {
  double m[3][3];
  for (int row = 0; row < 3; row++) {
    const signed char *offset = tetrahedra[which].offset[row];
    int64_t q = p + offset[0] * field->stride[0] + offset[1] * field->stride[1] + offset[2];
    for (int c = 0; c < 3; c++)
      m[row][c] =
          offset[c] + ((double)field->u[c * field->voxels + q] - field->u[c * field->voxels + p]);
  }
  return tetrahedra[which].sign * determinant(m);
}

static void visit_tetrahedra(const struct field *field, const int index[3], const uint8_t *mask,
                             struct sums *sums) {
  int64_t p = index[0] * field->stride[0] + index[1] * field->stride[1] + index[2];
  if (mask && !mask[p]) return;
  bool folded = false;
  for (int t = 0; t < TETRAHEDRA; t++) {
    double value = tetrahedron_at(field, p, t);
    if (value > 0) continue;
    folded = true;
    sums->volume -= value / 6 / 2; /* a tetrahedron has a sixth; two ways of cutting are averaged */
  }
  sums->count++;
  sums->folded += folded;
}

struct metrics_diffeomorphism metrics_digital_diffeomorphism(const float *displacement,
                                                             const int extent[3],
                                                             const uint8_t *mask) {
  struct sums sums = sum_over(displacement, extent, 1, visit_tetrahedra, mask);
  double percent = sums.count ? 100.0 / (double)sums.count : NAN;
  return (struct metrics_diffeomorphism){.volume_percent = sums.volume * percent,
                                         .point_percent = (double)sums.folded * percent};
}
