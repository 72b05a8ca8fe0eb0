/* Small subjects of the layout totalsegmentator, whose masks are known in every voxel. */
#pragma once
#include <math.h>
#include "test_data.h"

enum { MASK_STRUCTURES = 11, MASK_ROWS = 6, MASK_COLUMNS = 8 };

/* The published ones in their order, then the others by name. */
static const char *const mask_names[MASK_STRUCTURES] = {
    "spleen", "kidney_right", "kidney_left", "liver", "heart", "aorta",
    "brain",  "skull",        "rib_left_1",  "alpha", "zeta"};

/* Structures overlap; every third subject lacks some files, and one structure has none at all but
 * in subject 0, where it is empty. */
static inline bool mask_has_file(int subject, int structure) {
  if (structure == 4) return subject == 0;
  return (subject + structure) % 3 != 0;
}

static inline bool mask_is_set(int subject, int structure, int i, int j, int k) {
  if (!mask_has_file(subject, structure) || structure == 4) return false;
  if (k == 1 + subject % 2) return false; /* a slice without any */
  return (i * 7 + j * 5 + k * 3 + structure * 11 + subject) % (structure + 3) == 0;
}

static inline int mask_slices(int subject) {
  return 4 + (subject * 3) % 5;
}

/* Voxels of 1.5 x 1.5 x 3 mm; odd subjects are stored from right to left, number 2 is sheared. */
static inline struct grid mask_grid(int subject) {
  struct grid grid = {.extent = {MASK_ROWS, MASK_COLUMNS, mask_slices(subject)}};
  grid.affine = affine_scaling((double[]){1.5, 1.5, 3}, (double[]){-20, 10, 5});
  if (subject % 2) grid.affine.m[0][0] = -1.5;
  if (subject == 2) grid.affine.m[1][2] = 0.3;
  return grid;
}

static inline float mask_image(int subject, int i, int j, int k) {
  return (float)(i * 100 + j * 10 + k + subject * 1000);
}

/* structure -1: the image. */
static inline void mask_make(int subject, int structure, struct volume *volume) {
  struct grid grid = mask_grid(subject);
  CHECK_OK(volume_create(volume, &grid, 1));
  float *at = volume->values;
  for (int i = 0; i < grid.extent[0]; i++)
    for (int j = 0; j < grid.extent[1]; j++)
      for (int k = 0; k < grid.extent[2]; k++)
        *at++ = structure < 0 ? mask_image(subject, i, j, k)
                              : (float)mask_is_set(subject, structure, i, j, k);
}

static inline char *mask_path(const struct data_place *place, int subject, const char *structure) {
  return file_format("%s/s%04d/segmentations/%s.nii.gz", place->source, subject, structure);
}

static inline void mask_write(const struct volume *volume, char *path, enum volume_type type) {
  const struct volume_format format = {.type = type};
  CHECK_OK(volume_write(volume, path, &format));
  free(path);
}

static inline void mask_add_subject(const struct data_place *place, int subject) {
  char *folder = file_format("%s/s%04d/segmentations", place->source, subject);
  CHECK_OK(file_make_directory(folder));
  free(folder);
  struct volume volume;
  mask_make(subject, -1, &volume);
  mask_write(&volume, file_format("%s/s%04d/ct.nii.gz", place->source, subject), VOLUME_INT16);
  volume_close(&volume);
  for (int c = 0; c < MASK_STRUCTURES; c++) {
    if (!mask_has_file(subject, c)) continue;
    mask_make(subject, c, &volume);
    mask_write(&volume, mask_path(place, subject, mask_names[c]), VOLUME_UINT8);
    volume_close(&volume);
  }
}

static inline void mask_configure(struct data_place *place) {
  data_override(place, "data.layout=totalsegmentator");
  data_override(place, "data.orientation=SRA");
  data_override(place, "data.grid=slices");
  data_override(place, "data.intensity=none");
  data_override(place, "data.multiple=2");
}

static inline struct data_place mask_open_place(int subjects, const char *folder) {
  struct data_place place = data_open_place(0, folder);
  mask_configure(&place);
  for (int i = 0; i < subjects; i++) mask_add_subject(&place, i);
  return place;
}
