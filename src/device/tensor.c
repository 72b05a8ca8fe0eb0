/* Sizes of tensors and the layout rule. */
#include "device/tensor.h"

enum { MOST_PLANAR_CHANNELS = 4 };

enum layout tensor_layout(enum device_kind device, int channels) {
  if (device == DEVICE_CUDA) return LAYOUT_LAST;
  return channels <= MOST_PLANAR_CHANNELS ? LAYOUT_PLANAR : LAYOUT_BLOCKED;
}

struct tensor tensor_make(enum device_kind device, struct shape shape, enum dtype dtype) {
  return (struct tensor){shape, dtype, tensor_layout(device, shape.c)};
}

struct tensor tensor_input(enum device_kind device, struct shape shape, enum dtype dtype) {
  struct tensor tensor = tensor_make(device, shape, dtype);
  if (device == DEVICE_CUDA || dtype == DTYPE_U8) tensor.layout = LAYOUT_PLANAR;
  return tensor;
}

static const struct {
  size_t bytes;
  const char *name;
} dtypes[] = {
    [DTYPE_F32] = {4, "float32"}, [DTYPE_F64] = {8, "float64"}, [DTYPE_BF16] = {2, "bfloat16"},
    [DTYPE_F16] = {2, "float16"}, [DTYPE_U8] = {1, "uint8"},
};

size_t dtype_bytes(enum dtype dtype) {
  return dtypes[dtype].bytes;
}

const char *dtype_name(enum dtype dtype) {
  return dtypes[dtype].name;
}

int64_t shape_voxels(struct shape shape) {
  return (int64_t)shape.d * shape.h * shape.w;
}

bool shape_equal(struct shape a, struct shape b) {
  return a.n == b.n && a.c == b.c && a.d == b.d && a.h == b.h && a.w == b.w;
}

int64_t tensor_elements(const struct tensor *tensor) {
  return (int64_t)tensor->shape.n * tensor_stored_channels(tensor) * shape_voxels(tensor->shape);
}

size_t tensor_bytes(const struct tensor *tensor) {
  return (size_t)tensor_elements(tensor) * dtype_bytes(tensor->dtype);
}
