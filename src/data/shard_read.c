/* Reading a shard: nothing is believed before it was compared with the file's size. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/shard_fields.h"
#include "data/split.h"

enum { SHARDS_LIMIT = 100000, LABELS_LIMIT = 255, EXTENT_LIMIT = 32767 };

char *shard_path(const char *master_path, int index, int count) {
  size_t length = strlen(master_path);
  if (length > 3 && strcmp(master_path + length - 3, ".h5") == 0) length -= 3;
  return file_format("%.*s-%05d-of-%05d.h5", (int)length, master_path, index, count);
}

static enum status read_attributes(struct shard *shard, struct h5_file *file) {
  int64_t format, index, count, classes;
  TRY(h5_read_number(file, "medtrain_format", SHARD_FORMAT, SHARD_FORMAT, &format));
  TRY(h5_read_number(file, "shard_count", 1, SHARDS_LIMIT, &count));
  TRY(h5_read_number(file, "shard_index", 0, count - 1, &index));
  TRY(h5_read_number(file, "classes", 0, LABELS_LIMIT + 1, &classes));
  shard->index = (int)index;
  shard->count = (int)count;
  shard->classes = (int)classes;
  if (h5_has_attribute(file, "label_values"))
    TRY(h5_read_numbers(file, "label_values", LABELS_LIMIT, &shard->label_values,
                        &shard->label_value_count));
  TRY(h5_read_text(file, "recipe", &shard->recipe));
  return h5_read_text(file, "config", &shard->config);
}

static enum status read_numbers(struct shard *shard, struct h5_file *file,
                                const struct shard_field *field) {
  size_t rows = (size_t)shard->subject_count;
  hsize_t shape[3];
  int axes = shard_field_shape(field, shard->subject_count, shape);
  unsigned char *packed = malloc(rows * field->bytes);
  REQUIRE(packed, STATUS_FAILED, "%s: field %s: out of memory", shard->path, field->name);
  enum status status = h5_read_array(file, field->name, field->type(), axes, shape, packed);
  for (size_t row = 0; !status && row < rows; row++)
    memcpy(shard_field_at(field, shard, (int)row), packed + row * field->bytes, field->bytes);
  free(packed);
  return status;
}

static enum status read_texts(struct shard *shard, struct h5_file *file,
                              const struct shard_field *field) {
  char **texts = calloc((size_t)shard->subject_count, sizeof *texts);
  REQUIRE(texts, STATUS_FAILED, "%s: field %s: out of memory", shard->path, field->name);
  enum status status = h5_read_strings(file, field->name, texts, shard->subject_count);
  for (int row = 0; row < shard->subject_count; row++)
    *shard_field_text(field, shard, row) = texts[row];
  free(texts);
  return status;
}

/* What a shard of an earlier version does not say: all voxels are the subject's own, and where the
 * labelled ones are is not known. */
static void fill_missing(struct shard *shard) {
  for (int row = 0; row < shard->subject_count; row++)
    for (int i = 0; i < 3; i++) {
      shard->subjects[row].box_first[i] = 0;
      shard->subjects[row].box_count[i] = shard->extent[i];
      shard->subjects[row].centroid[i] = NAN;
    }
}

static enum status check_box(const struct shard *shard, int row) {
  const struct shard_subject *subject = &shard->subjects[row];
  for (int i = 0; i < 3; i++) {
    int first = subject->box_first[i], count = subject->box_count[i], extent = shard->extent[i];
    REQUIRE(first >= 0 && count >= 1 && first < extent && count <= extent - first, STATUS_FAILED,
            "%s: fields box_first, box_count: expected voxels from 0 to %d on axis %d, found %d "
            "from %d for subject %s",
            shard->path, extent - 1, i, count, first, subject->id);
    REQUIRE(!isinf(subject->centroid[i]), STATUS_FAILED,
            "%s: field centroid: expected finite mm or NaN, found infinity for subject %s",
            shard->path, subject->id);
  }
  return STATUS_OK;
}

static enum status check_subject(const struct shard *shard, int row) {
  const struct shard_subject *subject = &shard->subjects[row];
  REQUIRE(subject->id[0] && (row == 0 || strcmp(subject[-1].id, subject->id) < 0), STATUS_FAILED,
          "%s: field id: expected sorted names, found \"%s\" in row %d", shard->path, subject->id,
          row);
  REQUIRE(subject->split < SPLIT_COUNT, STATUS_FAILED,
          "%s: field split: expected 0, 1 or 2, found %d for subject %s", shard->path,
          subject->split, subject->id);
  REQUIRE(!shard->classes || subject->largest_label < shard->classes, STATUS_FAILED,
          "%s: field largest_label: expected less than %d classes, found %d for subject %s",
          shard->path, shard->classes, subject->largest_label, subject->id);
  return check_box(shard, row);
}

static enum status read_subjects(struct shard *shard, struct h5_file *file) {
  shard->subjects = calloc((size_t)shard->subject_count, sizeof *shard->subjects);
  REQUIRE(shard->subjects, STATUS_FAILED, "%s: out of memory for %d subjects", shard->path,
          shard->subject_count);
  fill_missing(shard);
  shard->complete = true;
  for (int i = 0; i < shard_field_count; i++) {
    const struct shard_field *field = &shard_fields[i];
    bool missing = field->optional && !h5_has_field(file, field->name);
    shard->complete = shard->complete && !missing;
    if (missing) continue;
    TRY(field->type ? read_numbers(shard, file, field) : read_texts(shard, file, field));
  }
  for (int row = 0; row < shard->subject_count; row++) TRY(check_subject(shard, row));
  return STATUS_OK;
}

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
static enum status check_shape(const struct shard *shard, const char *name, const hsize_t shape[4],
                               size_t element) {
  REQUIRE(shape[0] >= 1 && shape[0] <= INT_MAX, STATUS_FAILED,
          "%s: field %s: expected at least 1 subject, found %llu", shard->path, name,
          (unsigned long long)shape[0]);
  /* each subject has its strings and numbers in the file, at least this much */
  REQUIRE(shape[0] <= shard->file_bytes / 64, STATUS_FAILED,
          "%s: field %s: expected the subjects to fit in %llu bytes, found %llu of them",
          shard->path, name, (unsigned long long)shard->file_bytes, (unsigned long long)shape[0]);
  uint64_t bytes = element;
  for (int i = 0; i < 4; i++) {
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
                          const hsize_t shape[4], size_t element, uint64_t *offset) {
  TRY(check_shape(shard, name, shape, element));
  struct layout layout = layout_of(dataset);
  REQUIRE((layout.kind == H5D_CONTIGUOUS || layout.kind == H5D_CHUNKED) && layout.external == 0,
          STATUS_FAILED, "%s: field %s: expected contiguous or chunked storage in the file itself",
          shard->path, name);
  shard->compressed = layout.kind == H5D_CHUNKED;
  if (shard->compressed) return STATUS_OK;
  uint64_t bytes = element * shape[0] * shape[1] * shape[2] * shape[3];
  haddr_t address = H5Dget_offset(dataset);
  REQUIRE(address != HADDR_UNDEF && address % element == 0, STATUS_FAILED,
          "%s: field %s: expected its values at an aligned place in the file", shard->path, name);
  REQUIRE(address <= shard->file_bytes && bytes <= shard->file_bytes - address, STATUS_FAILED,
          "%s: field %s: expected %llu bytes at offset %llu, found a file of %llu bytes",
          shard->path, name, (unsigned long long)bytes, (unsigned long long)address,
          (unsigned long long)shard->file_bytes);
  *offset = address;
  return STATUS_OK;
}

static enum status read_image(struct shard *shard, struct h5_file *file) {
  hsize_t shape[4];
  hid_t dataset;
  TRY(h5_open_field(file, "image", shard_type_float(), 4, shape, &dataset));
  enum status status = locate(shard, "image", dataset, shape, sizeof(float), &shard->image_offset);
  H5Dclose(dataset);
  if (status) return status;
  shard->subject_count = (int)shape[0];
  for (int i = 0; i < 3; i++) shard->extent[i] = (int)shape[1 + i];
  return STATUS_OK;
}

static enum status read_label(struct shard *shard, struct h5_file *file) {
  shard->has_labels = h5_has_field(file, "label");
  if (!shard->has_labels) return STATUS_OK;
  hsize_t shape[4];
  hid_t dataset;
  TRY(h5_open_field(file, "label", shard_type_byte(), 4, shape, &dataset));
  bool compressed = shard->compressed;
  enum status status = locate(shard, "label", dataset, shape, 1, &shard->label_offset);
  H5Dclose(dataset);
  if (status) return status;
  bool same = shape[0] == (hsize_t)shard->subject_count && compressed == shard->compressed;
  for (int i = 0; i < 3; i++) same = same && shape[1 + i] == (hsize_t)shard->extent[i];
  REQUIRE(same, STATUS_FAILED,
          "%s: field label: expected the image's shape [%d][%d][%d][%d] and storage, found "
          "[%llu][%llu][%llu][%llu]",
          shard->path, shard->subject_count, shard->extent[0], shard->extent[1], shard->extent[2],
          (unsigned long long)shape[0], (unsigned long long)shape[1], (unsigned long long)shape[2],
          (unsigned long long)shape[3]);
  return STATUS_OK;
}

static enum status read_all(struct shard *shard, struct h5_file *file) {
  shard->file_bytes = file->bytes;
  TRY(read_attributes(shard, file));
  TRY(read_image(shard, file));
  TRY(read_label(shard, file));
  return read_subjects(shard, file);
}

enum status shard_read(struct shard *shard, const char *path) {
  *shard = (struct shard){.path = strdup(path)};
  REQUIRE(shard->path, STATUS_FAILED, "%s: out of memory", path);
  struct h5_file file;
  enum status status = h5_open(&file, path);
  if (!status) status = read_all(shard, &file);
  h5_close(&file);
  if (status) shard_close(shard);
  return status;
}

static enum status read_rows(struct h5_file *file, const char *name, hid_t type,
                             const struct shard *shard, int row, void *values) {
  hid_t dataset = H5Dopen2(file->id, name, H5P_DEFAULT);
  REQUIRE(dataset >= 0, STATUS_FAILED, "%s: field %s: cannot open%s", file->path, name,
          h5_reason());
  hsize_t start[4] = {(hsize_t)row}, count[4] = {1};
  for (int i = 0; i < 3; i++) count[1 + i] = (hsize_t)shard->extent[i];
  hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(4, count, NULL);
  herr_t read = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  if (read >= 0) read = H5Dread(dataset, type, memory, space, H5P_DEFAULT, values);
  H5Sclose(memory);
  H5Sclose(space);
  H5Dclose(dataset);
  REQUIRE(read >= 0, STATUS_FAILED, "%s: subject %s: field %s: cannot read%s", file->path,
          shard->subjects[row].id, name, h5_reason());
  return STATUS_OK;
}

enum status shard_read_subject(const struct shard *shard, int row, float *image, uint8_t *label) {
  struct h5_file file;
  enum status status = h5_open(&file, shard->path);
  if (!status) status = read_rows(&file, "image", shard_type_float(), shard, row, image);
  if (!status && label) status = read_rows(&file, "label", shard_type_byte(), shard, row, label);
  h5_close(&file);
  return status;
}

void shard_close(struct shard *shard) {
  for (int row = 0; shard->subjects && row < shard->subject_count; row++)
    for (int i = 0; i < shard_field_count; i++)
      if (!shard_fields[i].type) free(*shard_field_text(&shard_fields[i], shard, row));
  free(shard->subjects);
  free(shard->label_values);
  free(shard->recipe);
  free(shard->config);
  free(shard->path);
  *shard = (struct shard){0};
}

enum status shard_read_master(const char *master_path, int *shard_count, uint64_t *manifest) {
  struct h5_file file;
  int64_t format, count = 0, hash = 0;
  enum status status = h5_open(&file, master_path);
  if (!status)
    status = h5_read_number(&file, "medtrain_format", SHARD_FORMAT, SHARD_FORMAT, &format);
  if (!status) status = h5_read_number(&file, "shard_count", 1, SHARDS_LIMIT, &count);
  if (!status) status = h5_read_number(&file, "manifest", INT64_MIN, INT64_MAX, &hash);
  h5_close(&file);
  *shard_count = (int)count;
  *manifest = (uint64_t)hash;
  return status;
}
