/* Element types, extents and sizes of stored arrays. */
#include "store/tensors.h"
#include <string.h>

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"U8", 1}};

enum { DTYPE_COUNT = sizeof dtypes / sizeof *dtypes };

static int find_dtype(const char *dtype) {
  for (int i = 0; dtype && i < DTYPE_COUNT; i++)
    if (strcmp(dtypes[i].name, dtype) == 0) return i;
  return -1;
}

size_t stored_dtype_bytes(const char *dtype) {
  int i = find_dtype(dtype);
  return i < 0 ? 0 : dtypes[i].bytes;
}

const char *stored_dtype(const char *dtype) {
  int i = find_dtype(dtype);
  return i < 0 ? NULL : dtypes[i].name;
}

enum status stored_tensor_check(const struct stored_tensor *tensor, const char *path) {
  size_t expected = stored_dtype_bytes(tensor->dtype);
  REQUIRE(tensor->name && tensor->name[0], STATUS_FAILED, "%s: a tensor has no name", path);
  REQUIRE(expected, STATUS_FAILED, "%s: tensor %s: unknown dtype \"%s\"", path, tensor->name,
          tensor->dtype ? tensor->dtype : "");
  REQUIRE(tensor->rank >= 0 && tensor->rank <= STORED_MOST_EXTENTS, STATUS_FAILED,
          "%s: tensor %s: expected at most %d extents, found %d", path, tensor->name,
          STORED_MOST_EXTENTS, tensor->rank);
  bool empty = false, overflow = false;
  for (int i = 0; i < tensor->rank; i++) {
    REQUIRE(tensor->extent[i] >= 0, STATUS_FAILED, "%s: tensor %s: extent %d is negative: %lld",
            path, tensor->name, i, (long long)tensor->extent[i]);
    empty |= tensor->extent[i] == 0;
    overflow |= __builtin_mul_overflow(expected, (size_t)tensor->extent[i], &expected);
  }
  if (empty) expected = 0;
  REQUIRE(empty || !overflow, STATUS_FAILED, "%s: tensor %s: its extents are too large", path,
          tensor->name);
  REQUIRE(expected == tensor->bytes, STATUS_FAILED,
          "%s: tensor %s: expected %zu bytes for its shape, found %zu", path, tensor->name,
          expected, tensor->bytes);
  return STATUS_OK;
}

json_t *stored_shape_to_json(const struct stored_tensor *tensor) {
  json_t *list = json_array();
  for (int i = 0; list && i < tensor->rank; i++) {
    if (json_array_append_new(list, json_integer(tensor->extent[i])) == 0) continue;
    json_decref(list);
    return NULL;
  }
  return list;
}

enum status stored_shape_from_json(const json_t *list, const char *path,
                                   struct stored_tensor *tensor) {
  size_t rank = json_array_size(list);
  REQUIRE(json_is_array(list) && rank <= STORED_MOST_EXTENTS, STATUS_FAILED,
          "%s: tensor %s: expected a shape of at most %d extents", path, tensor->name,
          STORED_MOST_EXTENTS);
  tensor->rank = (int)rank;
  for (size_t i = 0; i < rank; i++) {
    const json_t *extent = json_array_get(list, i);
    REQUIRE(json_is_integer(extent), STATUS_FAILED,
            "%s: tensor %s: extent %zu is not a whole number", path, tensor->name, i);
    tensor->extent[i] = json_integer_value(extent);
  }
  return STATUS_OK;
}

const struct stored_tensor *stored_find(const struct stored_tensor *tensors, int count,
                                        const char *name) {
  for (int i = 0; i < count; i++)
    if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
  return NULL;
}
