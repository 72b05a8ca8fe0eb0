/* Between the layout of a device and plain [n c d h w]. */
#include <math.h>
#include <string.h>
#include "device/real16.h"
#include "graph/run.h"

/* Channel c of sample n of a tensor: its first element and the distance between voxels. */
struct channel {
  int64_t first, stride;
};

static struct channel find_channel(const struct tensor *tensor, int n, int c) {
  int64_t stride = tensor_voxel_stride(tensor);
  return (struct channel){tensor_at(tensor, n, c, 0, 0, 0), stride};
}

static void read_channel(enum dtype dtype, const void *from, struct channel channel, float *to,
                         int64_t voxels) {
  const float *f32 = from;
  const double *f64 = from;
  const uint16_t *real16 = from;
  const unsigned char *u8 = from;
  for (int64_t i = 0, at = channel.first; i < voxels; i++, at += channel.stride) switch (dtype) {
      case DTYPE_F32:
        to[i] = f32[at];
        break;
      case DTYPE_F64:
        to[i] = (float)f64[at];
        break;
      case DTYPE_BF16:
        to[i] = bf16_to_float(real16[at]);
        break;
      case DTYPE_F16:
        to[i] = f16_to_float(real16[at]);
        break;
      case DTYPE_U8:
        to[i] = (float)u8[at];
        break;
    }
}

static unsigned char to_byte(float value) {
  return (unsigned char)lrintf(fminf(fmaxf(value, 0), 255)); /* fmaxf makes NaN 0 */
}

static void write_channel(enum dtype dtype, void *to, struct channel channel, const float *from,
                          int64_t voxels) {
  for (int64_t i = 0, at = channel.first; i < voxels; i++, at += channel.stride) {
    float value = from ? from[i] : 0;
    if (dtype == DTYPE_F32) ((float *)to)[at] = value;
    if (dtype == DTYPE_F64) ((double *)to)[at] = value;
    if (dtype == DTYPE_BF16) ((uint16_t *)to)[at] = bf16_from_float(value);
    if (dtype == DTYPE_F16) ((uint16_t *)to)[at] = f16_from_float(value);
    if (dtype == DTYPE_U8) ((unsigned char *)to)[at] = to_byte(value);
  }
}

void tensor_to_planar(const struct tensor *tensor, const void *from, float *to) {
  int channels = tensor->shape.c, all = tensor->shape.n * channels;
  int64_t voxels = shape_voxels(tensor->shape);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < all; i++)
    read_channel(tensor->dtype, from, find_channel(tensor, i / channels, i % channels),
                 to + i * voxels, voxels);
}

void tensor_from_planar(const struct tensor *tensor, const float *from, void *to) {
  int channels = tensor->shape.c, stored = tensor_stored_channels(tensor);
  int all = tensor->shape.n * stored;
  int64_t voxels = shape_voxels(tensor->shape);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < all; i++) {
    int n = i / stored, c = i % stored;
    const float *source = c < channels ? from + ((int64_t)n * channels + c) * voxels : NULL;
    write_channel(tensor->dtype, to, find_channel(tensor, n, c), source, voxels);
  }
}
