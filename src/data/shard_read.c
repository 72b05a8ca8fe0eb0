/* Reading a shard: nothing is believed before it was compared with the file's size. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/shard_arrays.h"
#include "data/split.h"

enum { SHARDS_LIMIT = 100000, LABELS_LIMIT = 255 };

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

static enum status read_names(struct shard *shard, struct h5_file *file) {
  int64_t count;
  if (!h5_has_attribute(file, "label_name_count")) return STATUS_OK;
  TRY(h5_read_number(file, "label_name_count", 1, LABELS_LIMIT, &count));
  REQUIRE(count + 1 == shard->classes, STATUS_FAILED,
          "%s: field label_names: expected names of %d classes, found %d", shard->path,
          shard->classes - 1, (int)count);
  shard->label_names = calloc((size_t)count, sizeof *shard->label_names);
  REQUIRE(shard->label_names, STATUS_FAILED, "%s: out of memory", shard->path);
  shard->label_name_count = (int)count;
  return h5_read_strings(file, "label_names", shard->label_names, shard->label_name_count);
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

/* What a shard may not say: all voxels are the subject's own, and where the labelled ones are and
 * what category it is of is not known. */
static void fill_missing(struct shard *shard) {
  for (int row = 0; row < shard->subject_count; row++) shard->subjects[row].category = -1;
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
  REQUIRE(!shard->has_labels || !shard->counted || subject->largest_label < shard->counted,
          STATUS_FAILED,
          "%s: field slice_voxels: expected more than %d classes for subject %s, found %d",
          shard->path, subject->largest_label, subject->id, shard->counted);
  REQUIRE(subject->category >= -1 && subject->category < SHARD_CATEGORY_LIMIT, STATUS_FAILED,
          "%s: field category: expected -1 to %d, found %d for subject %s", shard->path,
          SHARD_CATEGORY_LIMIT - 1, (int)subject->category, subject->id);
  return check_box(shard, row);
}

static enum status read_subjects(struct shard *shard, struct h5_file *file) {
  shard->subjects = calloc((size_t)shard->subject_count, sizeof *shard->subjects);
  REQUIRE(shard->subjects, STATUS_FAILED, "%s: out of memory for %d subjects", shard->path,
          shard->subject_count);
  fill_missing(shard);
  shard->has_categories = h5_has_field(file, "category");
  shard->complete = shard->counted > 0 || !(shard->has_labels || shard->structure_count);
  for (int i = 0; i < shard_field_count; i++) {
    const struct shard_field *field = &shard_fields[i];
    if (!shard_field_present(field, shard)) continue;
    bool missing = field->optional && !h5_has_field(file, field->name);
    shard->complete = shard->complete && !missing;
    if (missing) continue;
    TRY(field->type ? read_numbers(shard, file, field) : read_texts(shard, file, field));
  }
  for (int row = 0; row < shard->subject_count; row++) TRY(check_subject(shard, row));
  return STATUS_OK;
}

static enum status read_all(struct shard *shard, struct h5_file *file) {
  shard->file_bytes = file->bytes;
  TRY(read_attributes(shard, file));
  TRY(read_names(shard, file));
  TRY(shard_find_arrays(shard, file));
  TRY(shard_read_masks(shard, file));
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

void shard_close(struct shard *shard) {
  for (int row = 0; shard->subjects && row < shard->subject_count; row++)
    for (int i = 0; i < shard_field_count; i++)
      if (!shard_fields[i].type) free(*shard_field_text(&shard_fields[i], shard, row));
  for (int i = 0; shard->structures && i < shard->structure_count; i++) free(shard->structures[i]);
  for (int i = 0; shard->label_names && i < shard->label_name_count; i++)
    free(shard->label_names[i]);
  free(shard->label_names);
  free(shard->structures);
  free(shard->slice_structures);
  free(shard->slice_checksum);
  free(shard->structure_voxels);
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
