/* affine on the GPU: a thread samples a column of voxels of y along d in all channels. Sources and
 * y of any layout but blocks. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/affine/affine_spline.h"
}

enum { THICK = 4 };

/* One call, by value. */
struct job {
  struct cuda_tiles tiles; /* planes are samples */
  struct affine_cut cut;
  struct shape source, y;
  struct cuda_strides from, to, control; /* no control: the last is not read */
  struct affine_grid grid;
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
  if (affine_bends(node)) {
    const struct tensor *control = &node->x[AFFINE_CONTROL];
    job.control = cuda_strides_of(control);
    job.grid.d = control->shape.d;
    job.grid.h = control->shape.h;
    job.grid.w = control->shape.w;
    job.grid.voxel = job.control.voxel;
  }
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

/* u of a voxel of y, by axis, to where threads keep their own in shared memory: registers are for
 * what comes next. */
__device__ inline void bend_find(const struct job &job, const float *control, int d, int h, int w,
                                 double *bend) {
  const struct affine_knot along_d = affine_knot_find(d, job.y.d, job.grid.d);
  const struct affine_taps along_h = affine_taps_find(h, job.y.h, job.grid.h);
  const struct affine_taps along_w = affine_taps_find(w, job.y.w, job.grid.w);
#pragma unroll 1
  for (int k = 0; k < 3; k++)
    bend[k * CUDA_TILE_THREADS] = affine_displacement(&job.grid, along_d, &along_h, &along_w,
                                                      control + k * job.control.channel);
}

/* bend: NULL without deformation. */
template <bool NEAREST, bool BENDS>
__device__ inline struct cell cell_find(const struct job &job, const struct affine_map &map, int d,
                                        int h, int w, bool clamps, const double *bend) {
  struct cell cell;
  cell.low = 0;
  cell.inside = 0xff;
#pragma unroll
  for (int k = 0; k < 3; k++) {
    double position = affine_row(&map, k, d, h) + map.matrix[k][2] * w;
    if (BENDS) position += bend[k * CUDA_TILE_THREADS];
    const struct affine_axis axis = affine_axis_find(
        position, NEAREST ? AFFINE_NEAREST : AFFINE_LINEAR, clamps, map.first[k], map.last[k]);
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

template <typename T, bool NEAREST>
__device__ inline float cell_value(const struct job &job, const T *from, const struct cell &cell,
                                   float outside) {
  return NEAREST ? corner_load(job, from, cell, 0, outside) : cell_blend(job, from, cell, outside);
}

/* A voxel of y that is kept, in all channels, 4 at a time. */
template <typename T, bool NEAREST>
__device__ inline void sample_voxel(const struct job &job, const struct affine_map &map,
                                    const struct cell &cell, int voxel, const T *from, T *to) {
  for (int first = 0; first < job.y.c; first += AFFINE_NOISE_CHANNELS) {
    float outside[AFFINE_NOISE_CHANNELS] = {};
    if (job.fill == AFFINE_NOISE && cell.inside != 0xff)
      affine_noise(&map, voxel, first, job.y.c, outside);
#pragma unroll
    for (int i = 0; i < AFFINE_NOISE_CHANNELS; i++) {
      if (first + i < job.y.c) store(to, cell_value<T, NEAREST>(job, from, cell, outside[i]));
      from += job.from.channel;
      to += job.to.channel;
    }
  }
}

/* The map lies in shared memory: all threads of a block read the same sample's. */
template <typename T, bool NEAREST, bool BENDS>
__global__ void __launch_bounds__(CUDA_TILE_THREADS, BENDS ? 2 : 3)
    affine_sample(struct job job, const T *__restrict__ source, const float *__restrict__ motion,
                  const float *__restrict__ control, T *__restrict__ y) {
  __shared__ struct affine_map map;
  __shared__ double bends[BENDS ? 3 * CUDA_TILE_THREADS : 1];
  const struct cuda_column column = cuda_column_find(job.tiles);
  if (threadIdx.x == 0 && threadIdx.y == 0)
    map = affine_map_load(motion + column.plane * AFFINE_MOTION, job.source.d, job.source.h,
                          job.source.w);
  __syncthreads();
  if (!column.inside) return;
  double *bend = BENDS ? bends + threadIdx.y * blockDim.x + threadIdx.x : nullptr;
  const bool clamps = affine_clamps(job.fill) && !affine_is_empty(&map);
  source += column.plane * job.from.sample;
  y += column.plane * job.to.sample;
  for (int d = column.first; d < column.end; d++) {
    const int voxel = (d * job.y.h + column.row) * job.y.w + column.item;
    T *to = y + voxel * job.to.voxel;
    if (affine_keeps(&job.cut, d, column.row, column.item)) {
      if (BENDS)
        bend_find(job, control + column.plane * job.control.sample, d, column.row, column.item,
                  bend);
      const struct cell cell =
          cell_find<NEAREST, BENDS>(job, map, d, column.row, column.item, clamps, bend);
      sample_voxel<T, NEAREST>(job, map, cell, voxel, source, to);
    } else {
      for (int c = 0; c < job.y.c; c++) store(to + c * job.to.channel, 0);
    }
  }
}

template <typename T, bool NEAREST, bool BENDS>
static void launch_on(const struct job &job, const struct io *io, struct stream *stream) {
  CUDA_LAUNCH((affine_sample<T, NEAREST, BENDS>), cuda_tiles_grid(&job.tiles, job.y.n),
              cuda_tiles_block(&job.tiles), 0, stream, job, (const T *)io->x[AFFINE_SOURCE],
              (const float *)io->x[AFFINE_NUMBERS],
              (const float *)(BENDS ? io->x[AFFINE_CONTROL] : NULL), (T *)io->y);
}

template <typename T, bool NEAREST>
static void launch(const struct node *node, const struct io *io, struct stream *stream) {
  const struct job job = job_make(node);
  if (affine_bends(node))
    launch_on<T, NEAREST, true>(job, io, stream);
  else
    launch_on<T, NEAREST, false>(job, io, stream);
}

static enum status affine_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  if (node->x[0].dtype == DTYPE_U8)
    launch<unsigned char, true>(node, io, stream);
  else if (affine_arguments_of(node)->mode == AFFINE_NEAREST)
    launch<float, true>(node, io, stream);
  else
    launch<float, false>(node, io, stream);
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
