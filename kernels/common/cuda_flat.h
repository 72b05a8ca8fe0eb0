/* Operators over flat blocks of float32 on the GPU: what is done with element i of every array
 * depends on nothing but these elements, so that no cut of the block changes a bit. An operator is
 * a functor that is called with the elements of its ARRAYS arrays and changes those that the bits
 * of WRITES name. */
#pragma once
#include "kernels/common/cuda.h"

enum { CUDA_FLAT_THREADS = 256 };

template <int ARRAYS>
struct flat_arrays {
  float *array[ARRAYS];
};

/* WIDTH elements per thread: 4 where all arrays are aligned to 16 bytes, else 1. */
template <int WIDTH>
struct flat_group;
template <>
struct flat_group<1> {
  float at[1];
};
template <>
struct alignas(16) flat_group<4> {
  float at[4];
};

template <int WIDTH, class Each>
__device__ inline void flat_apply(const flat_arrays<Each::ARRAYS> &arrays, int64_t at,
                                  const Each &each) {
  flat_group<WIDTH> group[Each::ARRAYS];
  for (int a = 0; a < Each::ARRAYS; a++)
    group[a] = *(const flat_group<WIDTH> *)(arrays.array[a] + at);
  for (int k = 0; k < WIDTH; k++) {
    float value[Each::ARRAYS];
    for (int a = 0; a < Each::ARRAYS; a++) value[a] = group[a].at[k];
    each(value);
    for (int a = 0; a < Each::ARRAYS; a++) group[a].at[k] = value[a];
  }
  for (int a = 0; a < Each::ARRAYS; a++)
    if (Each::WRITES >> a & 1) *(flat_group<WIDTH> *)(arrays.array[a] + at) = group[a];
}

template <int WIDTH, class Each>
__global__ void __launch_bounds__(CUDA_FLAT_THREADS)
    flat_kernel(flat_arrays<Each::ARRAYS> arrays, int64_t count, Each each) {
  int64_t at = ((int64_t)blockIdx.x * CUDA_FLAT_THREADS + threadIdx.x) * WIDTH;
  if (at + WIDTH <= count)
    flat_apply<WIDTH>(arrays, at, each);
  else
    for (; at < count; at++) flat_apply<1>(arrays, at, each);
}

/* Calls `each` for elements 0 to count-1 of the arrays, later, on the stream. */
template <class Each>
static inline enum status cuda_flat(const Each &each, const flat_arrays<Each::ARRAYS> &arrays,
                                    int64_t count, struct stream *stream, const char *name) {
  bool aligned = true;
  for (float *array : arrays.array) aligned &= (uintptr_t)array % 16 == 0;
  if (count == 0) return STATUS_OK;
  unsigned blocks = cuda_blocks(count, CUDA_FLAT_THREADS * (aligned ? 4 : 1));
  if (aligned)
    CUDA_LAUNCH((flat_kernel<4, Each>), blocks, CUDA_FLAT_THREADS, 0, stream, arrays, count, each);
  else
    CUDA_LAUNCH((flat_kernel<1, Each>), blocks, CUDA_FLAT_THREADS, 0, stream, arrays, count, each);
  return cuda_launched(name);
}
