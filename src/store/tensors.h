/* Named arrays as files hold them: what checkpoints and safetensors have in common. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

enum { STORED_MOST_EXTENTS = 8 };

struct stored_tensor {
  const char *name;
  const char *dtype; /* safetensors' names: "F32" "F64" "F16" "BF16" "I64" "I32" "U8" */
  int rank;          /* extents that count; 0 is a single number */
  int64_t extent[STORED_MOST_EXTENTS];
  void *data; /* little-endian, last extent fastest */
  size_t bytes;
};

/* Bytes of one element; 0 for an unknown name. */
size_t stored_dtype_bytes(const char *dtype);

/* The dtype's name as a constant that outlives every file; NULL for an unknown one. */
const char *stored_dtype(const char *dtype);

/* Checks dtype, rank, extents and bytes against each other; `path` is for the message. */
CHECKED enum status stored_tensor_check(const struct stored_tensor *tensor, const char *path);

/* Extents to and from a JSON list. */
json_t *stored_shape_to_json(const struct stored_tensor *tensor);
CHECKED enum status stored_shape_from_json(const json_t *list, const char *path,
                                           struct stored_tensor *tensor);

/* The tensor of that name, or NULL. */
const struct stored_tensor *stored_find(const struct stored_tensor *tensors, int count,
                                        const char *name);
