/* Reading a checkpoint, believing nothing that no checksum vouches for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "store/checkpoint.h"
#include "store/checkpoint_parts.h"

static enum status check_crc(const char *path, const char *part, const void *data, size_t bytes,
                             uint32_t expected) {
  uint32_t found = file_checksum(0, data, bytes);
  REQUIRE(found == expected, STATUS_FAILED, "%s: damaged: %s: expected checksum %08x, found %08x",
          path, part, expected, found);
  return STATUS_OK;
}

/* Looks before the whole file is loaded. */
static enum status check_magic(const char *path) {
  char magic[8] = "";
  FILE *file = fopen(path, "rb");
  size_t got = file ? fread(magic, 1, sizeof magic, file) : 0;
  if (file) fclose(file);
  REQUIRE(!file || (got == sizeof magic && memcmp(magic, CHECKPOINT_MAGIC, sizeof magic) == 0),
          STATUS_FAILED, "%s: not a checkpoint: expected it to begin with " CHECKPOINT_MAGIC, path);
  return STATUS_OK; /* what does not open fails with its reason when it is read */
}

static bool all_zero(const unsigned char *from, const unsigned char *end) {
  while (from < end && !*from) from++;
  return from >= end;
}

static enum status check_header(const char *path, const unsigned char *memory, size_t bytes) {
  REQUIRE(bytes >= CHECKPOINT_HEADER + CHECKPOINT_TRAILER, STATUS_FAILED,
          "%s: truncated: expected at least %d bytes, found %zu", path,
          CHECKPOINT_HEADER + CHECKPOINT_TRAILER, bytes);
  TRY(check_crc(path, "header", memory, AT_HEADER_CRC, get_u32(memory + AT_HEADER_CRC)));
  REQUIRE(get_u32(memory + AT_VERSION) == CHECKPOINT_VERSION, STATUS_FAILED,
          "%s: expected a checkpoint of version %d, found %u", path, CHECKPOINT_VERSION,
          get_u32(memory + AT_VERSION));
  REQUIRE(get_u64(memory + AT_FILE_BYTES) == bytes, STATUS_FAILED,
          "%s: %s: expected %llu bytes, found %zu", path,
          bytes < get_u64(memory + AT_FILE_BYTES) ? "truncated" : "damaged",
          (unsigned long long)get_u64(memory + AT_FILE_BYTES), bytes);
  uint64_t table = get_u64(memory + AT_TABLE_BYTES), data = get_u64(memory + AT_DATA_OFFSET);
  REQUIRE(table <= bytes && data == checkpoint_align(CHECKPOINT_HEADER + table) &&
              data <= bytes - CHECKPOINT_TRAILER,
          STATUS_FAILED, "%s: damaged: the table does not fit the file", path);
  return STATUS_OK;
}

static enum status check_trailer(const char *path, const unsigned char *memory, size_t bytes) {
  const unsigned char *trailer = memory + bytes - CHECKPOINT_TRAILER;
  size_t table = (size_t)get_u64(memory + AT_TABLE_BYTES);
  const unsigned char *gap = memory + CHECKPOINT_HEADER + table;
  REQUIRE(memcmp(trailer + 8, CHECKPOINT_END, 8) == 0 && all_zero(trailer + 4, trailer + 8),
          STATUS_FAILED, "%s: damaged: expected it to end with " CHECKPOINT_END, path);
  TRY(check_crc(path, "table", memory + CHECKPOINT_HEADER, table, get_u32(memory + AT_TABLE_CRC)));
  TRY(check_crc(path, "header and table", memory, CHECKPOINT_HEADER + table, get_u32(trailer)));
  REQUIRE(all_zero(gap, memory + get_u64(memory + AT_DATA_OFFSET)), STATUS_FAILED,
          "%s: damaged: expected zeros after the table", path);
  return STATUS_OK;
}

/* One entry of the table: its tensor must lie at `*position` of the data, which moves behind it. */
static enum status read_tensor(struct checkpoint *checkpoint, json_t *entry, unsigned char *data,
                               uint64_t data_bytes, uint64_t *position) {
  const char *path = checkpoint->path;
  struct stored_tensor *tensor = &checkpoint->tensors[checkpoint->count];
  const json_t *shape;
  json_int_t offset, bytes, crc;
  REQUIRE(json_unpack(entry, "{s:s, s:s, s:o, s:I, s:I, s:I}", "name", &tensor->name, "dtype",
                      &tensor->dtype, "shape", &shape, "offset", &offset, "bytes", &bytes, "crc32c",
                      &crc) == 0,
          STATUS_FAILED, "%s: tensor %d of the table lacks a field", path, checkpoint->count);
  REQUIRE(offset >= 0 && bytes >= 0 && (uint64_t)offset == *position &&
              (uint64_t)bytes <= data_bytes - *position,
          STATUS_FAILED, "%s: tensor %s: expected its data at %llu, found %lld with %lld bytes",
          path, tensor->name, (unsigned long long)*position, (long long)offset, (long long)bytes);
  tensor->bytes = (size_t)bytes;
  tensor->data = data + offset;
  TRY(stored_shape_from_json(shape, path, tensor));
  TRY(stored_tensor_check(tensor, path));
  TRY(check_crc(path, tensor->name, tensor->data, tensor->bytes, (uint32_t)crc));
  *position = checkpoint_align((uint64_t)offset + (uint64_t)bytes);
  REQUIRE(*position <= data_bytes && all_zero(data + offset + bytes, data + *position),
          STATUS_FAILED, "%s: damaged: expected zeros after tensor %s", path, tensor->name);
  checkpoint->count++;
  return STATUS_OK;
}

static enum status read_table(struct checkpoint *checkpoint, size_t file_bytes) {
  unsigned char *memory = (unsigned char *)checkpoint->memory;
  uint64_t data_offset = get_u64(memory + AT_DATA_OFFSET), position = 0;
  uint64_t data_bytes = file_bytes - CHECKPOINT_TRAILER - data_offset;
  json_error_t error;
  checkpoint->table = json_loadb((char *)memory + CHECKPOINT_HEADER,
                                 (size_t)get_u64(memory + AT_TABLE_BYTES), 0, &error);
  REQUIRE(checkpoint->table, STATUS_FAILED, "%s: the table is no JSON: %s", checkpoint->path,
          error.text);
  checkpoint->metadata = json_object_get(checkpoint->table, "metadata");
  json_t *list = json_object_get(checkpoint->table, "tensors");
  REQUIRE(json_is_object(checkpoint->metadata) && json_is_array(list), STATUS_FAILED,
          "%s: the table lacks its metadata or its tensors", checkpoint->path);
  size_t count = json_array_size(list);
  checkpoint->tensors = calloc(count + 1, sizeof *checkpoint->tensors);
  REQUIRE(checkpoint->tensors, STATUS_FAILED, "%s: out of memory", checkpoint->path);
  for (size_t i = 0; i < count; i++)
    TRY(read_tensor(checkpoint, json_array_get(list, i), memory + data_offset, data_bytes,
                    &position));
  REQUIRE(position == data_bytes, STATUS_FAILED, "%s: expected %llu bytes of data, found %llu",
          checkpoint->path, (unsigned long long)position, (unsigned long long)data_bytes);
  return STATUS_OK;
}

static enum status read_file(struct checkpoint *checkpoint, const char *path) {
  size_t bytes = 0;
  checkpoint->path = strdup(path);
  REQUIRE(checkpoint->path, STATUS_FAILED, "%s: out of memory", path);
  TRY(check_magic(path));
  TRY(file_read(path, SIZE_MAX - 1, &checkpoint->memory, &bytes));
  TRY(check_header(path, (unsigned char *)checkpoint->memory, bytes));
  TRY(check_trailer(path, (unsigned char *)checkpoint->memory, bytes));
  return read_table(checkpoint, bytes);
}

enum status checkpoint_read(const char *path, struct checkpoint *checkpoint) {
  *checkpoint = (struct checkpoint){0};
  enum status status = read_file(checkpoint, path);
  if (status) checkpoint_close(checkpoint);
  return status;
}

void checkpoint_close(struct checkpoint *checkpoint) {
  json_decref(checkpoint->table);
  free(checkpoint->tensors);
  free(checkpoint->memory);
  free(checkpoint->path);
  *checkpoint = (struct checkpoint){0};
}

const struct stored_tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name) {
  return stored_find(checkpoint->tensors, checkpoint->count, name);
}

enum status checkpoint_copy(const struct checkpoint *checkpoint, const char *name,
                            const char *dtype, size_t bytes, void *data) {
  const struct stored_tensor *tensor = checkpoint_find(checkpoint, name);
  REQUIRE(tensor, STATUS_FAILED, "%s: expected a tensor %s, found none", checkpoint->path, name);
  REQUIRE(strcmp(tensor->dtype, dtype) == 0 && tensor->bytes == bytes, STATUS_FAILED,
          "%s: tensor %s: expected %zu bytes of %s, found %zu bytes of %s", checkpoint->path, name,
          bytes, dtype, tensor->bytes, tensor->dtype);
  if (bytes) memcpy(data, tensor->data, bytes);
  return STATUS_OK;
}
