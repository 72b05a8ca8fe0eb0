/* loss_mse on the GPU. Where both inputs store their elements in the same order, 4 of them at a
 * time; else (an activation against an input of several channels) through strides. */
#include "kernels/common/cuda_reduce.h"

enum { THREADS = 256, LEAST = 4096 }; /* LEAST: elements per block */

/* Two tensors of one shape. Where they are not flat, element i runs over [n voxel c]. */
struct pair {
  struct cuda_strides own, other;
  int64_t elements, voxels;
  int channels;
};

static bool is_flat(const struct node *node) {
  return node->x[0].shape.c == 1 || node->x[0].layout == node->x[1].layout;
}

static struct pair pair_make(const struct node *node, int own) {
  struct pair pair = {};
  pair.own = cuda_strides_of(&node->x[own]);
  pair.other = cuda_strides_of(&node->x[1 - own]);
  pair.elements = tensor_elements(&node->x[0]);
  pair.voxels = shape_voxels(node->x[0].shape);
  pair.channels = node->x[0].shape.c;
  return pair;
}

__device__ inline int64_t element_at(const struct pair &pair, const struct cuda_strides &strides,
                                     int64_t i) {
  int64_t voxel = i / pair.channels, c = i % pair.channels;
  return voxel / pair.voxels * strides.sample + c * strides.channel +
         voxel % pair.voxels * strides.voxel;
}

/* --- forward --- */

__device__ inline double sum_flat(const float *a, const float *b, int64_t elements) {
  double sum = 0;
  int64_t first = (int64_t)blockIdx.x * THREADS + threadIdx.x, step = (int64_t)gridDim.x * THREADS;
  for (int64_t i = first; i < elements / 4; i += step) {
    float4 x = ((const float4 *)a)[i], y = ((const float4 *)b)[i];
    float p = x.x - y.x, q = x.y - y.y, r = x.z - y.z, s = x.w - y.w;
    sum += (double)((p * p + q * q) + (r * r + s * s));
  }
  int64_t rest = elements / 4 * 4 + first;
  if (rest < elements) sum += (double)((a[rest] - b[rest]) * (a[rest] - b[rest]));
  return sum;
}

__device__ inline double sum_strided(const float *a, const float *b, const struct pair &pair) {
  double sum = 0;
  int64_t step = (int64_t)gridDim.x * THREADS;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < pair.elements; i += step) {
    float difference = a[element_at(pair, pair.own, i)] - b[element_at(pair, pair.other, i)];
    sum += (double)(difference * difference);
  }
  return sum;
}

template <bool FLAT>
__global__ void __launch_bounds__(THREADS)
    mse_forward(const float *a, const float *b, struct pair pair, double *partial) {
  double sum = FLAT ? sum_flat(a, b, pair.elements) : sum_strided(a, b, pair);
  sum = block_sum<THREADS>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

static int partial_count(const struct node *node) {
  return cuda_partials(tensor_elements(&node->x[0]), LEAST);
}

static void loss_mse_prepare(struct node *node) {
  node->forward_workspace = (size_t)partial_count(node) * sizeof(double);
}

static enum status loss_mse_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  const float *a = (const float *)io->x[0], *b = (const float *)io->x[1];
  double *partial = (double *)io->workspace;
  struct pair pair = pair_make(node, 0);
  int partials = partial_count(node);
  if (is_flat(node))
    CUDA_LAUNCH(mse_forward<true>, partials, THREADS, 0, stream, a, b, pair, partial);
  else
    CUDA_LAUNCH(mse_forward<false>, partials, THREADS, 0, stream, a, b, pair, partial);
  cuda_fold(partial, partials, 1, 1 / (double)pair.elements, (double *)io->y, stream);
  return cuda_launched(node->name);
}

/* --- backward --- */

template <bool ADD>
__device__ inline void put(float *dx, float value) {
  *dx = ADD ? *dx + value : value;
}

template <bool ADD>
__device__ inline void slope_four(float *dx, const float *own, const float *other, float scale) {
  float4 x = *(const float4 *)own, y = *(const float4 *)other, sum = {};
  if (ADD) sum = *(const float4 *)dx;
  sum.x += scale * (x.x - y.x);
  sum.y += scale * (x.y - y.y);
  sum.z += scale * (x.z - y.z);
  sum.w += scale * (x.w - y.w);
  *(float4 *)dx = sum;
}

/* factor: of dy, 2 over the elements. */
template <bool FLAT, bool ADD>
__global__ void __launch_bounds__(THREADS)
    mse_backward(const float *own, const float *other, struct pair pair, double factor,
                 const double *dy, float *dx) {
  float scale = (float)(factor * *dy);
  int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (!FLAT) {
    if (i >= pair.elements) return;
    int64_t at = element_at(pair, pair.own, i), across = element_at(pair, pair.other, i);
    put<ADD>(dx + at, scale * (own[at] - other[across]));
  } else if (4 * i + 4 <= pair.elements) {
    slope_four<ADD>(dx + 4 * i, own + 4 * i, other + 4 * i, scale);
  } else {
    for (int64_t k = 4 * i; k < pair.elements; k++) put<ADD>(dx + k, scale * (own[k] - other[k]));
  }
}

template <bool FLAT>
static void backward_input(const struct node *node, const struct io *io, struct stream *stream,
                           int input) {
  const float *own = (const float *)io->x[input], *other = (const float *)io->x[1 - input];
  const double *dy = (const double *)io->dy;
  float *dx = (float *)io->dx[input];
  struct pair pair = pair_make(node, input);
  double factor = 2 / (double)pair.elements;
  unsigned blocks = cuda_blocks(pair.elements, FLAT ? 4 * THREADS : THREADS);
  if (io->dx_add[input])
    CUDA_LAUNCH((mse_backward<FLAT, true>), blocks, THREADS, 0, stream, own, other, pair, factor,
                dy, dx);
  else
    CUDA_LAUNCH((mse_backward<FLAT, false>), blocks, THREADS, 0, stream, own, other, pair, factor,
                dy, dx);
}

static enum status loss_mse_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  for (int input = 0; input < 2; input++)
    if (io->dx[input])
      (is_flat(node) ? backward_input<true> : backward_input<false>)(node, io, stream, input);
  return cuda_launched(node->name);
}

CUDA_KERNEL(loss_mse_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = NULL,
    .prepare = loss_mse_prepare,
    .forward = loss_mse_forward,
    .backward = loss_mse_backward,
};
