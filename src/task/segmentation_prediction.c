/* Collecting planes of probabilities and bringing them to grids. */
#include "task/segmentation_prediction.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/metrics.h"
#include "volume/resample.h"

static const struct resample_options linear = {.method = RESAMPLE_LINEAR};

struct grid segmentation_box_grid(const struct affine *affine, const struct segmentation_box *box) {
  const double first[3] = {box->first[0], box->first[1], box->first[2]};
  struct grid grid = {.affine = *affine};
  double origin[3];
  affine_apply(affine, first, origin);
  for (int axis = 0; axis < 3; axis++) {
    grid.extent[axis] = box->extent[axis];
    grid.affine.m[axis][3] = origin[axis];
  }
  return grid;
}

enum status segmentation_prediction_open(struct segmentation_prediction *prediction,
                                         const struct segmentation_view *view, const int extent[3],
                                         const struct affine *affine,
                                         const struct segmentation_box *box) {
  *prediction = (struct segmentation_prediction){
      .overlapping = view->overlapping,
      .classes = view->classes,
      .threshold = (float)view->config->segmentation.threshold,
      .box = *box,
      .grid = segmentation_box_grid(affine, box),
      .plane = {extent[1], extent[2]},
  };
  prediction->voxels = (size_t)grid_count(&prediction->grid);
  size_t values = prediction->voxels * (size_t)view->classes;
  if (view->overlapping)
    prediction->codes = calloc(values, 1);
  else
    prediction->values = calloc(values, sizeof(float));
  REQUIRE(prediction->values || prediction->codes, STATUS_FAILED,
          "out of memory for the probabilities of %d classes on %zu voxels", view->classes,
          prediction->voxels);
  return STATUS_OK;
}

void segmentation_prediction_close(struct segmentation_prediction *prediction) {
  free(prediction->values);
  free(prediction->codes);
  *prediction = (struct segmentation_prediction){0};
}

/* --- collecting --- */

static float decode(uint8_t code) {
  return (float)code / 255;
}

/* Rounded, but never across the threshold. */
static uint8_t encode(float probability, float threshold) {
  float scaled = fminf(fmaxf(probability, 0), 1) * 255;
  int code = (int)lrintf(scaled);
  if (probability >= threshold && decode((uint8_t)code) < threshold && code < 255) code++;
  if (probability < threshold && decode((uint8_t)code) >= threshold && code > 0) code--;
  return (uint8_t)code;
}

static void keep_row(struct segmentation_prediction *prediction, size_t at, const float *row) {
  size_t columns = (size_t)prediction->box.extent[2];
  if (prediction->values) memcpy(prediction->values + at, row, columns * sizeof(float));
  for (size_t i = 0; prediction->codes && i < columns; i++)
    prediction->codes[at + i] = encode(row[i], prediction->threshold);
}

enum status segmentation_prediction_take(void *context, int d, const float *probabilities) {
  struct segmentation_prediction *prediction = context;
  const struct segmentation_box *box = &prediction->box;
  int slice = d - box->first[0], rows = box->extent[1];
  if (slice < 0 || slice >= box->extent[0]) return STATUS_OK;
  size_t area = (size_t)prediction->plane[0] * (size_t)prediction->plane[1];
#pragma omp parallel for schedule(static)
  for (int c = 0; c < prediction->classes; c++)
    for (int h = 0; h < rows; h++) {
      size_t at = (size_t)c * prediction->voxels +
                  ((size_t)slice * (size_t)rows + (size_t)h) * (size_t)box->extent[2];
      keep_row(prediction, at,
               probabilities + (size_t)c * area +
                   (size_t)(box->first[1] + h) * (size_t)prediction->plane[1] + box->first[2]);
    }
  return STATUS_OK;
}

/* --- grids --- */

/* The probabilities of a class as a volume on its own grid; `values` belong to the prediction
 * unless they had to be decoded. */
static enum status open_class(const struct segmentation_prediction *prediction, int c,
                              struct volume *volume) {
  *volume = (struct volume){.channels = 1, .affine = prediction->grid.affine};
  memcpy(volume->extent, prediction->grid.extent, sizeof volume->extent);
  size_t first = (size_t)c * prediction->voxels;
  if (prediction->values) {
    volume->values = prediction->values + first;
    return STATUS_OK;
  }
  volume->values = malloc(sizeof(float) * prediction->voxels);
  REQUIRE(volume->values, STATUS_FAILED, "out of memory for %zu probabilities", prediction->voxels);
  for (size_t i = 0; i < prediction->voxels; i++)
    volume->values[i] = decode(prediction->codes[first + i]);
  return STATUS_OK;
}

static void close_class(const struct segmentation_prediction *prediction, struct volume *volume) {
  if (!prediction->values) free(volume->values);
}

enum status segmentation_prediction_map(const struct segmentation_prediction *prediction, int c,
                                        const struct grid *target, struct volume *map) {
  struct volume volume;
  *map = (struct volume){0};
  TRY(open_class(prediction, c, &volume));
  enum status status = volume_resample(&volume, target, &linear, map);
  close_class(prediction, &volume);
  return status;
}

/* Takes class c where it is likelier than what is there. */
static void compare_class(int c, const float *values, size_t voxels, float *best, uint8_t *labels) {
  int64_t count = (int64_t)voxels;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i++) {
    if (c > 0 && !(values[i] > best[i])) continue;
    best[i] = values[i];
    labels[i] = (uint8_t)c;
  }
}

enum status segmentation_prediction_labels(const struct segmentation_prediction *prediction,
                                           const struct grid *target, uint8_t *labels) {
  size_t voxels = (size_t)grid_count(target);
  REQUIRE(prediction->classes <= 256, STATUS_USAGE,
          "label map: expected at most 256 classes, found %d", prediction->classes);
  float *best = malloc(sizeof(float) * voxels);
  REQUIRE(best, STATUS_FAILED, "out of memory for %zu probabilities", voxels);
  enum status status = STATUS_OK;
  for (int c = 0; c < prediction->classes && !status; c++) {
    struct volume map;
    status = segmentation_prediction_map(prediction, c, target, &map);
    if (!status) compare_class(c, map.values, voxels, best, labels);
    volume_close(&map);
  }
  free(best);
  return status;
}

/* --- one structure --- */

/* The lowest code that reaches the threshold; 256: none does. */
static int least_code(float threshold) {
  int code = 0;
  while (code < 256 && !(decode((uint8_t)code) >= threshold)) code++;
  return code;
}

/* The box of the voxels that reach the threshold, with one more around: interpolation cannot reach
 * it anywhere else. False: there are none. */
static bool find_reach(const struct segmentation_prediction *prediction, int c,
                       struct segmentation_box *reach) {
  const int *extent = prediction->grid.extent;
  const uint8_t *code = prediction->codes + (size_t)c * prediction->voxels;
  int low[3] = {extent[0], extent[1], extent[2]}, high[3] = {-1, -1, -1};
  int least = least_code(prediction->threshold);
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++, code += extent[2])
      for (int k = 0; k < extent[2]; k++) {
        if (code[k] < least) continue;
        const int voxel[3] = {i, j, k};
        for (int axis = 0; axis < 3; axis++) {
          if (voxel[axis] < low[axis]) low[axis] = voxel[axis];
          if (voxel[axis] > high[axis]) high[axis] = voxel[axis];
        }
      }
  for (int axis = 0; axis < 3; axis++) {
    int first = low[axis] > 0 ? low[axis] - 1 : 0;
    int last = high[axis] + 1 < extent[axis] ? high[axis] + 1 : extent[axis] - 1;
    reach->first[axis] = first;
    reach->extent[axis] = last - first + 1;
  }
  return high[0] >= 0;
}

/* The target's voxels that lie in a box of the prediction's, or beside it by less than a voxel. */
static enum status find_target_box(const struct segmentation_prediction *prediction,
                                   const struct segmentation_box *reach, const struct grid *target,
                                   struct segmentation_box *box) {
  struct affine inverse;
  double low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  TRY(affine_invert(&target->affine, &inverse));
  const struct affine map = affine_compose(&inverse, &prediction->grid.affine);
  for (int corner = 0; corner < 8; corner++) {
    double point[3];
    for (int axis = 0; axis < 3; axis++)
      point[axis] = reach->first[axis] - 0.5 + (corner >> axis & 1 ? reach->extent[axis] : 0);
    affine_apply(&map, point, point);
    for (int axis = 0; axis < 3; axis++) {
      low[axis] = fmin(low[axis], point[axis]);
      high[axis] = fmax(high[axis], point[axis]);
    }
  }
  for (int axis = 0; axis < 3; axis++) {
    int first = (int)fmin(fmax(floor(low[axis]), 0), target->extent[axis]);
    int end = (int)fmin(fmax(ceil(high[axis]) + 1, first), target->extent[axis]);
    box->first[axis] = first;
    box->extent[axis] = end - first;
  }
  return STATUS_OK;
}

static void crop_codes(const struct segmentation_prediction *prediction, int c,
                       const struct segmentation_box *reach, float *values) {
  const int *extent = prediction->grid.extent;
  const uint8_t *codes = prediction->codes + (size_t)c * prediction->voxels;
  for (int i = 0; i < reach->extent[0]; i++)
    for (int j = 0; j < reach->extent[1]; j++) {
      size_t row =
          (size_t)(reach->first[0] + i) * (size_t)extent[1] + (size_t)(reach->first[1] + j);
      const uint8_t *from = codes + row * (size_t)extent[2] + reach->first[2];
      for (int k = 0; k < reach->extent[2]; k++) *values++ = decode(from[k]);
    }
}

/* Writes the part of the mask that lies in `box` of the target. */
static enum status fill_mask(const struct segmentation_prediction *prediction, int c,
                             const struct segmentation_box *reach, const struct grid *target,
                             const struct segmentation_box *box, uint8_t *mask) {
  const struct grid from = segmentation_box_grid(&prediction->grid.affine, reach);
  const struct grid to = segmentation_box_grid(&target->affine, box);
  struct volume volume, map;
  TRY(volume_create(&volume, &from, 1));
  crop_codes(prediction, c, reach, volume.values);
  enum status status = volume_resample(&volume, &to, &linear, &map);
  volume_close(&volume);
  TRY(status);
  const float *value = map.values;
  for (int i = 0; i < box->extent[0]; i++)
    for (int j = 0; j < box->extent[1]; j++) {
      size_t row =
          (size_t)(box->first[0] + i) * (size_t)target->extent[1] + (size_t)(box->first[1] + j);
      uint8_t *at = mask + row * (size_t)target->extent[2] + box->first[2];
      for (int k = 0; k < box->extent[2]; k++) at[k] = *value++ >= prediction->threshold;
    }
  volume_close(&map);
  return STATUS_OK;
}

enum status segmentation_prediction_mask(const struct segmentation_prediction *prediction, int c,
                                         const struct grid *target, uint8_t *mask) {
  struct segmentation_box reach, box;
  memset(mask, 0, (size_t)grid_count(target));
  if (!find_reach(prediction, c, &reach)) return STATUS_OK;
  TRY(find_target_box(prediction, &reach, target, &box));
  if (!box.extent[0] || !box.extent[1] || !box.extent[2]) return STATUS_OK;
  return fill_mask(prediction, c, &reach, target, &box, mask);
}

/* --- slices --- */

static uint16_t class_at(const struct segmentation_prediction *prediction, size_t voxel) {
  int found = 0;
  for (int c = 1; prediction->values && c < prediction->classes; c++)
    if (prediction->values[(size_t)c * prediction->voxels + voxel] >
        prediction->values[(size_t)found * prediction->voxels + voxel])
      found = c;
  for (int c = 0; prediction->codes && c < prediction->classes; c++)
    if (decode(prediction->codes[(size_t)c * prediction->voxels + voxel]) >= prediction->threshold)
      found = c + 1;
  return (uint16_t)found;
}

void segmentation_prediction_slice(const struct segmentation_prediction *prediction, int axis,
                                   int index, uint16_t *classes) {
  const int *extent = prediction->grid.extent;
  const size_t stride[3] = {(size_t)extent[1] * (size_t)extent[2], (size_t)extent[2], 1};
  int rows = axis == 0 ? 1 : 0, columns = axis == 2 ? 1 : 2;
  for (int r = 0; r < extent[rows]; r++)
    for (int k = 0; k < extent[columns]; k++)
      *classes++ = class_at(prediction, (size_t)index * stride[axis] + (size_t)r * stride[rows] +
                                            (size_t)k * stride[columns]);
}
