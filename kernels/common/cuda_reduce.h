/* Sums on the GPU whose bits depend on shapes alone: a kernel is given a number of blocks that
 * follows from the extents (cuda_partials; never from the GPU), every block adds its terms in a
 * fixed order and writes one partial sum, and one more block adds these. No atomics. */
#pragma once
#include "kernels/common/cuda.h"

enum { CUDA_WARP = 32, CUDA_MOST_PARTIALS = 2048, CUDA_FOLD_THREADS = 256 };

/* The sum over the 32 lanes of a warp, in every lane. All lanes must call. */
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int distance = CUDA_WARP / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

/* The sum over a block of THREADS threads (whole warps, at most 1024; a one-dimensional block), in
 * every thread. All threads must call. */
template <int THREADS, typename T>
__device__ inline T block_sum(T value) {
  __shared__ T warps[THREADS / CUDA_WARP];
  int lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
  value = warp_sum(value);
  __syncthreads(); /* a sum before this one may still be read */
  if (lane == 0) warps[warp] = value;
  __syncthreads();
  return warp_sum(lane < THREADS / CUDA_WARP ? warps[lane] : T(0));
}

/* How many blocks share `count` terms, at least `least` each: enough to fill any GPU a few times,
 * few enough to be folded by one block. */
static inline int cuda_partials(int64_t count, int64_t least) {
  int64_t blocks = (count + least - 1) / least;
  return (int)(blocks < CUDA_MOST_PARTIALS ? blocks : (int64_t)CUDA_MOST_PARTIALS);
}

/* Block i writes scale times the sum of partial[i * count ...], `count` of them, to sum[i]. */
template <typename T, typename S>
__global__ void __launch_bounds__(CUDA_FOLD_THREADS)
    fold_partials(const T *partial, int64_t count, double scale, S *sum) {
  const T *own = partial + blockIdx.x * count;
  T total = T(0);
  for (int64_t i = threadIdx.x; i < count; i += CUDA_FOLD_THREADS) total += own[i];
  total = block_sum<CUDA_FOLD_THREADS>(total);
  if (threadIdx.x == 0) sum[blockIdx.x] = (S)(total * (T)scale);
}

/* The second stage of `sums` sums at once: partial [sums][count], sum [sums]. */
template <typename T, typename S>
static inline void cuda_fold(const T *partial, int64_t count, int sums, double scale, S *sum,
                             struct stream *stream) {
  CUDA_LAUNCH((fold_partials<T, S>), sums, CUDA_FOLD_THREADS, 0, stream, partial, count, scale,
              sum);
}
