/* label_weight on the GPU: a thread reads 16 labels at a time. */
#include "kernels/common/cuda_reduce.h"
extern "C" {
#include "kernels/label_weight/label_weight.h"
}

enum { THREADS = 256, LABELS = 16, LEAST = THREADS * LABELS * 8 /* labels of a block */ };

__device__ inline double weigh(const float *weights, uint4 labels) {
  const unsigned words[] = {labels.x, labels.y, labels.z, labels.w};
  double sum = 0;
#pragma unroll
  for (int i = 0; i < LABELS; i++) sum += (double)weights[words[i / 4] >> i % 4 * 8 & 255];
  return sum;
}

/* partial: one sum of each block */
__global__ void __launch_bounds__(THREADS)
    weigh_labels(const unsigned char *labels, int64_t count,
                 const __grid_constant__ struct label_weights weights, double *partial) {
  __shared__ float own[256];
  for (int i = (int)threadIdx.x; i < 256; i += THREADS) own[i] = weights.of[i];
  __syncthreads();
  const int64_t whole = count / LABELS, all = (int64_t)gridDim.x * THREADS;
  const int64_t thread = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  double sum = 0;
  for (int64_t i = thread; i < whole; i += all)
    sum += weigh(own, reinterpret_cast<const uint4 *>(labels)[i]);
  for (int64_t i = whole * LABELS + thread; i < count; i += all) sum += (double)own[labels[i]];
  sum = block_sum<THREADS>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

static int count_blocks(const struct node *node) {
  return cuda_partials(tensor_elements(&node->x[0]), LEAST);
}

static void prepare(struct node *node) {
  node->forward_workspace = sizeof(double) * (size_t)count_blocks(node);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  double *partial = (double *)io->workspace;
  const int blocks = count_blocks(node);
  CUDA_LAUNCH(weigh_labels, blocks, THREADS, 0, stream, (const unsigned char *)io->x[0],
              tensor_elements(&node->x[0]), label_weights_of(node), partial);
  cuda_fold(partial, blocks, 1, 1.0, (float *)io->y, stream);
  return cuda_launched(node->name);
}

CUDA_KERNEL(label_weight_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = NULL,
    .prepare = prepare,
    .forward = forward,
};
