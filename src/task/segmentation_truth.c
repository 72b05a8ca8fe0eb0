/* Truth out of the shards, or out of the source files. */
#include "task/segmentation_truth.h"
#include <stdlib.h>
#include <string.h>
#include "data/classes.h"
#include "data/structures.h"
#include "data/subject.h"

struct segmentation_box segmentation_own_box(const struct dataset *dataset, int subject) {
  struct segmentation_box box;
  memcpy(box.first, dataset->subjects[subject].box_first, sizeof box.first);
  memcpy(box.extent, dataset->subjects[subject].box_count, sizeof box.extent);
  return box;
}

static enum status open_stored(struct segmentation_truth *truth) {
  const struct dataset *dataset = truth->dataset;
  truth->box = segmentation_own_box(dataset, truth->subject);
  truth->grid = segmentation_box_grid(&dataset->subjects[truth->subject].affine, &truth->box);
  if (truth->view->overlapping) return STATUS_OK;
  truth->labels = malloc((size_t)grid_count(&truth->grid));
  REQUIRE(truth->labels, STATUS_FAILED, "evaluation: out of memory");
  segmentation_crop_labels(dataset_label(dataset, truth->subject), dataset->extent, &truth->box,
                           truth->labels);
  return STATUS_OK;
}

static enum status keep_labels(struct segmentation_truth *truth, const struct volume *volume) {
  size_t count = volume_count(volume);
  truth->labels = malloc(count);
  REQUIRE(truth->labels, STATUS_FAILED, "%s: out of memory", volume->source);
  for (size_t i = 0; i < count; i++) {
    REQUIRE(volume->values[i] >= 0 && volume->values[i] < (float)truth->view->classes,
            STATUS_FAILED,
            "%s: expected classes 0 to %d, found %g: is it the file that was prepared?",
            volume->source, truth->view->classes - 1, (double)volume->values[i]);
    truth->labels[i] = (uint8_t)volume->values[i];
  }
  return STATUS_OK;
}

static enum status read_labels(struct segmentation_truth *truth, const char *path) {
  const struct config *config = truth->view->config;
  const struct volume_policy policy = subject_policy(config, true);
  struct volume volume;
  TRY(volume_read(&volume, path, &policy));
  classes_make(config, &volume);
  truth->grid = volume_get_grid(&volume);
  enum status status = keep_labels(truth, &volume);
  volume_close(&volume);
  return status;
}

static enum status read_grid(struct segmentation_truth *truth, const char *path) {
  struct volume_policy policy = subject_policy(truth->view->config, false);
  policy.allow_channels = true;
  struct volume volume;
  TRY(volume_read_header(&volume, path, &policy));
  truth->grid = volume_get_grid(&volume);
  volume_close(&volume);
  return STATUS_OK;
}

static enum status open_source(struct segmentation_truth *truth) {
  const struct dataset_subject *subject = &truth->dataset->subjects[truth->subject];
  REQUIRE(subject->label_source && subject->label_source[0], STATUS_FAILED,
          "subject %s: expected the name of the file its labels came from, found none: prepare "
          "again, or evaluate with segmentation.geometry=stored",
          subject->id);
  return truth->view->overlapping ? read_grid(truth, subject->source)
                                  : read_labels(truth, subject->label_source);
}

enum status segmentation_truth_open(struct segmentation_truth *truth,
                                    const struct segmentation_view *view,
                                    const struct dataset *dataset, int subject, bool source) {
  *truth = (struct segmentation_truth){
      .view = view, .dataset = dataset, .subject = subject, .source = source};
  return source ? open_source(truth) : open_stored(truth);
}

void segmentation_truth_close(struct segmentation_truth *truth) {
  free(truth->labels);
  *truth = (struct segmentation_truth){0};
}

/* --- masks --- */

static void unpack(const struct segmentation_truth *truth, int c, uint8_t *mask) {
  const struct dataset *dataset = truth->dataset;
  const int *extent = dataset->extent, *first = truth->box.first, *count = truth->box.extent;
  const uint8_t *bits = dataset_mask(dataset, truth->subject);
  for (int d = 0; d < count[0]; d++) {
    size_t plane = (size_t)(first[0] + d) * (size_t)dataset->mask_planes + (size_t)(c / 8);
    for (int h = 0; h < count[1]; h++) {
      const uint8_t *row =
          bits + (plane * (size_t)extent[1] + (size_t)(first[1] + h)) * (size_t)extent[2] +
          first[2];
      for (int w = 0; w < count[2]; w++) *mask++ = row[w] >> c % 8 & 1;
    }
  }
}

static enum status read_mask(const struct segmentation_truth *truth, const char *path,
                             uint8_t *mask) {
  struct volume_policy policy = subject_policy(truth->view->config, false);
  policy.nonfinite = NONFINITE_KEEP;
  struct volume volume;
  TRY(volume_read(&volume, path, &policy));
  const struct grid grid = volume_get_grid(&volume);
  bool fits = grid_is_same(&grid, &truth->grid, GRID_TOLERANCE);
  size_t count = volume_count(&volume);
  for (size_t i = 0; fits && i < count; i++) mask[i] = volume.values[i] > 0.5f;
  volume_close(&volume);
  REQUIRE(fits, STATUS_FAILED, "%s: expected a mask on its image's grid, found another", path);
  return STATUS_OK;
}

enum status segmentation_truth_mask(const struct segmentation_truth *truth, int c, uint8_t *mask) {
  const struct dataset *dataset = truth->dataset;
  if (!truth->source) {
    unpack(truth, c, mask);
    return STATUS_OK;
  }
  char *path =
      structures_mask(dataset->subjects[truth->subject].label_source, dataset->structures[c]);
  enum status status = STATUS_OK;
  if (path)
    status = read_mask(truth, path, mask);
  else
    memset(mask, 0, (size_t)grid_count(&truth->grid));
  free(path);
  return status;
}

/* --- slices --- */

/* 1 + the last of the structures that a voxel of plane d is of; 0: none. */
static uint16_t structure_at(const struct dataset *dataset, const uint8_t *bits, int d,
                             size_t voxel) {
  size_t area = (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  for (int plane = dataset->mask_planes - 1; plane >= 0; plane--) {
    unsigned byte = bits[((size_t)d * (size_t)dataset->mask_planes + (size_t)plane) * area + voxel];
    if (byte) return (uint16_t)(8 * plane + 32 - __builtin_clz(byte));
  }
  return 0;
}

void segmentation_truth_slice(const struct segmentation_view *view, const struct dataset *dataset,
                              int subject, int axis, int index, uint16_t *classes) {
  const struct segmentation_box box = segmentation_own_box(dataset, subject);
  const uint8_t *labels = view->overlapping ? NULL : dataset_label(dataset, subject);
  const uint8_t *bits = view->overlapping ? dataset_mask(dataset, subject) : NULL;
  int rows = axis == 0 ? 1 : 0, columns = axis == 2 ? 1 : 2, voxel[3];
  size_t row = (size_t)dataset->extent[2], area = (size_t)dataset->extent[1] * row;
  voxel[axis] = box.first[axis] + index;
  for (int r = 0; r < box.extent[rows]; r++)
    for (int k = 0; k < box.extent[columns]; k++) {
      voxel[rows] = box.first[rows] + r;
      voxel[columns] = box.first[columns] + k;
      size_t in_plane = (size_t)voxel[1] * row + (size_t)voxel[2];
      *classes++ = labels ? labels[(size_t)voxel[0] * area + in_plane]
                          : structure_at(dataset, bits, voxel[0], in_plane);
    }
}

/* Adds the voxels of plane d to the counts of the planes that they lie in. */
static void count_voxels(const struct segmentation_box *box, int d, const uint16_t *classes,
                         int64_t *count[3]) {
  for (int h = 0; h < box->extent[1]; h++)
    for (int w = 0; w < box->extent[2]; w++) {
      if (!*classes++) continue;
      count[0][d]++;
      count[1][h]++;
      count[2][w]++;
    }
}

enum status segmentation_truth_fullest(const struct segmentation_view *view,
                                       const struct dataset *dataset, int subject, int plane[3]) {
  const struct segmentation_box box = segmentation_own_box(dataset, subject);
  size_t planes = (size_t)box.extent[0] + (size_t)box.extent[1] + (size_t)box.extent[2];
  uint16_t *classes = malloc(sizeof *classes * (size_t)box.extent[1] * (size_t)box.extent[2]);
  int64_t *counts = calloc(planes, sizeof *counts);
  int64_t *count[3] = {counts, counts + box.extent[0], counts + box.extent[0] + box.extent[1]};
  for (int d = 0; classes && counts && d < box.extent[0]; d++) {
    segmentation_truth_slice(view, dataset, subject, 0, d, classes);
    count_voxels(&box, d, classes, count);
  }
  for (int axis = 0; counts && axis < 3; axis++) {
    plane[axis] = box.extent[axis] / 2;
    for (int i = 0; i < box.extent[axis]; i++)
      if (count[axis][i] > count[axis][plane[axis]]) plane[axis] = i;
  }
  bool enough = classes && counts;
  free(classes);
  free(counts);
  REQUIRE(enough, STATUS_FAILED, "picture: out of memory");
  return STATUS_OK;
}
