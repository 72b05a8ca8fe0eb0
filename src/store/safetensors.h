/* safetensors files (github.com/huggingface/safetensors): u64 header bytes, JSON header {name:
 * {dtype, shape, data_offsets}}, data. How weights are exchanged with PyTorch. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include "base/status.h"
#include "store/tensors.h"

struct safetensors {
  char *path;
  json_t *metadata; /* the "__metadata__" object (strings only), or NULL */
  struct stored_tensor *tensors;
  int count;
  char *memory; /* the file */
  json_t *header;
};

/* Writes (or replaces) the file; `metadata` (strings only, borrowed) may be NULL. */
CHECKED enum status safetensors_write(const char *path, const json_t *metadata,
                                      const struct stored_tensor *tensors, int count);

/* Reads the file; anything the format forbids (overlaps, holes, a shape that does not fit its
 * bytes, an unknown dtype, a header that is no object or above 100 MB) is an error naming tensor,
 * expected and found. */
CHECKED enum status safetensors_read(const char *path, struct safetensors *file);

/* The tensor of that name, or NULL; valid until safetensors_close. */
const struct stored_tensor *safetensors_find(const struct safetensors *file, const char *name);

/* Accepts a zeroed one. */
void safetensors_close(struct safetensors *file);
