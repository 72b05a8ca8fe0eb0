/* The sum of squares on the GPU, in the CPU's order: half a warp is the 16 lanes of a block, and
 * one block of threads adds the blocks by the tree of fold.h. */
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/grad_norm/kernels.h"
}

enum {
  LANES = GRAD_NORM_LANES,
  THREADS = 64, /* few, so that gradients of small networks still reach many multiprocessors */
  TOGETHER = THREADS / LANES,
  TURNS = (int)GRAD_NORM_BLOCK / (int)GRAD_NORM_LANES,
  UNROLL = 16, /* loads in flight */
  FOLD_THREADS = 1024,
};

__global__ void __launch_bounds__(THREADS)
    sum_blocks(const float *g, int64_t count, int64_t blocks, double *partial) {
  int lane = threadIdx.x % LANES;
  int64_t block = (int64_t)blockIdx.x * TOGETHER + threadIdx.x / LANES;
  int64_t from = block * GRAD_NORM_BLOCK + lane;
  double sum = 0;
  for (int turn = 0; turn < TURNS; turn += UNROLL) {
    float value[UNROLL];
    for (int k = 0; k < UNROLL; k++) {
      int64_t i = from + (turn + k) * LANES;
      value[k] = i < count ? g[i] : 0;
    }
    for (int k = 0; k < UNROLL; k++) sum += (double)value[k] * (double)value[k];
  }
  for (int width = LANES / 2; width > 0; width /= 2)
    sum += __shfl_down_sync(0xffffffffu, sum, width, LANES);
  if (lane == 0 && block < blocks) partial[block] = sum;
}

__global__ void __launch_bounds__(FOLD_THREADS) fold_blocks(double *partial, int64_t blocks) {
  for (int64_t step = 1; step < blocks; step *= 2) {
    for (int64_t i = 2 * step * threadIdx.x; i + step < blocks; i += 2 * step * FOLD_THREADS)
      partial[i] += partial[i + step];
    __syncthreads();
  }
}

static bool applies() {
  return true;
}

static enum status sum(struct stream *stream, const float *g, int64_t count, double *partial) {
  int64_t blocks = grad_norm_blocks(count);
  CUDA_LAUNCH(sum_blocks, cuda_blocks(blocks, TOGETHER), THREADS, 0, stream, g, count, blocks,
              partial);
  CUDA_LAUNCH(fold_blocks, 1, FOLD_THREADS, 0, stream, partial, blocks);
  return cuda_launched("grad_norm");
}

extern "C" const struct grad_norm_kernel grad_norm_cuda;
const struct grad_norm_kernel grad_norm_cuda = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .applies = applies,
    .sum = sum,
};
