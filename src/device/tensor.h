/* What a tensor is: extents, element type and memory layout; no data. The layout rule of each
 * device lives here and nowhere else. Axes: d h w are the array axes i j k as nibabel shows them, w
 * fastest. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "device/device.h"

enum dtype { DTYPE_F32, DTYPE_F64, DTYPE_BF16, DTYPE_F16, DTYPE_U8 };

enum layout {
  LAYOUT_PLANAR,  /* [n c d h w] */
  LAYOUT_BLOCKED, /* [n ceil(c/16) d h w 16]; padding channels hold zeros, always */
  LAYOUT_LAST,    /* [n d h w c]: channels last */
};

enum { CHANNEL_BLOCK = 16 };

struct shape {
  int n, c, d, h, w;
};

struct tensor {
  struct shape shape; /* logical extents */
  enum dtype dtype;
  enum layout layout;
};

/* The layout of an activation with `channels` channels on a device: on the CPU planar up to 4
 * channels (images, displacements, labels) and blocks of 16 above; on CUDA channels last. */
enum layout tensor_layout(enum device_kind device, int channels);

/* A tensor in the layout of its device. */
struct tensor tensor_make(enum device_kind device, struct shape shape, enum dtype dtype);

/* A graph's input: planar on CUDA and where it holds bytes, since tasks write plain arrays; else
 * like an activation. (Numbers of a sample, [n c 1 1 1], are plain in blocks, too, but for the
 * padding behind them.) */
struct tensor tensor_input(enum device_kind device, struct shape shape, enum dtype dtype);

size_t dtype_bytes(enum dtype dtype);
const char *dtype_name(enum dtype dtype);
int64_t shape_voxels(struct shape shape); /* d*h*w */
bool shape_equal(struct shape a, struct shape b);

/* Stored elements, padding channels included. */
int64_t tensor_elements(const struct tensor *tensor);
size_t tensor_bytes(const struct tensor *tensor);

/* Channels that are stored: c, or c rounded up to a multiple of 16. */
static inline int tensor_stored_channels(const struct tensor *tensor) {
  int c = tensor->shape.c;
  return tensor->layout == LAYOUT_BLOCKED ? (c + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK * CHANNEL_BLOCK
                                          : c;
}

/* The distance of neighbouring voxels of a channel, in elements. */
static inline int64_t tensor_voxel_stride(const struct tensor *tensor) {
  if (tensor->layout == LAYOUT_LAST) return tensor->shape.c;
  return tensor->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
}

/* The position of an element, in elements from the start. */
static inline int64_t tensor_at(const struct tensor *tensor, int n, int c, int d, int h, int w) {
  const struct shape *s = &tensor->shape;
  int64_t voxel = ((int64_t)d * s->h + h) * s->w + w;
  int64_t voxels = (int64_t)s->d * s->h * s->w;
  if (tensor->layout == LAYOUT_LAST) return (n * voxels + voxel) * s->c + c;
  if (tensor->layout == LAYOUT_PLANAR) return ((int64_t)n * s->c + c) * voxels + voxel;
  int64_t blocks = (s->c + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
  return ((n * blocks + c / CHANNEL_BLOCK) * voxels + voxel) * CHANNEL_BLOCK + c % CHANNEL_BLOCK;
}
