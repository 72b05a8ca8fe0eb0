/* The step between dy and the gradient passes on the GPU: the derivative of the fused LeakyReLU and
 * the gradient of the bias, in one sweep over dy as [voxels of all samples][channels]. The voxels
 * are cut into ranges by the shape alone; each range has its own sums, which are added in order. */
#include "kernels/common/cuda.h"
#include "kernels/common/cuda_tile.h"
#include "kernels/conv/conv_cuda.h"

enum {
  THREADS = 256,
  MOST_RANGES = 1056,
  LEAST_TURNS = 16, /* rows that each thread visits at least, where there are so many ranges */
  BATCH = 2,        /* rows in flight per thread */
  FOLD = 32,        /* channels and shares of a block that adds ranges */
};

struct sweep {
  int64_t voxels, each; /* each: voxels of a range */
  int channels;
  float slope;
  float *partial; /* [range][channels]; NULL: sums are not wanted */
};

/* Adds the sums of threads that share a channel group; `width` groups lie side by side. */
template <int LANES>
__device__ void fold_threads(float (&total)[LANES], int row, int rows, int width) {
  __shared__ float sums[LANES][THREADS];
#pragma unroll
  for (int l = 0; l < LANES; l++) sums[l][threadIdx.x] = total[l];
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row >= half || row + half >= rows) continue;
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      total[l] += sums[l][threadIdx.x + half * width];
      sums[l][threadIdx.x] = total[l];
    }
  }
}

/* The gradient in front of the activation, as stored; adds it to `total`. */
template <typename T, int LANES>
__device__ void sweep_lanes(const cuda_lanes<T, LANES> &y, T *dy, cuda_lanes<T, LANES> gradient,
                            float slope, float (&total)[LANES]) {
  if (slope != 1) {
#pragma unroll
    for (int l = 0; l < LANES; l++)
      if (!(to_float(y.value[l]) > 0))
        gradient.value[l] = from_float<T>(to_float(gradient.value[l]) * slope);
    *reinterpret_cast<cuda_lanes<T, LANES> *>(dy) = gradient;
  }
#pragma unroll
  for (int l = 0; l < LANES; l++) total[l] += to_float(gradient.value[l]);
}

/* Block (range, 256 channel groups): each thread has one group of LANES channels and every rows-th
 * voxel. */
template <typename T, int LANES>
static __global__ void __launch_bounds__(THREADS, 3)
    sweep_range(const T *y, T *dy, struct sweep sweep) {
  typedef cuda_lanes<T, LANES> lanes;
  int first = blockIdx.y * THREADS, groups = sweep.channels / LANES;
  int width = groups - first < THREADS ? groups - first : THREADS, rows = THREADS / width;
  int row = threadIdx.x / width, channel = (first + threadIdx.x % width) * LANES;
  int64_t end = (blockIdx.x + 1) * sweep.each;
  end = end < sweep.voxels ? end : sweep.voxels;
  float total[LANES] = {};
  for (int64_t v = blockIdx.x * sweep.each + row; v < end && row < rows; v += BATCH * rows) {
    lanes gradient[BATCH], value[BATCH];
    const int64_t at = v * sweep.channels + channel, step = (int64_t)rows * sweep.channels;
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      if (v + b * rows >= end) continue;
      gradient[b] = *reinterpret_cast<const lanes *>(dy + at + b * step);
      if (sweep.slope != 1) value[b] = *reinterpret_cast<const lanes *>(y + at + b * step);
    }
#pragma unroll
    for (int b = 0; b < BATCH; b++)
      if (v + b * rows < end)
        sweep_lanes<T, LANES>(value[b], dy + at + b * step, gradient[b], sweep.slope, total);
  }
  if (!sweep.partial) return;
  fold_threads(total, row, rows, width);
  if (row != 0) return;
#pragma unroll
  for (int l = 0; l < LANES; l++)
    sweep.partial[(int64_t)blockIdx.x * sweep.channels + channel + l] = total[l];
}

/* db[c] := the sum of partial[range][c]. Blocks of FOLD channels x FOLD shares of the ranges. */
static __global__ void __launch_bounds__(FOLD *FOLD)
    fold_ranges(const float *partial, int ranges, int channels, float *db) {
  __shared__ float sums[FOLD][FOLD + 1];
  int channel = blockIdx.x * FOLD + threadIdx.x;
  float sum = 0;
  for (int r = threadIdx.y; r < ranges && channel < channels; r += FOLD)
    sum += partial[(int64_t)r * channels + channel];
  sums[threadIdx.y][threadIdx.x] = sum;
  for (int half = FOLD / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.y < half)
      sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && channel < channels) db[channel] = sums[0][threadIdx.x];
}

static bool applies(const struct node *node, int input) {
  (void)input;
  return node->y.layout == LAYOUT_LAST || node->y.shape.c == 1;
}

/* Sweeps in groups of 16 bytes where the channels allow it. */
static int lanes_of(const struct node *node) {
  int lanes = (int)(16 / dtype_bytes(node->y.dtype));
  return node->y.shape.c % lanes == 0 ? lanes : 1;
}

static struct sweep plan_sweep(const struct node *node) {
  struct sweep sweep = {};
  sweep.voxels = node->y.shape.n * shape_voxels(node->y.shape);
  sweep.channels = node->y.shape.c;
  sweep.slope = conv_arguments_of(node)->slope;
  int64_t groups = sweep.channels / lanes_of(node);
  int64_t ranges = cuda_blocks(sweep.voxels * groups, THREADS * LEAST_TURNS);
  ranges = ranges < MOST_RANGES ? ranges : (int64_t)MOST_RANGES;
  sweep.each = (sweep.voxels + ranges - 1) / ranges;
  return sweep;
}

static size_t workspace_bytes(const struct node *node, int input) {
  (void)input;
  struct sweep sweep = plan_sweep(node);
  if (!conv_arguments_of(node)->bias) return 0;
  return sizeof(float) * sweep.channels * cuda_blocks(sweep.voxels, sweep.each);
}

template <typename T, int LANES>
static void launch_lanes(const struct io *io, const struct sweep &sweep, struct stream *stream) {
  dim3 grid(cuda_blocks(sweep.voxels, sweep.each), cuda_blocks(sweep.channels / LANES, THREADS));
  CUDA_LAUNCH((sweep_range<T, LANES>), grid, THREADS, 0, stream, (const T *)io->y, (T *)io->dy,
              sweep);
}

template <typename T>
static void launch(const struct node *node, const struct io *io, const struct sweep &sweep,
                   struct stream *stream) {
  if (lanes_of(node) == 1)
    launch_lanes<T, 1>(io, sweep, stream);
  else
    launch_lanes<T, 16 / sizeof(T)>(io, sweep, stream);
}

static void run(const struct node *node, const struct io *io, int input,
                const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)input, (void)end;
  struct sweep sweep = plan_sweep(node);
  bool bias = conv_arguments_of(node)->bias;
  if (bias) sweep.partial = (float *)workspace;
  if (!bias && sweep.slope == 1) return;
  if (node->y.dtype == DTYPE_F32) launch<float>(node, io, sweep, stream);
  if (node->y.dtype == DTYPE_BF16) launch<__nv_bfloat16>(node, io, sweep, stream);
  if (node->y.dtype == DTYPE_F16) launch<__half>(node, io, sweep, stream);
  if (!bias) return;
  CUDA_LAUNCH(fold_ranges, cuda_blocks(sweep.channels, FOLD), dim3(FOLD, FOLD), 0, stream,
              sweep.partial, (int)cuda_blocks(sweep.voxels, sweep.each), sweep.channels,
              (float *)io->dw[CONV_BIAS]);
}

const struct conv_cuda_part conv_cuda_activation = {applies, workspace_bytes, run};
