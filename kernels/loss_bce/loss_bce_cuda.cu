/* loss_bce on the GPU. */
#include "kernels/common/cuda_bits.h"
extern "C" {
#include "kernels/loss_bce/loss_bce.h"
}

/* -log of a chance: of sigmoid(x). */
__device__ inline float nll_of(float x) {
  return fmaxf(-x, 0) + log1pf(expf(-fabsf(x)));
}

/* --- forward --- */

/* partial [samples][blocks] */
template <typename T>
__global__ void __launch_bounds__(BITS_THREADS)
    bce_forward(const __grid_constant__ struct cuda_bits bits, const T *x, const unsigned char *map,
                struct loss_bce_terms terms, double *partial) {
  double sum = 0;
  for (int i = blockIdx.x * BITS_THREADS + threadIdx.x; i < bits.items;
       i += gridDim.x * BITS_THREADS) {
    float z[BITS_LANES], eight = 0;
    const unsigned truth = bits_load(bits, x, map, blockIdx.y, bits_item_of(bits, i), z);
#pragma unroll
    for (int l = 0; l < BITS_LANES; l++) {
      const bool positive = truth >> l & 1;
      const float s = positive ? z[l] : -z[l];
      float loss = (positive ? terms.positive_weight : 1) * nll_of(s);
      if (terms.gamma > 0) loss *= expf(-terms.gamma * nll_of(-s));
      eight += loss;
    }
    sum += (double)eight;
  }
  sum = block_sum<BITS_THREADS>(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

static dim3 grid_of(const struct cuda_bits &bits) {
  return dim3((unsigned)cuda_partials(bits.items, BITS_LEAST), (unsigned)bits.samples);
}

static void prepare(struct node *node) {
  const dim3 grid = grid_of(cuda_bits_of(node));
  node->forward_workspace = sizeof(double) * grid.x * grid.y;
}

template <typename T>
static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  const struct cuda_bits bits = cuda_bits_of(node);
  const dim3 grid = grid_of(bits);
  double *partial = (double *)io->workspace;
  CUDA_LAUNCH(bce_forward<T>, grid, BITS_THREADS, 0, stream, bits, (const T *)io->x[0],
              (const unsigned char *)io->x[1], loss_bce_terms_of(node), partial);
  cuda_fold(partial, (int64_t)grid.x * grid.y, 1, 1 / loss_bce_count(node), (double *)io->y,
            stream);
  return cuda_launched(node->name);
}

/* --- backward --- */

struct bce_loss {
  struct loss_bce_terms terms;
  const double *dy;
  double count;

  size_t floats(const struct cuda_bits &) const {
    return 1;
  }

  __device__ void begin(const struct cuda_bits &, int, float *own) const {
    if (threadIdx.x == 0) *own = (float)(*dy / count);
    __syncthreads();
  }

  /* The slope of (1 - p)^gamma (-log p) by s is -(1 - p)^gamma (1 - p + gamma p (-log p)). */
  __device__ float slope(float z, bool truth, int, const float *own) const {
    const float s = truth ? z : -z, gamma = terms.gamma;
    const struct bits_chance chance = bits_sigmoid(s);
    float slope = chance.rest;
    if (gamma > 0) slope = expf(-gamma * nll_of(-s)) * (slope + gamma * chance.p * nll_of(s));
    return *own * slope * (truth ? -terms.positive_weight : 1);
  }
};

template <typename T>
static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  const struct bce_loss loss = {loss_bce_terms_of(node), (const double *)io->dy,
                                loss_bce_count(node)};
  return cuda_bits_backward<T>(node, io, loss, stream);
}

#define LOSS_BCE_CUDA(suffix, type, element) \
  CUDA_KERNEL(loss_bce_cuda, suffix) = {     \
      .name = "hand",                        \
      .device = DEVICE_CUDA,                 \
      .dtype = type,                         \
      .training = true,                      \
      .applies = cuda_bits_applies,          \
      .prepare = prepare,                    \
      .forward = forward<element>,           \
      .backward = backward<element>,         \
  }
LOSS_BCE_CUDA(f32, DTYPE_F32, float);
LOSS_BCE_CUDA(bf16, DTYPE_BF16, __nv_bfloat16);
LOSS_BCE_CUDA(f16, DTYPE_F16, __half);
