/* HDF5's native types are known at run time only, hence the small functions. */
#include "data/shard_fields.h"

static hid_t type_double(void) {
  return H5T_NATIVE_DOUBLE;
}

static hid_t type_int(void) {
  return H5T_NATIVE_INT32;
}

static hid_t type_checksum(void) {
  return H5T_NATIVE_UINT32;
}

hid_t shard_type_float(void) {
  return H5T_NATIVE_FLOAT;
}

hid_t shard_type_byte(void) {
  return H5T_NATIVE_UINT8;
}

#define MEMBER(name) offsetof(struct shard_subject, name), sizeof(((struct shard_subject *)0)->name)
#define FIELD(name, type, axes, ...) \
  { #name, MEMBER(name), type, axes, {__VA_ARGS__ }, false }
#define NEWER(name, type, axes, ...) \
  { #name, MEMBER(name), type, axes, {__VA_ARGS__ }, true }

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
    FIELD(split, shard_type_byte, 0, 0),
    FIELD(largest_label, shard_type_byte, 0, 0),
    FIELD(source_checksum, type_checksum, 0, 0),
    FIELD(label_source_checksum, type_checksum, 0, 0),
    FIELD(checksum_image, type_checksum, 0, 0),
    FIELD(checksum_label, type_checksum, 0, 0),
};
const int shard_field_count = sizeof shard_fields / sizeof *shard_fields;

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
