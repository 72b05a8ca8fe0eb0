/* Writing a checkpoint: the table first (it needs all checksums), then the tensors as they are. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "store/checkpoint.h"
#include "store/checkpoint_parts.h"

struct image {
  char *table;
  size_t table_bytes;
  uint64_t data_offset, file_bytes;
};

static json_t *describe_tensor(const struct stored_tensor *tensor, uint64_t offset) {
  return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I}", "name", tensor->name, "dtype", tensor->dtype,
                   "shape", stored_shape_to_json(tensor), "offset", (json_int_t)offset, "bytes",
                   (json_int_t)tensor->bytes, "crc32c",
                   (json_int_t)file_checksum(0, tensor->data, tensor->bytes));
}

static enum status check_tensors(const char *path, const struct stored_tensor *tensors, int count) {
  for (int i = 0; i < count; i++) {
    TRY(stored_tensor_check(&tensors[i], path));
    REQUIRE(stored_find(tensors, i, tensors[i].name) == NULL, STATUS_FAILED,
            "%s: two tensors are named %s", path, tensors[i].name);
  }
  return STATUS_OK;
}

static json_t *describe_all(const json_t *metadata, const struct stored_tensor *tensors, int count,
                            uint64_t *data_bytes) {
  json_t *list = json_array();
  *data_bytes = 0;
  for (int i = 0; list && i < count; i++) {
    if (json_array_append_new(list, describe_tensor(&tensors[i], *data_bytes)) != 0) {
      json_decref(list);
      return NULL;
    }
    *data_bytes = checkpoint_align(*data_bytes + tensors[i].bytes);
  }
  return json_pack("{s:O, s:o}", "metadata", metadata, "tensors", list);
}

static enum status make_table(const char *path, const json_t *metadata,
                              const struct stored_tensor *tensors, int count, struct image *image) {
  uint64_t data_bytes;
  REQUIRE(json_is_object(metadata), STATUS_FAILED, "%s: the metadata is no JSON object", path);
  TRY(check_tensors(path, tensors, count));
  json_t *table = describe_all(metadata, tensors, count, &data_bytes);
  REQUIRE(table, STATUS_FAILED, "%s: the table cannot be made (out of memory, or not UTF-8)", path);
  image->table = json_dumps(table, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
  json_decref(table);
  REQUIRE(image->table, STATUS_FAILED, "%s: out of memory for the table", path);
  image->table_bytes = strlen(image->table);
  image->data_offset = checkpoint_align(CHECKPOINT_HEADER + image->table_bytes);
  image->file_bytes = image->data_offset + data_bytes + CHECKPOINT_TRAILER;
  return STATUS_OK;
}

static void make_header(const struct image *image, unsigned char *header) {
  memset(header, 0, CHECKPOINT_HEADER);
  memcpy(header, CHECKPOINT_MAGIC, 8);
  put_u32(header + AT_VERSION, CHECKPOINT_VERSION);
  put_u64(header + AT_TABLE_BYTES, image->table_bytes);
  put_u64(header + AT_DATA_OFFSET, image->data_offset);
  put_u64(header + AT_FILE_BYTES, image->file_bytes);
  put_u32(header + AT_TABLE_CRC, file_checksum(0, image->table, image->table_bytes));
  put_u32(header + AT_HEADER_CRC, file_checksum(0, header, AT_HEADER_CRC));
}

static enum status write_padding(struct file_writer *writer, uint64_t until) {
  static const unsigned char zeros[CHECKPOINT_ALIGNMENT];
  return file_write(writer, zeros, (size_t)(until - writer->written));
}

static enum status write_parts(struct file_writer *writer, const struct image *image,
                               const struct stored_tensor *tensors, int count) {
  unsigned char header[CHECKPOINT_HEADER], trailer[CHECKPOINT_TRAILER] = {0};
  make_header(image, header);
  uint32_t crc = file_checksum(0, header, sizeof header);
  put_u32(trailer, file_checksum(crc, image->table, image->table_bytes));
  memcpy(trailer + 8, CHECKPOINT_END, 8);
  TRY(file_write(writer, header, sizeof header));
  TRY(file_write(writer, image->table, image->table_bytes));
  TRY(write_padding(writer, image->data_offset));
  for (int i = 0; i < count; i++) {
    TRY(file_write(writer, tensors[i].data, tensors[i].bytes));
    TRY(write_padding(writer, checkpoint_align(writer->written)));
  }
  return file_write(writer, trailer, sizeof trailer);
}

enum status checkpoint_write(const char *path, const json_t *metadata,
                             const struct stored_tensor *tensors, int count) {
  struct image image = {0};
  struct file_writer writer = {.descriptor = -1};
  enum status status;
  TRY_GOTO(status, end, make_table(path, metadata, tensors, count, &image));
  TRY_GOTO(status, end, file_create(&writer, path));
  TRY_GOTO(status, end, write_parts(&writer, &image, tensors, count));
  TRY_GOTO(status, end, file_commit(&writer));
end:
  file_abandon(&writer);
  free(image.table);
  return status;
}
