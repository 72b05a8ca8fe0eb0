/* blur on the GPU: a block walks along d through its box. Of every slice it sums a tile, its halo
 * included, along w and h in shared memory; each thread keeps the last sums of its column in
 * registers and gives the weighted sum of these. Samples that stay as they are are copied. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/blur/weights.h"
}

enum {
  THICK = 32,
  MOST = BLUR_MOST_RADIUS,
  TILE = 42 * 18 /* of the widest halo */,
  ROWS = 18 * 32
};

/* One call, by value. */
struct job {
  struct cuda_tiles tiles; /* planes are channels of samples */
  struct cuda_divider channels;
  struct shape shape;
  struct cuda_strides from, to;
};

struct shared {
  struct blur_axis axis[3];
  float tile[TILE], rows[ROWS];
};

/* A block's place; x and y are those of its sample and channel. */
struct walk {
  struct cuda_column column;
  const float *x;
  float *y;
};

__device__ inline int64_t voxel_at(const struct job &job, int d, int h, int w) {
  return ((int64_t)d * job.shape.h + h) * job.shape.w + w;
}

/* The sum along h and w at the thread's column in slice d; all threads of the block call it. */
__device__ inline float slice_sum(const struct job &job, const struct walk &walk,
                                  struct shared &shared, int d) {
  const struct blur_axis &along_h = shared.axis[1], &along_w = shared.axis[2];
  const int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
  const int across = (int)blockDim.x, wide = across + 2 * along_w.radius;
  const int high = (int)blockDim.y + 2 * along_h.radius;
  const int left = walk.column.item - (int)threadIdx.x - along_w.radius;
  const int top = walk.column.row - (int)threadIdx.y - along_h.radius;
  for (int i = thread; i < high * wide; i += CUDA_TILE_THREADS) {
    const int h = blur_clamp(top + i / wide, job.shape.h),
              w = blur_clamp(left + i % wide, job.shape.w);
    shared.tile[i] = walk.x[voxel_at(job, d, h, w) * job.from.voxel];
  }
  __syncthreads();
  for (int i = thread; i < high * across; i += CUDA_TILE_THREADS) {
    const float *centre = shared.tile + i / across * wide + i % across + along_w.radius;
    float sum = along_w.weight[0] * centre[0];
    for (int j = 1; j <= along_w.radius; j++) sum += along_w.weight[j] * (centre[-j] + centre[j]);
    shared.rows[i] = sum;
  }
  __syncthreads();
  const float *centre = shared.rows + ((int)threadIdx.y + along_h.radius) * across + threadIdx.x;
  float sum = along_h.weight[0] * centre[0];
  for (int j = 1; j <= along_h.radius; j++)
    sum += along_h.weight[j] * (centre[-j * across] + centre[j * across]);
  return sum; /* the next slice's first barrier comes before rows are written again */
}

__device__ inline void give(const struct job &job, const struct walk &walk, int d, float value) {
  const int64_t voxel = voxel_at(job, d, walk.column.row, walk.column.item);
  if (walk.column.inside) walk.y[voxel * job.to.voxel] = value;
}

/* sums[i] is that of slice d - RADIUS + i when slice d is given. */
template <int RADIUS>
__device__ inline void walk_slices(const struct job &job, const struct walk &walk,
                                   struct shared &shared) {
  float sums[2 * RADIUS + 1] = {};
  for (int d = walk.column.first - 2 * RADIUS; d < walk.column.end; d++) {
#pragma unroll
    for (int i = 0; i < 2 * RADIUS; i++) sums[i] = sums[i + 1];
    sums[2 * RADIUS] = slice_sum(job, walk, shared, blur_clamp(d + RADIUS, job.shape.d));
    if (d < walk.column.first) continue;
    float sum = shared.axis[0].weight[0] * sums[RADIUS];
#pragma unroll
    for (int j = 1; j <= RADIUS; j++)
      sum += shared.axis[0].weight[j] * (sums[RADIUS - j] + sums[RADIUS + j]);
    give(job, walk, d, sum);
  }
}

__device__ inline void copy_slices(const struct job &job, const struct walk &walk) {
  if (!walk.column.inside) return;
  for (int d = walk.column.first; d < walk.column.end; d++)
    give(job, walk, d,
         walk.x[voxel_at(job, d, walk.column.row, walk.column.item) * job.from.voxel]);
}

__global__ void __launch_bounds__(CUDA_TILE_THREADS, 4)
    blur_walk(struct job job, const float *__restrict__ x, const float *__restrict__ numbers,
              float *__restrict__ y) {
  __shared__ struct shared shared;
  struct walk walk;
  unsigned channel;
  walk.column = cuda_column_find(job.tiles);
  const int sample = (int)cuda_divide((unsigned)walk.column.plane, job.channels, &channel);
  walk.x = x + sample * job.from.sample + channel * job.from.channel;
  walk.y = y + sample * job.to.sample + channel * job.to.channel;
  if (threadIdx.y == 0 && threadIdx.x < 3)
    shared.axis[threadIdx.x] = blur_axis_of(numbers[sample * BLUR_NUMBERS + threadIdx.x]);
  __syncthreads();
  const int radius = shared.axis[0].radius;
  if (radius + shared.axis[1].radius + shared.axis[2].radius == 0) return copy_slices(job, walk);
  switch (radius) {
    case 0:
      return walk_slices<0>(job, walk, shared);
    case 1:
      return walk_slices<1>(job, walk, shared);
    case 2:
      return walk_slices<2>(job, walk, shared);
    case 3:
      return walk_slices<3>(job, walk, shared);
    case 4:
      return walk_slices<4>(job, walk, shared);
    default:
      return walk_slices<MOST>(job, walk, shared);
  }
}

static enum status blur_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  struct job job;
  job.shape = node->y.shape;
  job.tiles = cuda_tiles_make(job.shape.w, job.shape.h, job.shape.d, THICK);
  job.channels = cuda_divider_make((unsigned)job.shape.c);
  job.from = cuda_strides_of(&node->x[0]);
  job.to = cuda_strides_of(&node->y);
  CUDA_LAUNCH(blur_walk, cuda_tiles_grid(&job.tiles, (int64_t)job.shape.n * job.shape.c),
              cuda_tiles_block(&job.tiles), 0, stream, job, (const float *)io->x[0],
              (const float *)io->x[1], (float *)io->y);
  return cuda_launched(node->name);
}

CUDA_KERNEL(blur_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = NULL,
    .prepare = NULL,
    .forward = blur_forward,
    .backward = NULL,
};
