/* What every .cu file starts from. The same source is compiled by nvcc for GPUs and, for tests, by
 * the C++ compiler with a header that runs blocks and threads on the CPU (tests/shim). So a launch
 * is CUDA_LAUNCH, dynamic shared memory CUDA_DYNAMIC_SHARED, and inline PTX stands behind functions
 * with a twin for the CPU (kernels/common/cuda_matrix.h); all else is plain CUDA C++. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
/* kernel may be a template in parentheses; grid and block are dim3 or numbers */
#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<grid, block, shared_bytes, cuda_stream(stream)>>>(__VA_ARGS__)
/* The dynamic shared memory of a kernel as `type name[]`, aligned to 128 bytes. */
#define CUDA_DYNAMIC_SHARED(type, name)                          \
  extern __shared__ __align__(128) unsigned char name##_bytes[]; \
  type *name = reinterpret_cast<type *>(name##_bytes)
#else
#include "cuda_shim.h"
#endif
extern "C" {
#include "device/cuda.h"
#include "device/tensor.h"
#include "kernels/op.h"
}

/* Defines `const struct kernel NAME_SUFFIX`, visible to C. */
#define CUDA_KERNEL(name, suffix)                 \
  extern "C" const struct kernel name##_##suffix; \
  const struct kernel name##_##suffix

/* The element types as C++ types: arithmetic is float32 whatever is stored. */
__host__ __device__ inline float to_float(float value) {
  return value;
}
__host__ __device__ inline float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__host__ __device__ inline float to_float(__half value) {
  return __half2float(value);
}
__host__ __device__ inline float to_float(unsigned char value) {
  return (float)value;
}

template <typename T>
__host__ __device__ inline T from_float(float value);
template <>
__host__ __device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__host__ __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16(value);
}
template <>
__host__ __device__ inline __half from_float<__half>(float value) {
  return __float2half(value);
}

/* How many blocks of `each` cover `count`. */
static inline unsigned cuda_blocks(int64_t count, int64_t each) {
  return (unsigned)((count + each - 1) / each);
}

/* A tensor's element [n c voxel] is at n * sample + c * channel + voxel * this->voxel: any layout
 * but blocks of 16. Passed to kernels by value. */
struct cuda_strides {
  int64_t sample, channel, voxel;
};
static inline struct cuda_strides cuda_strides_of(const struct tensor *tensor) {
  struct cuda_strides strides;
  int64_t voxels = shape_voxels(tensor->shape);
  strides.sample = tensor->shape.c * voxels;
  strides.voxel = tensor_voxel_stride(tensor);
  strides.channel = tensor->layout == LAYOUT_LAST ? 1 : voxels;
  return strides;
}
