/* Writing and reading safetensors. */
#include "store/safetensors.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "store/bytes.h"

enum { LENGTH_BYTES = 8, ALIGNMENT = 8, MOST_HEADER_BYTES = 100 * 1000 * 1000 };
#define METADATA "__metadata__"

/* --- writing -------------------------------------------------------------------------------------
 */

static enum status add_entry(json_t *header, const char *path, const struct stored_tensor *tensor,
                             size_t offset) {
  TRY(stored_tensor_check(tensor, path));
  REQUIRE(strcmp(tensor->name, METADATA) != 0 && !json_object_get(header, tensor->name),
          STATUS_FAILED, "%s: two tensors are named %s", path, tensor->name);
  json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape",
                            stored_shape_to_json(tensor), "data_offsets", (json_int_t)offset,
                            (json_int_t)(offset + tensor->bytes));
  REQUIRE(entry && json_object_set_new(header, tensor->name, entry) == 0, STATUS_FAILED,
          "%s: tensor %s: out of memory, or its name is not UTF-8", path, tensor->name);
  return STATUS_OK;
}

static enum status check_metadata(const json_t *metadata, const char *path) {
  const char *key;
  json_t *value;
  REQUIRE(json_is_object(metadata), STATUS_FAILED, "%s: the metadata is no object", path);
  json_object_foreach((json_t *)metadata, key, value)
      REQUIRE(json_is_string(value), STATUS_FAILED, "%s: metadata %s is no string", path, key);
  return STATUS_OK;
}

static enum status fill_header(json_t *header, const char *path, const json_t *metadata,
                               const struct stored_tensor *tensors, int count) {
  size_t offset = 0;
  REQUIRE(header, STATUS_FAILED, "%s: out of memory", path);
  if (metadata) {
    TRY(check_metadata(metadata, path));
    REQUIRE(json_object_set(header, METADATA, (json_t *)metadata) == 0, STATUS_FAILED,
            "%s: out of memory", path);
  }
  for (int i = 0; i < count; i++) {
    TRY(add_entry(header, path, &tensors[i], offset));
    offset += tensors[i].bytes;
  }
  return STATUS_OK;
}

/* The header is filled up with spaces so that the data is aligned. */
static enum status write_file(struct file_writer *writer, const char *path, const char *header,
                              const struct stored_tensor *tensors, int count) {
  static const char spaces[ALIGNMENT] = "       ";
  unsigned char length[LENGTH_BYTES];
  size_t bytes = strlen(header), padding = (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT;
  put_u64(length, bytes + padding);
  TRY(file_create(writer, path));
  TRY(file_write(writer, length, sizeof length));
  TRY(file_write(writer, header, bytes));
  TRY(file_write(writer, spaces, padding));
  for (int i = 0; i < count; i++) TRY(file_write(writer, tensors[i].data, tensors[i].bytes));
  return file_commit(writer);
}

enum status safetensors_write(const char *path, const json_t *metadata,
                              const struct stored_tensor *tensors, int count) {
  struct file_writer writer = {.descriptor = -1};
  json_t *header = json_object();
  char *text = NULL;
  enum status status;
  TRY_GOTO(status, end, fill_header(header, path, metadata, tensors, count));
  text = json_dumps(header, JSON_COMPACT);
  if (!text)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  else
    status = write_file(&writer, path, text, tensors, count);
end:
  file_abandon(&writer);
  free(text);
  json_decref(header);
  return status;
}

/* --- reading -------------------------------------------------------------------------------------
 */

static enum status read_entry(struct safetensors *file, const char *name, json_t *entry,
                              unsigned char *data, size_t data_bytes) {
  struct stored_tensor *tensor = &file->tensors[file->count];
  const char *dtype;
  const json_t *shape;
  json_int_t begin, end;
  REQUIRE(json_unpack(entry, "{s:s, s:o, s:[I, I!]!}", "dtype", &dtype, "shape", &shape,
                      "data_offsets", &begin, &end) == 0,
          STATUS_FAILED, "%s: tensor %s: expected dtype, shape and data_offsets", file->path, name);
  REQUIRE(begin >= 0 && begin <= end && (uint64_t)end <= data_bytes, STATUS_FAILED,
          "%s: tensor %s: expected data within %zu bytes, found %lld to %lld", file->path, name,
          data_bytes, (long long)begin, (long long)end);
  *tensor = (struct stored_tensor){.name = name,
                                   .dtype = stored_dtype(dtype),
                                   .data = data + begin,
                                   .bytes = (size_t)(end - begin)};
  REQUIRE(tensor->dtype, STATUS_FAILED, "%s: tensor %s: unknown dtype \"%s\"", file->path, name,
          dtype);
  TRY(stored_shape_from_json(shape, file->path, tensor));
  file->count++;
  return stored_tensor_check(tensor, file->path);
}

static int by_position(const void *a, const void *b) {
  const struct stored_tensor *left = a, *right = b;
  if (left->data != right->data)
    return (const char *)left->data < (const char *)right->data ? -1 : 1;
  return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

/* The format allows neither overlaps nor holes. Sorts the tensors by position. */
static enum status check_cover(struct safetensors *file, const unsigned char *data, size_t bytes) {
  size_t position = 0;
  qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_position);
  for (int i = 0; i < file->count; i++) {
    size_t begin = (size_t)((const unsigned char *)file->tensors[i].data - data);
    REQUIRE(begin == position, STATUS_FAILED, "%s: tensor %s: expected its data at %zu, found %zu",
            file->path, file->tensors[i].name, position, begin);
    position += file->tensors[i].bytes;
  }
  REQUIRE(position == bytes, STATUS_FAILED, "%s: expected %zu bytes of data, found %zu", file->path,
          position, bytes);
  return STATUS_OK;
}

static enum status read_entries(struct safetensors *file, unsigned char *data, size_t bytes) {
  const char *name;
  json_t *entry;
  REQUIRE(json_is_object(file->header), STATUS_FAILED, "%s: the header is no object", file->path);
  file->tensors = calloc(json_object_size(file->header) + 1, sizeof *file->tensors);
  REQUIRE(file->tensors, STATUS_FAILED, "%s: out of memory", file->path);
  json_object_foreach(file->header, name, entry) {
    if (strcmp(name, METADATA) == 0) {
      TRY(check_metadata(entry, file->path));
      file->metadata = entry;
    } else {
      TRY(read_entry(file, name, entry, data, bytes));
    }
  }
  return check_cover(file, data, bytes);
}

static enum status read_file(struct safetensors *file, const char *path) {
  size_t bytes;
  json_error_t error;
  file->path = strdup(path);
  REQUIRE(file->path, STATUS_FAILED, "%s: out of memory", path);
  TRY(file_read(path, SIZE_MAX - 1, &file->memory, &bytes));
  unsigned char *memory = (unsigned char *)file->memory;
  REQUIRE(bytes >= LENGTH_BYTES, STATUS_FAILED, "%s: not safetensors: only %zu bytes", path, bytes);
  uint64_t header = get_u64(memory);
  REQUIRE(header <= MOST_HEADER_BYTES && header <= bytes - LENGTH_BYTES, STATUS_FAILED,
          "%s: not safetensors, or truncated: a header of %llu bytes in a file of %zu", path,
          (unsigned long long)header, bytes);
  REQUIRE(header && memory[LENGTH_BYTES] == '{', STATUS_FAILED,
          "%s: not safetensors: expected the header to begin with {", path);
  file->header =
      json_loadb(file->memory + LENGTH_BYTES, (size_t)header, JSON_REJECT_DUPLICATES, &error);
  REQUIRE(file->header, STATUS_FAILED, "%s: the header is no JSON: %s", path, error.text);
  return read_entries(file, memory + LENGTH_BYTES + header, bytes - LENGTH_BYTES - (size_t)header);
}

enum status safetensors_read(const char *path, struct safetensors *file) {
  *file = (struct safetensors){0};
  enum status status = read_file(file, path);
  if (status) safetensors_close(file);
  return status;
}

const struct stored_tensor *safetensors_find(const struct safetensors *file, const char *name) {
  return stored_find(file->tensors, file->count, name);
}

void safetensors_close(struct safetensors *file) {
  json_decref(file->header);
  free(file->tensors);
  free(file->memory);
  free(file->path);
  *file = (struct safetensors){0};
}
