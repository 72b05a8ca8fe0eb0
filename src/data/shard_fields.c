/* HDF5's native types are known at run time only, hence the small functions. */
#include "data/shard_fields.h"
#include <string.h>
#include "data/structures.h"

static hid_t type_double(void) {
  return H5T_NATIVE_DOUBLE;
}

static hid_t type_int(void) {
  return H5T_NATIVE_INT32;
}

static hid_t type_word(void) {
  return H5T_NATIVE_UINT32;
}

static hid_t type_float(void) {
  return H5T_NATIVE_FLOAT;
}

static hid_t type_short(void) {
  return H5T_NATIVE_UINT16;
}

static hid_t type_long(void) {
  return H5T_NATIVE_UINT64;
}

static hid_t type_byte(void) {
  return H5T_NATIVE_UINT8;
}

#define MEMBER(name) offsetof(struct shard_subject, name), sizeof(((struct shard_subject *)0)->name)
#define FIELD(name, type, axes, ...) \
  { #name, MEMBER(name), type, axes, {__VA_ARGS__ }, false, NULL }
#define NEWER(name, type, axes, ...) \
  { #name, MEMBER(name), type, axes, {__VA_ARGS__ }, true, NULL }
#define NUMBER_WHERE(present, name, type) \
  { #name, MEMBER(name), type, 0, {0 }, false, present }

static bool has_masks(const struct shard *shard) {
  return shard->structure_count > 0;
}

static bool has_categories(const struct shard *shard) {
  return shard->has_categories;
}

static bool has_counts(const struct shard *shard) {
  return shard->counted > 0;
}

const struct shard_field shard_fields[] = {
    FIELD(id, NULL, 0, 0),
    FIELD(source, NULL, 0, 0),
    FIELD(label_source, NULL, 0, 0),
    FIELD(history, NULL, 0, 0),
    FIELD(affine, type_double, 2, 4, 4),
    FIELD(spacing, type_double, 1, 3),
    NEWER(box_first, type_int, 1, 3),
    NEWER(box_count, type_int, 1, 3),
    NEWER(centroid, type_double, 1, 3),
    FIELD(split, type_byte, 0, 0),
    FIELD(largest_label, type_byte, 0, 0),
    FIELD(source_checksum, type_word, 0, 0),
    FIELD(label_source_checksum, type_word, 0, 0),
    FIELD(checksum_image, type_word, 0, 0),
    FIELD(checksum_label, type_word, 0, 0),
    NUMBER_WHERE(has_masks, checksum_mask, type_word),
    NUMBER_WHERE(has_masks, overlap_voxels, type_long),
    NUMBER_WHERE(has_categories, category, type_int),
    NUMBER_WHERE(has_counts, checksum_voxels, type_word),
};
const int shard_field_count = sizeof shard_fields / sizeof *shard_fields;

bool shard_field_present(const struct shard_field *field, const struct shard *shard) {
  return !field->present || field->present(shard);
}

int shard_field_shape(const struct shard_field *field, int subjects, hsize_t shape[3]) {
  shape[0] = (hsize_t)subjects;
  for (int i = 0; i < field->axes; i++) shape[1 + i] = (hsize_t)field->shape[i];
  return 1 + field->axes;
}

void *shard_field_at(const struct shard_field *field, const struct shard *shard, int row) {
  return (unsigned char *)&shard->subjects[row] + field->offset;
}

char **shard_field_text(const struct shard_field *field, const struct shard *shard, int row) {
  return shard_field_at(field, shard, row);
}

/* What an array has per subject: voxels, of each channel, or of each byte of masks; or less. */
enum extents { PER_VOXEL, PER_CHANNEL, PER_PLANE, PER_SLICE, PER_SLICE_AND_CLASS, PER_STRUCTURE };

static const struct array {
  const char *name;
  hid_t (*type)(void);
  size_t element;
  enum extents extents;
} arrays[] = {
    [SHARD_IMAGE] = {"image", type_float, sizeof(float), PER_CHANNEL},
    [SHARD_LABEL] = {"label", type_byte, 1, PER_VOXEL},
    [SHARD_MASK] = {"mask", type_byte, 1, PER_PLANE},
    [SHARD_SLICE_VOXELS] = {"slice_voxels", type_word, sizeof(uint32_t), PER_SLICE_AND_CLASS},
    [SHARD_SLICE_STRUCTURES] = {"slice_structures", type_short, sizeof(uint16_t), PER_SLICE},
    [SHARD_SLICE_CHECKSUM] = {"slice_checksum", type_word, sizeof(uint32_t), PER_SLICE},
    [SHARD_STRUCTURE_VOXELS] = {"structure_voxels", type_long, sizeof(uint64_t), PER_STRUCTURE},
};

static bool has_array(const struct shard *shard, enum shard_array array) {
  if (array == SHARD_IMAGE) return true;
  if (array == SHARD_SLICE_VOXELS) return has_counts(shard);
  return array == SHARD_LABEL ? shard->has_labels : shard->structure_count > 0;
}

static bool same_texts(char *const *a, int a_count, char *const *b, int b_count) {
  bool same = a_count == b_count;
  for (int i = 0; same && i < a_count; i++) same = strcmp(a[i], b[i]) == 0;
  return same;
}

bool shard_same_structures(const struct shard *a, const struct shard *b) {
  return same_texts(a->structures, a->structure_count, b->structures, b->structure_count);
}

bool shard_same_names(const struct shard *a, const struct shard *b) {
  return same_texts(a->label_names, a->label_name_count, b->label_names, b->label_name_count);
}

hid_t shard_array_type(enum shard_array array) {
  return arrays[array].type();
}

const char *shard_array_name(enum shard_array array) {
  return arrays[array].name;
}

int shard_array_shape(const struct shard *shard, enum shard_array array, int subjects,
                      hsize_t shape[SHARD_AXES]) {
  enum extents extents = arrays[array].extents;
  int axes = 0;
  if (!has_array(shard, array)) return 0;
  shape[axes++] = (hsize_t)subjects;
  if (extents == PER_CHANNEL && shard->channels > 1) shape[axes++] = (hsize_t)shard->channels;
  shape[axes++] = (hsize_t)(extents == PER_STRUCTURE ? shard->structure_count : shard->extent[0]);
  if (extents == PER_SLICE_AND_CLASS) shape[axes++] = (hsize_t)shard->counted;
  if (extents == PER_PLANE) shape[axes++] = (hsize_t)structures_planes(shard->structure_count);
  for (int i = 1; i < 3 && extents <= PER_PLANE; i++) shape[axes++] = (hsize_t)shard->extent[i];
  return axes;
}

size_t shard_array_element(enum shard_array array) {
  return arrays[array].element;
}

size_t shard_array_bytes(const struct shard *shard, enum shard_array array) {
  hsize_t shape[SHARD_AXES];
  int axes = shard_array_shape(shard, array, 1, shape);
  size_t bytes = axes ? arrays[array].element : 0;
  for (int i = 0; i < axes; i++) bytes *= (size_t)shape[i];
  return bytes;
}

uint32_t shard_array_checksum(const struct shard_subject *subject, enum shard_array array) {
  switch (array) {
    case SHARD_IMAGE:
      return subject->checksum_image;
    case SHARD_LABEL:
      return subject->checksum_label;
    case SHARD_MASK:
      return subject->checksum_mask;
    default:
      return subject->checksum_voxels;
  }
}
