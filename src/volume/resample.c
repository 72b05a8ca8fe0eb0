/* Sampling a volume on another grid: three ways to fill a row of target voxels, one of them exact.
 */
#include "volume/resample.h"
#include <math.h>
#include <string.h>
#include "volume/memory.h"
#include "volume/resample_exact.h"

#define EXACT_TOLERANCE 1e-3 /* voxels: nearer than this to a source voxel is that voxel */
#define EDGE_TOLERANCE 1e-6  /* voxels: rounding of coordinates at the edge and at ties */

struct sampler {
  const float *values; /* of one channel */
  int extent[3];
  struct affine map;         /* target voxel -> source voxel */
  const float *displacement; /* of target voxels, in voxels, [3][i][j][k]; NULL: none */
  const struct resample_options *options;
};

/* The source coordinate brought inside; false where the fill value belongs. */
static bool bring_inside(const struct sampler *sampler, int axis, double *coordinate) {
  double last = sampler->extent[axis] - 1;
  if (sampler->options->border == RESAMPLE_FILL &&
      !(*coordinate >= -0.5 - EDGE_TOLERANCE && *coordinate <= last + 0.5 + EDGE_TOLERANCE))
    return false;
  *coordinate = fmin(fmax(*coordinate, 0), last);
  return true;
}

static bool bring_point_inside(const struct sampler *sampler, double point[3]) {
  for (int a = 0; a < 3; a++)
    if (!bring_inside(sampler, a, &point[a])) return false;
  return true;
}

/* The source voxel nearest to a point, -1 outside. */
static ptrdiff_t find_nearest(const struct sampler *sampler, double point[3]) {
  if (!bring_point_inside(sampler, point)) return -1;
  ptrdiff_t index = 0;
  for (int a = 0; a < 3; a++) {
    int voxel = (int)floor(point[a] + 0.5 + EDGE_TOLERANCE);
    if (voxel > sampler->extent[a] - 1) voxel = sampler->extent[a] - 1;
    index = index * sampler->extent[a] + voxel;
  }
  return index;
}

static float sample_nearest(const struct sampler *sampler, double point[3]) {
  ptrdiff_t index = find_nearest(sampler, point);
  return index < 0 ? sampler->options->fill : sampler->values[index];
}

static double blend(double low, double high, double weight) {
  return low + weight * (high - low);
}

static float sample_linear(const struct sampler *sampler, double point[3]) {
  if (!bring_point_inside(sampler, point)) return sampler->options->fill;
  const int *extent = sampler->extent;
  const ptrdiff_t stride[3] = {(ptrdiff_t)extent[1] * extent[2], extent[2], 1};
  ptrdiff_t step[3];
  double weight[3];
  const float *at = sampler->values;
  for (int a = 0; a < 3; a++) {
    int low = (int)point[a];
    weight[a] = point[a] - low;
    step[a] = low < extent[a] - 1 ? stride[a] : 0;
    at += low * stride[a];
  }
  double plane[2];
  for (int d = 0; d < 2; d++) {
    const float *row = at + d * step[0];
    plane[d] = blend(blend(row[0], row[step[2]], weight[2]),
                     blend(row[step[1]], row[step[1] + step[2]], weight[2]), weight[1]);
  }
  return (float)blend(plane[0], plane[1], weight[0]);
}

static float (*const methods[])(const struct sampler *, double[3]) = {
    [RESAMPLE_LINEAR] = sample_linear,
    [RESAMPLE_NEAREST] = sample_nearest,
};

static void sample_row(const struct sampler *sampler, const int extent[3], int i, int j,
                       float *result) {
  float (*sample)(const struct sampler *, double[3]) = methods[sampler->options->method];
  const float *displacement = sampler->displacement;
  ptrdiff_t plane = (ptrdiff_t)extent[1] * extent[2], count = extent[0] * plane;
  ptrdiff_t first = i * plane + (ptrdiff_t)j * extent[2];
  for (int k = 0; k < extent[2]; k++) {
    double point[3] = {i, j, k};
    for (int a = 0; a < 3 && displacement; a++) point[a] += displacement[a * count + first + k];
    affine_apply(&sampler->map, point, point);
    result[first + k] = sample(sampler, point);
  }
}

/* exact: the map is one of voxels to voxels. */
static void sample_all(const struct sampler *sampler, const int extent[3], bool exact,
                       float *result) {
  struct exact copy = {
      .values = sampler->values, .map = sampler->map, .fill = sampler->options->fill};
  memcpy(copy.source, sampler->extent, sizeof copy.source);
  memcpy(copy.target, extent, sizeof copy.target);
  if (exact && sampler->options->border == RESAMPLE_FILL && resample_exact(&copy, result)) return;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++) sample_row(sampler, extent, i, j, result);
}

/* Whether target voxels fall on source voxels; if so, sampler->map is made exactly that. Judged at
 * all corners, so that no voxel between them is further off. */
static bool snap_to_voxels(struct affine *map, const int extent[3]) {
  struct affine whole = *map;
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) whole.m[a][b] = rint(map->m[a][b]);
  for (int b = 0; b < 3; b++) { /* an axis of one voxel may point anywhere */
    double length = fabs(whole.m[0][b]) + fabs(whole.m[1][b]) + fabs(whole.m[2][b]);
    if (extent[b] > 1 && length != 1) return false;
  }
  for (int corner = 0; corner < 8; corner++) {
    double voxel[3], place[3], other[3];
    for (int a = 0; a < 3; a++) voxel[a] = corner >> a & 1 ? extent[a] - 1 : 0;
    affine_apply(map, voxel, place);
    affine_apply(&whole, voxel, other);
    for (int a = 0; a < 3; a++)
      if (!(fabs(place[a] - other[a]) <= EXACT_TOLERANCE)) return false;
  }
  *map = whole;
  return true;
}

static enum status check_options(const struct volume *source,
                                 const struct resample_options *options) {
  const char *name = source->source ? source->source : "volume";
  REQUIRE(source->values, STATUS_FAILED, "%s: expected voxels to resample, found none", name);
  REQUIRE((int)options->method >= 0 && options->method <= RESAMPLE_NEAREST, STATUS_USAGE,
          "%s: resampling method: expected 0 or 1, found %d", name, (int)options->method);
  return STATUS_OK;
}

static enum status copy_text(const struct volume *source, struct volume *result) {
  if (source->source) result->source = strdup(source->source);
  if (source->warnings) result->warnings = strdup(source->warnings);
  REQUIRE(!source->source == !result->source && !source->warnings == !result->warnings,
          STATUS_FAILED, "%s: out of memory", source->source ? source->source : "volume");
  return STATUS_OK;
}

static enum status prepare(const struct volume *source, const struct grid *target,
                           struct volume *result) {
  TRY(volume_allocate(result, target, source->channels));
  result->sform_code = source->sform_code;
  result->qform_code = source->qform_code;
  result->intent_code = source->intent_code;
  enum status status = copy_text(source, result);
  if (status) volume_close(result);
  return status;
}

enum status volume_deform(const struct volume *source, const struct grid *target,
                          const float *displacement, const struct resample_options *options,
                          struct volume *result) {
  *result = (struct volume){0};
  TRY(check_options(source, options));
  struct affine inverse;
  TRY(affine_invert(&source->affine, &inverse));
  struct resample_options used = *options;
  struct sampler sampler = {.map = affine_compose(&inverse, &target->affine),
                            .displacement = displacement,
                            .options = &used};
  memcpy(sampler.extent, source->extent, sizeof sampler.extent);
  bool exact = !displacement && snap_to_voxels(&sampler.map, target->extent);
  if (exact) used.method = RESAMPLE_NEAREST;
  TRY(prepare(source, target, result));
  result->is_integer = source->is_integer && used.method == RESAMPLE_NEAREST;
  size_t from = volume_count(source), to = volume_count(result);
  for (int c = 0; c < source->channels; c++) {
    sampler.values = source->values + (size_t)c * from;
    if (options->fills) used.fill = options->fills[c];
    result->is_integer = result->is_integer && used.fill == rintf(used.fill);
    sample_all(&sampler, target->extent, exact, result->values + (size_t)c * to);
  }
  return STATUS_OK;
}

static void find_row(const struct sampler *sampler, const int extent[3], int i, int j,
                     int32_t *index) {
  int32_t *row = index + ((ptrdiff_t)i * extent[1] + j) * extent[2];
  for (int k = 0; k < extent[2]; k++) {
    double point[3] = {i, j, k};
    affine_apply(&sampler->map, point, point);
    row[k] = (int32_t)find_nearest(sampler, point);
  }
}

enum status grid_find_nearest(const struct grid *source, const struct grid *target,
                              int32_t *index) {
  const struct resample_options options = {.method = RESAMPLE_NEAREST};
  struct affine inverse;
  REQUIRE(grid_count(source) <= INT32_MAX, STATUS_USAGE,
          "resampling masks: expected at most %d voxels, found %lld", INT32_MAX,
          grid_count(source));
  TRY(affine_invert(&source->affine, &inverse));
  struct sampler sampler = {.map = affine_compose(&inverse, &target->affine), .options = &options};
  memcpy(sampler.extent, source->extent, sizeof sampler.extent);
  snap_to_voxels(&sampler.map, target->extent);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < target->extent[0]; i++)
    for (int j = 0; j < target->extent[1]; j++) find_row(&sampler, target->extent, i, j, index);
  return STATUS_OK;
}

enum status volume_resample(const struct volume *source, const struct grid *target,
                            const struct resample_options *options, struct volume *result) {
  return volume_deform(source, target, NULL, options, result);
}
