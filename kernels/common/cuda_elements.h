/* Operators that work element by element on the GPU: a thread takes 16 bytes of every tensor, or
 * one element where a tensor is not aligned to that and at the end. */
#pragma once
#include "kernels/common/cuda_vector.h"

enum { CUDA_ELEMENT_THREADS = 256 };

/* each.template run<LANES>(at) does elements [at, at + LANES). */
template <int LANES, typename Each>
__global__ void __launch_bounds__(CUDA_ELEMENT_THREADS) each_element(Each each, int64_t count) {
  int64_t at = ((int64_t)blockIdx.x * CUDA_ELEMENT_THREADS + threadIdx.x) * LANES;
  if (at + LANES <= count)
    each.template run<LANES>(at);
  else
    for (; at < count; at++) each.template run<1>(at);
}

/* `aligned`: all tensors begin at a multiple of 16 bytes. T is what they hold. */
template <typename T, typename Each>
static inline enum status cuda_each_element(const struct node *node, const Each &each,
                                            int64_t count, bool aligned, struct stream *stream) {
  constexpr int LANES = cuda_most_lanes<T>;
  unsigned blocks = cuda_blocks(count, CUDA_ELEMENT_THREADS * (aligned ? LANES : 1));
  if (aligned)
    CUDA_LAUNCH((each_element<LANES, Each>), blocks, CUDA_ELEMENT_THREADS, 0, stream, each, count);
  else
    CUDA_LAUNCH((each_element<1, Each>), blocks, CUDA_ELEMENT_THREADS, 0, stream, each, count);
  return cuda_launched(node->name);
}
