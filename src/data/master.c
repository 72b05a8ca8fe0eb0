/* The master file: every field of the shards as one virtual data set. File names in it are relative
 * to the master's folder, and '%' is doubled, because HDF5 reads "%b" in them as a block number. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "data/shard_fields.h"
#include "data/shard_write.h"

struct master {
  struct h5_file file;
  const struct shard *shards;
  int count, subjects;
};

/* "a/b%c-00000-of-00001.h5" -> "b%%c-00000-of-00001.h5" (caller frees). */
static char *virtual_name(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  char *escaped = malloc(2 * strlen(name) + 1), *to = escaped;
  for (const char *from = name; escaped && *from; from++) {
    if (*from == '%') *to++ = '%';
    *to++ = *from;
  }
  if (escaped) *to = 0;
  return escaped;
}

/* Rows [first, first + shard's subjects) of `space` are the shard's field. */
static herr_t map_shard(hid_t properties, hid_t space, const struct shard *shard, const char *name,
                        int axes, const hsize_t *shape, hsize_t first) {
  hsize_t start[SHARD_AXES] = {first}, count[SHARD_AXES];
  memcpy(count, shape, sizeof *count * (size_t)axes);
  count[0] = (hsize_t)shard->subject_count;
  char *file = virtual_name(shard->path);
  hid_t source = H5Screate_simple(axes, count, NULL);
  herr_t result = file ? H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) : -1;
  if (result >= 0) result = H5Pset_virtual(properties, space, file, name, source);
  H5Sclose(source);
  free(file);
  return result;
}

static enum status write_virtual(struct master *master, const char *name, hid_t type, int axes,
                                 const hsize_t *shape) {
  hid_t space = H5Screate_simple(axes, shape, NULL), properties = H5Pcreate(H5P_DATASET_CREATE);
  hsize_t first = 0;
  herr_t good = 0;
  for (int i = 0; i < master->count && good >= 0;
       first += (hsize_t)master->shards[i++].subject_count)
    good = map_shard(properties, space, &master->shards[i], name, axes, shape, first);
  H5Sselect_all(space);
  hid_t dataset = good < 0 ? H5I_INVALID_HID
                           : H5Dcreate2(master->file.id, name, type, space, H5P_DEFAULT, properties,
                                        H5P_DEFAULT);
  H5Pclose(properties);
  H5Sclose(space);
  REQUIRE(dataset >= 0, STATUS_FAILED, "%s: field %s: cannot create%s", master->file.path, name,
          h5_reason());
  H5Dclose(dataset);
  return STATUS_OK;
}

static size_t text_width(const struct master *master, const struct shard_field *field) {
  size_t width = 1;
  for (int i = 0; i < master->count; i++)
    for (int row = 0; row < master->shards[i].subject_count; row++) {
      size_t length = strlen(*shard_field_text(field, &master->shards[i], row));
      if (length > width) width = length;
    }
  return width;
}

static enum status write_field(struct master *master, const struct shard_field *field) {
  hsize_t shape[3];
  int axes = shard_field_shape(field, master->subjects, shape);
  if (field->type) return write_virtual(master, field->name, field->type(), axes, shape);
  hid_t type = h5_string_type(text_width(master, field));
  enum status status = write_virtual(master, field->name, type, axes, shape);
  H5Tclose(type);
  return status;
}

static enum status write_attributes(struct master *master) {
  const struct shard *shards = master->shards;
  struct h5_file *file = &master->file;
  int64_t manifest = (int64_t)shard_manifest(shards, master->count);
  TRY(h5_write_numbers(file, "medtrain_format", (int64_t[]){SHARD_FORMAT}, 1));
  TRY(h5_write_numbers(file, "shard_count", (int64_t[]){master->count}, 1));
  TRY(h5_write_numbers(file, "classes", (int64_t[]){shard_classes(shards, master->count)}, 1));
  TRY(h5_write_numbers(file, "manifest", &manifest, 1));
  if (shards[0].label_value_count)
    TRY(h5_write_numbers(file, "label_values", shards[0].label_values,
                         shards[0].label_value_count));
  TRY(shard_write_contents(file, &shards[0]));
  TRY(h5_write_text(file, "recipe", shards[0].recipe));
  return h5_write_text(file, "config", shards[0].config);
}

static enum status write_all(struct master *master) {
  for (int i = 0; i < SHARD_ARRAY_COUNT; i++) {
    enum shard_array array = (enum shard_array)i;
    hsize_t shape[SHARD_AXES];
    int axes = shard_array_shape(&master->shards[0], array, master->subjects, shape);
    if (axes)
      TRY(write_virtual(master, shard_array_name(array), shard_array_type(array), axes, shape));
  }
  for (int i = 0; i < shard_field_count; i++)
    if (shard_field_present(&shard_fields[i], &master->shards[0]))
      TRY(write_field(master, &shard_fields[i]));
  TRY(write_attributes(master));
  return h5_finish(&master->file);
}

enum status master_write(const char *master_path, const struct shard *shards, int count) {
  struct master master = {.shards = shards, .count = count};
  for (int i = 0; i < count; i++) master.subjects += shards[i].subject_count;
  char *temporary = file_format("%s.part", master_path);
  REQUIRE(temporary, STATUS_FAILED, "%s: out of memory", master_path);
  enum status status = h5_create(&master.file, temporary, NULL);
  if (!status) status = write_all(&master);
  h5_close(&master.file);
  if (!status) status = shard_publish(temporary, master_path);
  if (status) unlink(temporary);
  free(temporary);
  return status;
}
