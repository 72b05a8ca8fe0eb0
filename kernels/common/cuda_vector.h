/* Neighbouring elements that are read and written in one access, as floats. */
#pragma once
#include "kernels/common/cuda.h"

/* LANES elements; memory must be aligned to all of them together, at most 16 bytes. */
template <typename T, int LANES>
struct alignas(sizeof(T) * LANES) cuda_lanes {
  T value[LANES];
};

/* How many elements 16 bytes hold. */
template <typename T>
constexpr int cuda_most_lanes = 16 / (int)sizeof(T);

template <typename T, int LANES>
__device__ inline void cuda_load(const T *from, float (&to)[LANES]) {
  const cuda_lanes<T, LANES> lanes = *reinterpret_cast<const cuda_lanes<T, LANES> *>(from);
#pragma unroll
  for (int l = 0; l < LANES; l++) to[l] = to_float(lanes.value[l]);
}

template <typename T, int LANES>
__device__ inline void cuda_store(T *to, const float (&from)[LANES]) {
  cuda_lanes<T, LANES> lanes;
#pragma unroll
  for (int l = 0; l < LANES; l++) lanes.value[l] = from_float<T>(from[l]);
  *reinterpret_cast<cuda_lanes<T, LANES> *>(to) = lanes;
}

/* A gradient to where it is wanted: added to what is there, or in its place. */
template <typename T, int LANES>
__device__ inline void cuda_give(T *to, float (&from)[LANES], bool add) {
  if (add) {
    float old[LANES];
    cuda_load<T, LANES>(to, old);
#pragma unroll
    for (int l = 0; l < LANES; l++) from[l] += old[l];
  }
  cuda_store<T, LANES>(to, from);
}

/* Whether accesses of 16 bytes may begin here. */
static inline bool cuda_aligned(const void *memory) {
  return (uintptr_t)memory % 16 == 0;
}
