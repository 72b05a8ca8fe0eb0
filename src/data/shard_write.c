/* A shard is created with room for its voxels, filled subject by subject, and described at the end.
 */
#include "data/shard_write.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "data/shard_fields.h"

enum { CHUNK_LIMIT = 1 << 30 }; /* HDF5 chunks must be smaller than 4 GiB */

/* One chunk per subject, cut along its outer axes where that would be too large. */
static void chunk_shape(const hsize_t *shape, int axes, size_t element, hsize_t *chunk) {
  hsize_t bytes = element;
  for (int i = axes - 1; i >= 1; i--) {
    hsize_t most = bytes < CHUNK_LIMIT ? CHUNK_LIMIT / bytes : 1;
    chunk[i] = shape[i] < most ? shape[i] : most;
    bytes *= chunk[i];
  }
  chunk[0] = 1;
}

static hid_t storage(const hsize_t *shape, int axes, size_t element, int compression) {
  hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
  if (!compression) return properties;
  hsize_t chunk[SHARD_AXES];
  chunk_shape(shape, axes, element, chunk);
  H5Pset_alloc_time(properties, H5D_ALLOC_TIME_DEFAULT);
  if (H5Pset_chunk(properties, axes, chunk) >= 0 && H5Pset_shuffle(properties) >= 0 &&
      H5Pset_deflate(properties, (unsigned)compression) >= 0)
    return properties;
  H5Pclose(properties);
  return H5I_INVALID_HID;
}

/* What is small is never compressed. */
static enum status create_array(struct shard_writer *writer, enum shard_array array,
                                int compression) {
  const struct shard *shard = writer->shard;
  hsize_t shape[SHARD_AXES];
  int axes = shard_array_shape(shard, array, shard->subject_count, shape);
  if (!axes) return STATUS_OK;
  hid_t type = shard_array_type(array), space = H5Screate_simple(axes, shape, NULL);
  hid_t properties =
      storage(shape, axes, H5Tget_size(type), array < SHARD_MAPPED_COUNT ? compression : 0);
  if (properties >= 0) {
    writer->array[array] = H5Dcreate2(writer->file.id, shard_array_name(array), type, space,
                                      H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Pclose(properties);
  }
  H5Sclose(space);
  REQUIRE(writer->array[array] >= 0, STATUS_FAILED, "%s: field %s: cannot create%s",
          writer->file.path, shard_array_name(array), h5_reason());
  return STATUS_OK;
}

static enum status create_arrays(struct shard_writer *writer, int compression) {
  for (int array = 0; array < SHARD_ARRAY_COUNT; array++)
    TRY(create_array(writer, (enum shard_array)array, compression));
  writer->transfer = H5Pcreate(H5P_DATASET_XFER);
  REQUIRE(writer->transfer >= 0, STATUS_FAILED, "%s: out of memory", writer->file.path);
  if (writer->communicator) H5Pset_dxpl_mpio(writer->transfer, H5FD_MPIO_COLLECTIVE);
  return STATUS_OK;
}

/* As one that was never opened. */
static void clear(struct shard_writer *writer) {
  *writer = (struct shard_writer){.file.id = H5I_INVALID_HID, .transfer = H5I_INVALID_HID};
  for (int array = 0; array < SHARD_ARRAY_COUNT; array++) writer->array[array] = H5I_INVALID_HID;
}

enum status shard_writer_open(struct shard_writer *writer, const struct shard *shard,
                              int compression, const MPI_Comm *communicator) {
  clear(writer);
  writer->shard = shard;
  writer->communicator = communicator;
  writer->temporary = file_format("%s.part", shard->path);
  REQUIRE(writer->temporary, STATUS_FAILED, "%s: out of memory", shard->path);
  enum status status = h5_create(&writer->file, writer->temporary, communicator);
  if (!status) status = create_arrays(writer, compression);
  if (status) shard_writer_abandon(writer);
  return status;
}

/* row -1 selects nothing: where writing is collective, every rank must come along. */
static enum status put(struct shard_writer *writer, enum shard_array array, int row,
                       const void *values) {
  hsize_t start[SHARD_AXES] = {row < 0 ? 0 : (hsize_t)row}, count[SHARD_AXES];
  int axes = shard_array_shape(writer->shard, array, 1, count);
  hid_t space = H5Dget_space(writer->array[array]);
  hid_t memory = H5Screate_simple(axes, count, NULL);
  herr_t written = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  if (row < 0 && written >= 0) written = H5Sselect_none(space);
  if (row < 0 && written >= 0) written = H5Sselect_none(memory);
  char nothing = 0;
  if (written >= 0)
    written = H5Dwrite(writer->array[array], shard_array_type(array), memory, space,
                       writer->transfer, row < 0 ? &nothing : values);
  H5Sclose(memory);
  H5Sclose(space);
  REQUIRE(written >= 0, STATUS_FAILED, "%s: field %s: cannot write; is there space left?%s",
          writer->file.path, shard_array_name(array), h5_reason());
  return STATUS_OK;
}

enum status shard_writer_put(struct shard_writer *writer, int row,
                             const void *const values[SHARD_ARRAY_COUNT]) {
  enum status status = STATUS_OK;
  for (int array = 0; array < SHARD_ARRAY_COUNT; array++) {
    if (writer->array[array] < 0) continue;
    /* also after a failure: another rank may be waiting in the next write */
    if (status && !writer->communicator) break;
    enum status next = put(writer, (enum shard_array)array, row, values[array]);
    if (!status) status = next;
  }
  return status;
}

static enum status write_texts(struct shard_writer *writer, const struct shard_field *field) {
  const struct shard *shard = writer->shard;
  const char **texts = malloc(sizeof *texts * (size_t)shard->subject_count);
  REQUIRE(texts, STATUS_FAILED, "%s: field %s: out of memory", shard->path, field->name);
  for (int row = 0; row < shard->subject_count; row++)
    texts[row] = *shard_field_text(field, shard, row);
  enum status status = h5_write_strings(&writer->file, field->name, texts, shard->subject_count);
  free(texts);
  return status;
}

static enum status write_numbers(struct shard_writer *writer, const struct shard_field *field) {
  const struct shard *shard = writer->shard;
  unsigned char *packed = malloc(field->bytes * (size_t)shard->subject_count);
  REQUIRE(packed, STATUS_FAILED, "%s: field %s: out of memory", shard->path, field->name);
  for (int row = 0; row < shard->subject_count; row++)
    memcpy(packed + field->bytes * (size_t)row, shard_field_at(field, shard, row), field->bytes);
  hsize_t shape[3];
  int axes = shard_field_shape(field, shard->subject_count, shape);
  enum status status =
      h5_write_array(&writer->file, field->name, field->type(), axes, shape, packed);
  free(packed);
  return status;
}

enum status shard_write_contents(struct h5_file *file, const struct shard *shard) {
  if (shard->channels > 1) TRY(h5_write_numbers(file, "channels", (int64_t[]){shard->channels}, 1));
  if (shard->label_name_count) {
    TRY(h5_write_numbers(file, "label_name_count", (int64_t[]){shard->label_name_count}, 1));
    TRY(h5_write_strings(file, "label_names", (const char *const *)shard->label_names,
                         shard->label_name_count));
  }
  if (!shard->structure_count) return STATUS_OK;
  TRY(h5_write_numbers(file, "structure_count", (int64_t[]){shard->structure_count}, 1));
  return h5_write_strings(file, "structures", (const char *const *)shard->structures,
                          shard->structure_count);
}

static enum status describe(struct shard_writer *writer) {
  const struct shard *shard = writer->shard;
  struct h5_file *file = &writer->file;
  for (int i = 0; i < shard_field_count; i++) {
    const struct shard_field *field = &shard_fields[i];
    if (!shard_field_present(field, shard)) continue;
    TRY(field->type ? write_numbers(writer, field) : write_texts(writer, field));
  }
  TRY(h5_write_numbers(file, "medtrain_format", (int64_t[]){SHARD_FORMAT}, 1));
  TRY(h5_write_numbers(file, "shard_index", (int64_t[]){shard->index}, 1));
  TRY(h5_write_numbers(file, "shard_count", (int64_t[]){shard->count}, 1));
  TRY(h5_write_numbers(file, "classes", (int64_t[]){shard->classes}, 1));
  if (shard->label_value_count)
    TRY(h5_write_numbers(file, "label_values", shard->label_values, shard->label_value_count));
  TRY(shard_write_contents(file, shard));
  TRY(h5_write_text(file, "recipe", shard->recipe));
  return h5_write_text(file, "config", shard->config);
}

static void close_fields(struct shard_writer *writer) {
  for (int array = 0; array < SHARD_ARRAY_COUNT; array++) {
    if (writer->array[array] >= 0) H5Dclose(writer->array[array]);
    writer->array[array] = H5I_INVALID_HID;
  }
  if (writer->transfer >= 0) H5Pclose(writer->transfer);
  writer->transfer = H5I_INVALID_HID;
}

static enum status sync_path(const char *path, int flags) {
  int descriptor = open(path, flags | O_CLOEXEC);
  REQUIRE(descriptor >= 0, STATUS_FAILED, "%s: cannot open to sync: %s", path, strerror(errno));
  int failed = fsync(descriptor) ? errno : 0;
  close(descriptor);
  REQUIRE(!failed, STATUS_FAILED, "%s: cannot sync: %s", path, strerror(failed));
  return STATUS_OK;
}

enum status shard_publish(const char *temporary, const char *path) {
  TRY(sync_path(temporary, O_RDONLY));
  REQUIRE(rename(temporary, path) == 0, STATUS_FAILED, "%s: cannot rename to %s: %s", temporary,
          path, strerror(errno));
  const char *slash = strrchr(path, '/');
  char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  REQUIRE(folder, STATUS_FAILED, "%s: out of memory", path);
  enum status status = sync_path(folder, O_RDONLY | O_DIRECTORY);
  free(folder);
  return status;
}

/* The group's first rank publishes, after all have closed. */
static enum status publish(struct shard_writer *writer) {
  int rank = 0;
  if (writer->communicator) {
    MPI_Barrier(*writer->communicator);
    MPI_Comm_rank(*writer->communicator, &rank);
  }
  return rank == 0 ? shard_publish(writer->temporary, writer->shard->path) : STATUS_OK;
}

enum status shard_writer_finish(struct shard_writer *writer) {
  enum status status = describe(writer);
  close_fields(writer);
  if (!status) status = h5_finish(&writer->file);
  if (!status) status = publish(writer);
  shard_writer_abandon(writer); /* a published file is no longer at the temporary name */
  return status;
}

void shard_writer_abandon(struct shard_writer *writer) {
  if (!writer->temporary) return;
  close_fields(writer);
  h5_close(&writer->file);
  if (writer->file.writes) unlink(writer->temporary);
  free(writer->temporary);
  clear(writer);
}
