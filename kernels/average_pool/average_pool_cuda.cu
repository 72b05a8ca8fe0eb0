/* average_pool on the GPU. Forward: blocks add ranges of a sample's voxels, a thread a group of
 * channels of every few of them, in float32; ranges are folded in order, in double. x of any layout
 * but blocks; y and dy are float32 and one voxel, which is [n c] in all layouts. */
#include "kernels/common/cuda_tile.h"
#include "kernels/common/cuda_reduce.h"

enum {
  THREADS = 256,
  LEAST = 64,        /* voxels of a range for each row of threads */
  MOST_RANGES = 256, /* of a sample */
};

/* One call, by value. */
struct pool_view {
  struct cuda_strides strides;
  int64_t voxels, range; /* of x; of one block */
  int samples, channels, groups, lanes;
  int across, rows, ranges; /* groups side by side in a block, with `rows` threads each */
};

static struct pool_view view_make(const struct node *node, int lanes) {
  const struct tensor *x = &node->x[0];
  const bool wide = x->layout == LAYOUT_LAST && x->shape.c % lanes == 0;
  struct pool_view view = {};
  view.strides = cuda_strides_of(x);
  view.voxels = shape_voxels(x->shape);
  view.samples = x->shape.n;
  view.channels = x->shape.c;
  view.lanes = wide ? lanes : 1;
  view.groups = view.channels / view.lanes;
  for (view.across = 1; view.across < view.groups && view.across < CUDA_WARP;) view.across *= 2;
  view.rows = THREADS / view.across;
  const int64_t ranges = cuda_blocks(view.voxels, (int64_t)LEAST * view.rows);
  view.ranges = (int)(ranges < MOST_RANGES ? ranges : (int64_t)MOST_RANGES);
  view.range = cuda_blocks(view.voxels, view.ranges);
  return view;
}

/* partial [n][c][range]. Grid: ranges, groups of groups, samples. */
template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    pool_sum(struct pool_view view, const T *__restrict__ x, float *partial) {
  __shared__ float sums[LANES][THREADS];
  const int row = (int)threadIdx.x / view.across, column = (int)threadIdx.x % view.across;
  const int group = (int)blockIdx.y * view.across + column;
  const int64_t first = blockIdx.x * view.range;
  const int64_t end = first + view.range < view.voxels ? first + view.range : view.voxels;
  float sum[LANES] = {};
  x += blockIdx.z * view.strides.sample + group * LANES * view.strides.channel;
#pragma unroll 2
  for (int64_t voxel = first + row; group < view.groups && voxel < end; voxel += view.rows) {
    float value[LANES];
    cuda_load<T, LANES>(x + voxel * view.strides.voxel, value);
#pragma unroll
    for (int l = 0; l < LANES; l++) sum[l] += value[l];
  }
#pragma unroll
  for (int l = 0; l < LANES; l++) sums[l][threadIdx.x] = sum[l];
  for (int step = THREADS / 2; step >= view.across; step /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < step)
#pragma unroll
      for (int l = 0; l < LANES; l++) sums[l][threadIdx.x] += sums[l][threadIdx.x + step];
  }
  if (row > 0 || group >= view.groups) return;
#pragma unroll
  for (int l = 0; l < LANES; l++) {
    const int64_t plane = (int64_t)blockIdx.z * view.channels + group * LANES + l;
    partial[plane * view.ranges + blockIdx.x] = sums[l][threadIdx.x];
  }
}

__global__ void __launch_bounds__(THREADS)
    pool_fold(struct pool_view view, const float *partial, float *y) {
  const int64_t plane = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  double sum = 0;
  if (plane >= (int64_t)view.samples * view.channels) return;
  for (int range = 0; range < view.ranges; range++)
    sum += (double)partial[plane * view.ranges + range];
  y[plane] = (float)(sum / (double)view.voxels);
}

/* Grid: blocks of voxels and groups of a sample, samples. */
template <typename T, int LANES>
__global__ void __launch_bounds__(THREADS)
    pool_backward(struct pool_view view, const float *dy, T *dx, bool add) {
  const int64_t voxel_of_block = (int64_t)blockIdx.x * (THREADS / view.across);
  const int64_t voxel = voxel_of_block + threadIdx.x / view.across;
  if (voxel >= view.voxels) return;
  dx += blockIdx.y * view.strides.sample + voxel * view.strides.voxel;
  for (int group = (int)threadIdx.x % view.across; group < view.groups; group += view.across) {
    float gradient[LANES];
#pragma unroll
    for (int l = 0; l < LANES; l++)
      gradient[l] =
          dy[(int64_t)blockIdx.y * view.channels + group * LANES + l] / (float)view.voxels;
    cuda_give<T, LANES>(dx + group * LANES * view.strides.channel, gradient, add);
  }
}

template <typename T, int LANES>
static void launch_forward(const struct pool_view &view, const struct io *io,
                           struct stream *stream) {
  const dim3 grid((unsigned)view.ranges, cuda_blocks(view.groups, view.across),
                  (unsigned)view.samples);
  CUDA_LAUNCH((pool_sum<T, LANES>), grid, THREADS, 0, stream, view, (const T *)io->x[0],
              (float *)io->workspace);
}

template <typename T, int LANES>
static void launch_backward(const struct pool_view &view, const struct io *io,
                            struct stream *stream) {
  const dim3 grid(cuda_blocks(view.voxels, view.rows), (unsigned)view.samples);
  CUDA_LAUNCH((pool_backward<T, LANES>), grid, THREADS, 0, stream, view, (const float *)io->dy,
              (T *)io->dx[0], io->dx_add[0]);
}

template <typename T>
static enum status average_pool_forward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  const struct pool_view view = view_make(node, cuda_most_lanes<T>);
  const unsigned blocks = cuda_blocks((int64_t)view.samples * view.channels, THREADS);
  (view.lanes > 1 ? launch_forward<T, cuda_most_lanes<T>> : launch_forward<T, 1>)(view, io, stream);
  CUDA_LAUNCH(pool_fold, blocks, THREADS, 0, stream, view, (const float *)io->workspace,
              (float *)io->y);
  return cuda_launched(node->name);
}

template <typename T>
static enum status average_pool_backward(const struct node *node, const struct io *io,
                                         struct stream *stream) {
  const struct pool_view view = view_make(node, cuda_most_lanes<T>);
  if (!io->dx[0]) return STATUS_OK;
  (view.lanes > 1 ? launch_backward<T, cuda_most_lanes<T>> : launch_backward<T, 1>)(view, io,
                                                                                    stream);
  return cuda_launched(node->name);
}

template <typename T>
static void average_pool_prepare(struct node *node) {
  const struct pool_view view = view_make(node, cuda_most_lanes<T>);
  node->forward_workspace =
      (size_t)view.samples * (size_t)view.channels * (size_t)view.ranges * sizeof(float);
}

#define AVERAGE_POOL_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(average_pool_cuda, suffix) = {      \
      .name = "hand",                             \
      .device = DEVICE_CUDA,                      \
      .dtype = dtype_,                            \
      .training = true,                           \
      .applies = NULL,                            \
      .prepare = average_pool_prepare<type>,      \
      .forward = average_pool_forward<type>,      \
      .backward = average_pool_backward<type>,    \
  }

AVERAGE_POOL_KERNEL(f32, float, DTYPE_F32);
AVERAGE_POOL_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
AVERAGE_POOL_KERNEL(f16, __half, DTYPE_F16);
