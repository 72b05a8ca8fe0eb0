/* affine on the GPU: a thread samples a column of voxels of y along d in all channels. Sources and
 * y of any layout but blocks. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/affine/affine_sample.h"
}

enum { THICK = 4, MOST_CHANNELS = 4 };

/* One call, by value. */
struct job {
  struct cuda_tiles tiles; /* planes are samples */
  struct affine_cut cut;
  struct shape source, y;
  struct cuda_strides from, to;
  enum affine_mode mode;
  enum affine_fill fill;
};

static struct job job_make(const struct node *node) {
  const struct affine_arguments *arguments = affine_arguments_of(node);
  struct job job = {};
  job.source = node->x[0].shape;
  job.y = node->y.shape;
  job.tiles = cuda_tiles_make(job.y.w, job.y.h, job.y.d, THICK);
  job.cut = affine_cut_make(arguments);
  job.from = cuda_strides_of(&node->x[0]);
  job.to = cuda_strides_of(&node->y);
  job.mode = arguments->mode;
  job.fill = arguments->fill;
  return job;
}

/* The cell of a voxel of y: which corners are in the box (bit i: corner i, the upper one on axis k
 * where i has bit k), and the lowest corner's number in the source, modulo 2^32: it is not read
 * where it is outside. */
struct cell {
  unsigned low, inside;
  float fraction[3];
};

__device__ inline unsigned voxels_along(const struct job &job, int axis) {
  return (unsigned)(axis == 0 ? job.source.h * job.source.w : axis == 1 ? job.source.w : 1);
}

template <bool NEAREST>
__device__ inline struct cell cell_find(const struct job &job, const struct affine_map &map, int d,
                                        int h, int w, bool clamps) {
  struct cell cell;
  cell.low = 0;
  cell.inside = 0xff;
#pragma unroll
  for (int k = 0; k < 3; k++) {
    const struct affine_axis axis = affine_axis_find(
        affine_row(&map, k, d, h) + map.matrix[k][2] * w, NEAREST ? AFFINE_NEAREST : AFFINE_LINEAR,
        clamps, map.first[k], map.last[k]);
    const unsigned upper = k == 0 ? 0xaa : k == 1 ? 0xcc : 0xf0; /* corners with bit k */
    cell.low += (unsigned)axis.low * voxels_along(job, k);
    cell.fraction[k] = axis.fraction;
    if (!affine_inside(&map, k, axis.low)) cell.inside &= upper;
    if (!affine_inside(&map, k, axis.low + 1)) cell.inside &= ~upper;
  }
  return cell;
}

/* `from`: the channel's first voxel. */
template <typename T>
__device__ inline float corner_load(const struct job &job, const T *from, const struct cell &cell,
                                    int corner, float outside) {
  unsigned voxel = cell.low;
  if (!(cell.inside >> corner & 1)) return outside;
#pragma unroll
  for (int k = 0; k < 3; k++)
    if (corner >> k & 1) voxel += voxels_along(job, k);
  return to_float(*cuda_at(from, voxel, (unsigned)(sizeof(T) * job.from.voxel)));
}

__device__ inline float between(float low, float high, float fraction) {
  return low + fraction * (high - low);
}

template <typename T>
__device__ inline float cell_blend(const struct job &job, const T *from, const struct cell &cell,
                                   float outside) {
  float value[8];
#pragma unroll
  for (int corner = 0; corner < 8; corner++)
    value[corner] = corner_load(job, from, cell, corner, outside);
#pragma unroll
  for (int i = 0; i < 4; i++) value[i] = between(value[2 * i], value[2 * i + 1], cell.fraction[0]);
  float low = between(value[0], value[1], cell.fraction[1]);
  float high = between(value[2], value[3], cell.fraction[1]);
  return between(low, high, cell.fraction[2]);
}

__device__ inline void store(float *to, float value) {
  *to = value;
}
__device__ inline void store(unsigned char *to, float value) {
  *to = (unsigned char)value;
}

/* One voxel of y that is kept, in all channels. */
template <typename T, bool NEAREST>
__device__ inline void sample_voxel(const struct job &job, const struct affine_map &map, int d,
                                    int h, int w, int voxel, const T *from, T *to) {
  const bool clamps = affine_clamps(job.fill) && !affine_is_empty(&map);
  const struct cell cell = cell_find<NEAREST>(job, map, d, h, w, clamps);
  float outside[MOST_CHANNELS] = {};
  if (job.fill == AFFINE_NOISE && cell.inside != 0xff) affine_noise(&map, voxel, job.y.c, outside);
#pragma unroll
  for (int c = 0; c < MOST_CHANNELS; c++) {
    if (c >= job.y.c) break;
    const T *plane = from + c * job.from.channel;
    store(to + c * job.to.channel, NEAREST ? corner_load(job, plane, cell, 0, outside[c])
                                           : cell_blend(job, plane, cell, outside[c]));
  }
}

/* The map lies in shared memory: all threads of a block read the same sample's. */
template <typename T, bool NEAREST>
__global__ void __launch_bounds__(CUDA_TILE_THREADS, 3)
    affine_sample(struct job job, const T *__restrict__ source, const float *__restrict__ motion,
                  T *__restrict__ y) {
  __shared__ struct affine_map map;
  const struct cuda_column column = cuda_column_find(job.tiles);
  if (threadIdx.x == 0 && threadIdx.y == 0)
    map = affine_map_load(motion + column.plane * AFFINE_MOTION, job.source.d, job.source.h,
                          job.source.w);
  __syncthreads();
  if (!column.inside) return;
  source += column.plane * job.from.sample;
  y += column.plane * job.to.sample;
  for (int d = column.first; d < column.end; d++) {
    const int voxel = (d * job.y.h + column.row) * job.y.w + column.item;
    T *to = y + voxel * job.to.voxel;
    if (affine_keeps(&job.cut, d, column.row, column.item))
      sample_voxel<T, NEAREST>(job, map, d, column.row, column.item, voxel, source, to);
    else
      for (int c = 0; c < job.y.c; c++) store(to + c * job.to.channel, 0);
  }
}

template <typename T, bool NEAREST>
static void launch(const struct job &job, const struct io *io, struct stream *stream) {
  CUDA_LAUNCH((affine_sample<T, NEAREST>), cuda_tiles_grid(&job.tiles, job.y.n),
              cuda_tiles_block(&job.tiles), 0, stream, job, (const T *)io->x[0],
              (const float *)io->x[1], (T *)io->y);
}

static enum status affine_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  const struct job job = job_make(node);
  if (node->x[0].dtype == DTYPE_U8)
    launch<unsigned char, true>(job, io, stream);
  else if (job.mode == AFFINE_NEAREST)
    launch<float, true>(job, io, stream);
  else
    launch<float, false>(job, io, stream);
  return cuda_launched(node->name);
}

CUDA_KERNEL(affine_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = false,
    .applies = NULL,
    .prepare = NULL,
    .forward = affine_forward,
    .backward = NULL,
};
