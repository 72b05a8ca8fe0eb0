/* A shard's arrays: nothing is believed before it was compared with the file's size. */
#include "data/shard_arrays.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include "data/structures.h"

enum { EXTENT_LIMIT = 32767, SHAPE_BYTES = 160 };

struct layout {
  H5D_layout_t kind;
  int external;
};

static struct layout layout_of(hid_t dataset) {
  struct layout layout = {H5D_LAYOUT_ERROR, 0};
  hid_t properties = H5Dget_create_plist(dataset);
  if (properties < 0) return layout;
  layout.kind = H5Pget_layout(properties);
  layout.external = H5Pget_external_count(properties);
  H5Pclose(properties);
  return layout;
}

/* Whether [n][d][h][w] elements are sizes that we could have written, without overflow. */
static enum status check_shape(const struct shard *shard, const char *name, const hsize_t *shape,
                               int axes, size_t element) {
  REQUIRE(shape[0] >= 1 && shape[0] <= INT_MAX, STATUS_FAILED,
          "%s: field %s: expected at least 1 subject, found %llu", shard->path, name,
          (unsigned long long)shape[0]);
  /* each subject has its strings and numbers in the file, at least this much */
  REQUIRE(shape[0] <= shard->file_bytes / 64, STATUS_FAILED,
          "%s: field %s: expected the subjects to fit in %llu bytes, found %llu of them",
          shard->path, name, (unsigned long long)shard->file_bytes, (unsigned long long)shape[0]);
  uint64_t bytes = element;
  for (int i = 0; i < axes; i++) {
    REQUIRE(i == 0 || (shape[i] >= 1 && shape[i] <= EXTENT_LIMIT), STATUS_FAILED,
            "%s: field %s: expected extents of 1 to %d, found %llu", shard->path, name,
            EXTENT_LIMIT, (unsigned long long)shape[i]);
    REQUIRE(bytes <= ((uint64_t)1 << 62) / shape[i], STATUS_FAILED,
            "%s: field %s: its size is impossible", shard->path, name);
    bytes *= shape[i];
  }
  return STATUS_OK;
}

/* Where the field's values lie in the file; *offset stays 0 for chunked (compressed) ones. */
static enum status locate(struct shard *shard, const char *name, hid_t dataset,
                          const hsize_t *shape, int axes, size_t element, uint64_t *offset) {
  TRY(check_shape(shard, name, shape, axes, element));
  struct layout layout = layout_of(dataset);
  REQUIRE((layout.kind == H5D_CONTIGUOUS || layout.kind == H5D_CHUNKED) && layout.external == 0,
          STATUS_FAILED, "%s: field %s: expected contiguous or chunked storage in the file itself",
          shard->path, name);
  shard->compressed = layout.kind == H5D_CHUNKED;
  if (shard->compressed) return STATUS_OK;
  uint64_t bytes = element;
  for (int i = 0; i < axes; i++) bytes *= shape[i];
  haddr_t address = H5Dget_offset(dataset);
  REQUIRE(address != HADDR_UNDEF, STATUS_FAILED,
          "%s: field %s: expected its values at a place in the file", shard->path, name);
  REQUIRE(address <= shard->file_bytes && bytes <= shard->file_bytes - address, STATUS_FAILED,
          "%s: field %s: expected %llu bytes at offset %llu, found a file of %llu bytes",
          shard->path, name, (unsigned long long)bytes, (unsigned long long)address,
          (unsigned long long)shard->file_bytes);
  *offset = address;
  return STATUS_OK;
}

/* The image says how many subjects there are and how large they are. */
static enum status find_image(struct shard *shard, struct h5_file *file) {
  int64_t channels = 1;
  if (h5_has_attribute(file, "channels"))
    TRY(h5_read_number(file, "channels", 2, SHARD_CHANNEL_LIMIT, &channels));
  int axes = channels > 1 ? 5 : 4;
  hsize_t shape[SHARD_AXES];
  hid_t dataset;
  TRY(h5_open_field(file, "image", shard_array_type(SHARD_IMAGE), axes, shape, &dataset));
  enum status status =
      locate(shard, "image", dataset, shape, axes, sizeof(float), &shard->offset[SHARD_IMAGE]);
  H5Dclose(dataset);
  if (status) return status;
  REQUIRE(shard->offset[SHARD_IMAGE] % sizeof(float) == 0, STATUS_FAILED,
          "%s: field image: expected its values at an aligned place in the file", shard->path);
  REQUIRE(channels == 1 || shape[1] == (hsize_t)channels, STATUS_FAILED,
          "%s: field image: expected %d channels as the attribute says, found %llu", shard->path,
          (int)channels, (unsigned long long)shape[1]);
  shard->subject_count = (int)shape[0];
  shard->channels = (int)channels;
  for (int i = 0; i < 3; i++) shard->extent[i] = (int)shape[axes - 3 + i];
  return STATUS_OK;
}

static const char *print_shape(const hsize_t *shape, int axes, char text[SHAPE_BYTES]) {
  int length = 0;
  for (int i = 0; i < axes; i++)
    length += snprintf(text + length, (size_t)(SHAPE_BYTES - length), "[%llu]",
                       (unsigned long long)shape[i]);
  return text;
}

/* The other arrays: what the image's shape makes of theirs. */
static enum status find_array(struct shard *shard, struct h5_file *file, enum shard_array array) {
  hsize_t expected[SHARD_AXES], shape[SHARD_AXES];
  int axes = shard_array_shape(shard, array, shard->subject_count, expected);
  const char *name = shard_array_name(array);
  hid_t dataset;
  if (!axes) return STATUS_OK;
  TRY(h5_open_field(file, name, shard_array_type(array), axes, shape, &dataset));
  bool compressed = shard->compressed;
  enum status status =
      locate(shard, name, dataset, shape, axes, shard_array_element(array), &shard->offset[array]);
  H5Dclose(dataset);
  if (status) return status;
  bool same = compressed == shard->compressed;
  for (int i = 0; i < axes; i++) same = same && shape[i] == expected[i];
  char wanted[SHAPE_BYTES], found[SHAPE_BYTES];
  REQUIRE(same, STATUS_FAILED,
          "%s: field %s: expected the shape %s and storage that fit the image's, found %s",
          shard->path, name, print_shape(expected, axes, wanted), print_shape(shape, axes, found));
  return STATUS_OK;
}

static enum status read_structures(struct shard *shard, struct h5_file *file) {
  int64_t count = 0;
  if (h5_has_attribute(file, "structure_count"))
    TRY(h5_read_number(file, "structure_count", 1, STRUCTURE_LIMIT, &count));
  if (!count) return STATUS_OK;
  shard->structures = calloc((size_t)count, sizeof *shard->structures);
  REQUIRE(shard->structures, STATUS_FAILED, "%s: out of memory", shard->path);
  shard->structure_count = (int)count;
  return h5_read_strings(file, "structures", shard->structures, shard->structure_count);
}

/* How many classes are counted, where any are. */
static enum status find_counted(struct shard *shard, struct h5_file *file) {
  hsize_t shape[SHARD_AXES];
  hid_t dataset;
  if (!h5_has_field(file, "slice_voxels")) return STATUS_OK;
  TRY(h5_open_field(file, "slice_voxels", shard_array_type(SHARD_SLICE_VOXELS), 3, shape,
                    &dataset));
  H5Dclose(dataset);
  int low = shard->structure_count ? shard->structure_count : 1;
  int high = shard->structure_count ? shard->structure_count : SHARD_CLASS_LIMIT;
  REQUIRE(shape[2] >= (hsize_t)low && shape[2] <= (hsize_t)high, STATUS_FAILED,
          "%s: field slice_voxels: expected %d to %d classes, found %llu", shard->path, low, high,
          (unsigned long long)shape[2]);
  shard->counted = (int)shape[2];
  return STATUS_OK;
}

enum status shard_find_arrays(struct shard *shard, struct h5_file *file) {
  TRY(find_image(shard, file));
  shard->has_labels = h5_has_field(file, "label");
  TRY(read_structures(shard, file));
  TRY(find_counted(shard, file));
  for (int array = SHARD_LABEL; array < SHARD_MAPPED_COUNT; array++)
    TRY(find_array(shard, file, (enum shard_array)array));
  return STATUS_OK;
}

static enum status read_small(struct shard *shard, struct h5_file *file, enum shard_array array,
                              void *values) {
  hsize_t shape[SHARD_AXES];
  int axes = shard_array_shape(shard, array, shard->subject_count, shape);
  REQUIRE(values, STATUS_FAILED, "%s: field %s: out of memory", shard->path,
          shard_array_name(array));
  return h5_read_array(file, shard_array_name(array), shard_array_type(array), axes, shape, values);
}

enum status shard_read_masks(struct shard *shard, struct h5_file *file) {
  if (!shard->structure_count) return STATUS_OK;
  size_t rows = (size_t)shard->subject_count;
  shard->slice_structures = malloc(rows * shard_array_bytes(shard, SHARD_SLICE_STRUCTURES));
  shard->slice_checksum = malloc(rows * shard_array_bytes(shard, SHARD_SLICE_CHECKSUM));
  shard->structure_voxels = malloc(rows * shard_array_bytes(shard, SHARD_STRUCTURE_VOXELS));
  TRY(read_small(shard, file, SHARD_SLICE_STRUCTURES, shard->slice_structures));
  TRY(read_small(shard, file, SHARD_SLICE_CHECKSUM, shard->slice_checksum));
  return read_small(shard, file, SHARD_STRUCTURE_VOXELS, shard->structure_voxels);
}

static enum status read_row(struct h5_file *file, const struct shard *shard, int row,
                            enum shard_array array, void *values) {
  const char *name = shard_array_name(array);
  hid_t dataset = H5Dopen2(file->id, name, H5P_DEFAULT);
  REQUIRE(dataset >= 0, STATUS_FAILED, "%s: field %s: cannot open%s", file->path, name,
          h5_reason());
  hsize_t start[SHARD_AXES] = {(hsize_t)row}, count[SHARD_AXES];
  int axes = shard_array_shape(shard, array, 1, count);
  hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(axes, count, NULL);
  herr_t read = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  if (read >= 0)
    read = H5Dread(dataset, shard_array_type(array), memory, space, H5P_DEFAULT, values);
  H5Sclose(memory);
  H5Sclose(space);
  H5Dclose(dataset);
  REQUIRE(read >= 0, STATUS_FAILED, "%s: subject %s: field %s: cannot read%s", file->path,
          shard->subjects[row].id, name, h5_reason());
  return STATUS_OK;
}

enum status shard_read_subject(const struct shard *shard, int row, enum shard_array array,
                               void *values) {
  struct h5_file file;
  enum status status = h5_open(&file, shard->path);
  if (!status) status = read_row(&file, shard, row, array, values);
  h5_close(&file);
  return status;
}
