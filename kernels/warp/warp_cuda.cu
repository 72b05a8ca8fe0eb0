/* warp on the GPU. Forward and the displacement's gradient gather; the image's gradient is
 * scattered in integers (warp_scatter_cuda.h), sample by sample, so that the sums of one are all
 * there is at a time. Images of float32, bfloat16 or float16, any layout but blocks; displacements
 * float32. */
#include "kernels/common/cuda_tile.h"
#include "kernels/warp/warp_scatter_cuda.h"

enum {
  SAMPLE_THICK = 4,
  WIDE_THICK = 2,
  SLOPE_THICK = 4,
  SCATTER_THICK = 8,
  WRITE_LANES = 4,
  LARGEST_BLOCKS = 1024
};

/* One call, by value to kernels. */
struct job {
  struct warp_arguments arguments;
  struct warp_grid grid;
  struct cuda_split split; /* of the image's channels */
  int64_t voxels;
  struct cuda_strides image, field, y;
};

static const struct warp_arguments *arguments_of(const struct node *node) {
  return (const struct warp_arguments *)(const void *)node->arguments;
}

static struct job job_make(const struct node *node, int lanes) {
  struct job job;
  job.arguments = *arguments_of(node);
  job.grid = warp_grid_of(&node->y.shape);
  job.split = cuda_split_of(
      &node->y, node->y.layout == LAYOUT_LAST && node->x[0].layout == LAYOUT_LAST, lanes);
  job.voxels = shape_voxels(node->y.shape);
  job.image = cuda_strides_of(&node->x[0]);
  job.field = cuda_strides_of(&node->x[1]);
  job.y = cuda_strides_of(&node->y);
  return job;
}

/* A plane of the tiles as sample and first channel. */
struct plane {
  int sample, channel, w;
};

__device__ inline struct plane plane_find(const struct job &job, const struct cuda_column &column) {
  struct plane plane;
  plane.sample = job.split.planes == 1 ? column.plane : column.plane / job.split.planes;
  plane.w = job.split.groups == 1 ? column.item : column.item / job.split.groups;
  plane.channel = column.plane - plane.sample * job.split.planes +
                  (column.item - plane.w * job.split.groups) * job.split.lanes;
  return plane;
}

__device__ inline void load_field(const float *field, const struct cuda_strides &strides,
                                  int sample, int64_t voxel, float (&u)[3]) {
  const float *from = field + sample * strides.sample + voxel * strides.voxel;
#pragma unroll
  for (int k = 0; k < 3; k++) u[k] = from[k * strides.channel];
}

template <typename T, int LANES, int THICK>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    sample(struct job job, struct cuda_tiles tiles, const T *__restrict__ image,
           const float *__restrict__ field, T *__restrict__ y) {
  const struct cuda_column column = cuda_column_find(tiles);
  if (!column.inside) return;
  const struct plane plane = plane_find(job, column);
  float u[THICK][3];
#pragma unroll
  for (int i = 0; i < THICK; i++)
    if (column.first + i < column.end)
      load_field(field, job.field, plane.sample,
                 warp_grid_voxel(job.grid, column.first + i, column.row, plane.w), u[i]);
  image += plane.sample * job.image.sample + plane.channel * job.image.channel;
  y += plane.sample * job.y.sample + plane.channel * job.y.channel;
#pragma unroll
  for (int i = 0; i < THICK; i++) {
    const int d = column.first + i;
    if (d >= column.end) break;
    const struct warp_cell cell =
        warp_cell_find(job.grid, d, column.row, plane.w, u[i], job.arguments);
    float value[WARP_CORNERS][LANES] = {}, sum[LANES] = {};
#pragma unroll
    for (int corner = 0; corner < WARP_CORNERS; corner++)
      if (cell.inside >> corner & 1)
        cuda_load(image + (cell.voxel + warp_grid_corner(job.grid, corner)) * job.image.voxel,
                  value[corner]);
#pragma unroll
    for (int corner = 0; corner < WARP_CORNERS; corner++)
#pragma unroll
      for (int l = 0; l < LANES; l++)
        sum[l] += warp_corner_weight(cell.at, corner) * value[corner][l];
    cuda_store(y + warp_grid_voxel(job.grid, d, column.row, plane.w) * job.y.voxel, sum);
  }
}

/* <dy, image> over the channels at each corner. */
template <typename T, int LANES>
__device__ inline void corner_products(const struct job &job, const struct warp_cell &cell,
                                       const T *image, const T *dy,
                                       float (&product)[WARP_CORNERS]) {
  const int groups = job.split.planes * job.split.groups;
  for (int g = 0; g < groups; g++) {
    float gradient[LANES];
    cuda_load(dy + (int64_t)g * LANES * job.y.channel, gradient);
    const T *from = image + (int64_t)g * LANES * job.image.channel;
#pragma unroll
    for (int corner = 0; corner < WARP_CORNERS; corner++) {
      float value[LANES] = {};
      if (cell.inside >> corner & 1)
        cuda_load(from + (cell.voxel + warp_grid_corner(job.grid, corner)) * job.image.voxel,
                  value);
#pragma unroll
      for (int l = 0; l < LANES; l++) product[corner] += gradient[l] * value[l];
    }
  }
}

template <typename T, int LANES>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    slope(struct job job, struct cuda_tiles tiles, bool add, const T *__restrict__ image,
          const float *__restrict__ field, const T *__restrict__ dy, float *__restrict__ dfield) {
  __shared__ float staged[3 * CUDA_TILE_THREADS];
  const struct cuda_column column = cuda_column_find(tiles);
  const int n = column.plane, w = column.item, lane = (int)threadIdx.x;
  float *row = staged + 3 * threadIdx.y * blockDim.x;
  image += n * job.image.sample;
  dy += n * job.y.sample;
  dfield += n * job.field.sample;
  for (int d = column.first; d < column.end; d++) {
    const int64_t voxel = warp_grid_voxel(job.grid, d, column.row, w);
    float u[3], du[3] = {}, product[WARP_CORNERS] = {};
    if (column.inside) {
      load_field(field, job.field, n, voxel, u);
      const struct warp_cell cell = warp_cell_find(job.grid, d, column.row, w, u, job.arguments);
      corner_products<T, LANES>(job, cell, image, dy + voxel * job.y.voxel, product);
      warp_cell_slope(cell, product, du);
    }
    if (job.field.channel == 1) {
      int count = column.row < tiles.rows ? tiles.items - (w - lane) : 0;
      cuda_store_triples(row, lane, (int)blockDim.x, count, du, add, dfield + (voxel - lane) * 3);
    } else if (column.inside) {
#pragma unroll
      for (int k = 0; k < 3; k++) {
        float *to = dfield + voxel + k * job.field.channel;
        *to = add ? *to + du[k] : du[k];
      }
    }
  }
}

template <typename T>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    find_largest(const T *__restrict__ values, int64_t count, unsigned *largest) {
  const int LANES = cuda_most_lanes<T>;
  const int64_t step = (int64_t)gridDim.x * CUDA_TILE_THREADS * LANES;
  int64_t first = ((int64_t)blockIdx.x * CUDA_TILE_THREADS + threadIdx.x) * LANES;
  unsigned magnitude = 0;
  for (; first < count; first += step) {
    float value[LANES] = {};
    if (first + LANES <= count)
      cuda_load(values + first, value);
    else
      for (int64_t i = first; i < count; i++)
        magnitude = warp_larger(magnitude, warp_magnitude(to_float(values[i])));
#pragma unroll
    for (int l = 0; l < LANES; l++) magnitude = warp_larger(magnitude, warp_magnitude(value[l]));
  }
  warp_raise(magnitude, largest);
}

/* The image's gradient of sample n in units. The tiles' groups are channels. */
template <typename T>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    scatter(struct job job, struct cuda_tiles tiles, int n, int bits, const unsigned *largest,
            const float *__restrict__ field, const T *__restrict__ dy, warp_total *total) {
  const struct warp_unit unit = warp_unit_find(*largest, bits);
  if (!unit.finite) return;
  const struct cuda_column column = cuda_column_find(tiles);
  const struct plane plane = plane_find(job, column);
  const struct warp_sums sums = {total + plane.channel * job.image.channel, 0, job.image.voxel};
  struct warp_face<1> lower, upper;
  warp_face_clear(&upper);
  dy += n * job.y.sample + plane.channel * job.y.channel;
  for (int d = column.first; d < column.end; d++) {
    const int64_t voxel = warp_grid_voxel(job.grid, d, column.row, plane.w);
    float u[3] = {}, gradient[1] = {};
    if (column.inside) {
      load_field(field, job.field, n, voxel, u);
      gradient[0] = to_float(dy[voxel * job.y.voxel]) * unit.scale;
    }
    struct warp_cell cell = warp_cell_find(job.grid, d, column.row, plane.w, u, job.arguments);
    if (!column.inside) cell.inside = 0;
    warp_face_step(&lower, &upper, cell, gradient, job.grid, sums);
    if (job.split.groups == 1) warp_face_hand_over(&lower, (int)threadIdx.x, (int)blockDim.x);
    warp_face_pay(lower, job.grid, sums);
  }
  if (job.split.groups == 1) warp_face_hand_over(&upper, (int)threadIdx.x, (int)blockDim.x);
  warp_face_pay(upper, job.grid, sums);
}

template <typename T, int LANES>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    write_sums(const warp_total *__restrict__ total, int64_t count, int bits,
               const unsigned *largest, bool add, T *__restrict__ dx) {
  const struct warp_unit unit = warp_unit_find(*largest, bits);
  const int64_t first = ((int64_t)blockIdx.x * CUDA_TILE_THREADS + threadIdx.x) * LANES;
  if (first >= count) return;
  const cuda_lanes<warp_total, LANES> sums =
      *reinterpret_cast<const cuda_lanes<warp_total, LANES> *>(total + first);
  float value[LANES] = {};
  if (add) cuda_load(dx + first, value);
#pragma unroll
  for (int l = 0; l < LANES; l++) value[l] += warp_unit_value(unit, sums.value[l]);
  cuda_store(dx + first, value);
}

/* --- calls --- */

static bool warp_applies(const struct node *node) {
  return node->x[0].layout != LAYOUT_BLOCKED && node->x[1].layout != LAYOUT_BLOCKED &&
         node->y.layout != LAYOUT_BLOCKED && node->x[1].dtype == DTYPE_F32;
}

static int64_t sample_elements(const struct node *node) {
  return node->x[0].shape.c * shape_voxels(node->x[0].shape);
}

/* The largest magnitude of dy, then the sums of one sample. */
enum { LARGEST_BYTES = 64 };

static void warp_prepare(struct node *node) {
  if (node->wants_dx[0])
    node->backward_workspace = LARGEST_BYTES + (size_t)sample_elements(node) * sizeof(warp_total);
}

template <typename T, int LANES>
static void launch_sample(const struct node *node, const struct io *io, struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct job job = job_make(node, LANES);
  const int THICK = LANES > 1 ? WIDE_THICK : SAMPLE_THICK;
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, THICK);
  CUDA_LAUNCH((sample<T, LANES, THICK>), cuda_tiles_grid(&tiles, (int64_t)s->n * job.split.planes),
              cuda_tiles_block(&tiles), 0, stream, job, tiles, (const T *)io->x[0],
              (const float *)io->x[1], (T *)io->y);
}

template <typename T, int LANES>
static void launch_slope(const struct node *node, const struct io *io, struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct cuda_tiles tiles = cuda_tiles_make(s->w, s->h, s->d, SLOPE_THICK);
  CUDA_LAUNCH((slope<T, LANES>), cuda_tiles_grid(&tiles, s->n), cuda_tiles_block(&tiles), 0, stream,
              job_make(node, LANES), tiles, io->dx_add[1], (const T *)io->x[0],
              (const float *)io->x[1], (const T *)io->dy, (float *)io->dx[1]);
}

template <typename T, int LANES>
static void launch_write(const struct node *node, const struct io *io, int n, int bits,
                         struct stream *stream) {
  const int64_t count = sample_elements(node);
  const warp_total *total = (const warp_total *)((const char *)io->workspace + LARGEST_BYTES);
  CUDA_LAUNCH((write_sums<T, LANES>), cuda_blocks(count, CUDA_TILE_THREADS * LANES),
              CUDA_TILE_THREADS, 0, stream, total, count, bits, (const unsigned *)io->workspace,
              io->dx_add[0], (T *)io->dx[0] + n * count);
}

template <typename T>
static enum status image_gradient(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct job job = job_make(node, 1);
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, SCATTER_THICK);
  const int64_t count = sample_elements(node), all = s->n * count;
  const int bits = warp_unit_bits(job.voxels), lanes = cuda_most_lanes<T>;
  const unsigned most = LARGEST_BLOCKS, enough = cuda_blocks(all, CUDA_TILE_THREADS * lanes);
  unsigned *largest = (unsigned *)io->workspace;
  warp_total *total = (warp_total *)((char *)io->workspace + LARGEST_BYTES);
  CUDA_TRY(cudaMemsetAsync(largest, 0, LARGEST_BYTES, cuda_stream(stream)));
  CUDA_LAUNCH((find_largest<T>), enough < most ? enough : most, CUDA_TILE_THREADS, 0, stream,
              (const T *)io->dy, all, largest);
  for (int n = 0; n < s->n; n++) {
    CUDA_TRY(cudaMemsetAsync(total, 0, (size_t)count * sizeof *total, cuda_stream(stream)));
    CUDA_LAUNCH((scatter<T>), cuda_tiles_grid(&tiles, job.split.planes), cuda_tiles_block(&tiles),
                0, stream, job, tiles, n, bits, (const unsigned *)largest, (const float *)io->x[1],
                (const T *)io->dy, total);
    (count % WRITE_LANES == 0 ? launch_write<T, WRITE_LANES> : launch_write<T, 1>)(node, io, n,
                                                                                   bits, stream);
  }
  return STATUS_OK;
}

/* Whether the image's channels are read 16 bytes at a time. */
template <typename T>
static bool is_wide(const struct node *node) {
  return job_make(node, cuda_most_lanes<T>).split.lanes > 1;
}

template <typename T>
static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (is_wide<T>(node) ? launch_sample<T, cuda_most_lanes<T>> : launch_sample<T, 1>)(node, io, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status field_gradient(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  if (arguments_of(node)->mode != WARP_NEAREST)
    (is_wide<T>(node) ? launch_slope<T, cuda_most_lanes<T>> : launch_slope<T, 1>)(node, io, stream);
  else if (!io->dx_add[1])
    CUDA_TRY(cudaMemsetAsync(io->dx[1], 0, tensor_bytes(&node->x[1]), cuda_stream(stream)));
  return STATUS_OK;
}

template <typename T>
static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  if (io->dx[1]) TRY(field_gradient<T>(node, io, stream));
  if (io->dx[0]) TRY(image_gradient<T>(node, io, stream));
  return cuda_launched(node->name);
}

#define WARP_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(warp_cuda, suffix) = {      \
      .name = "hand",                     \
      .device = DEVICE_CUDA,              \
      .dtype = dtype_,                    \
      .training = true,                   \
      .applies = warp_applies,            \
      .prepare = warp_prepare,            \
      .forward = warp_forward<type>,      \
      .backward = warp_backward<type>,    \
  }

WARP_KERNEL(f32, float, DTYPE_F32);
WARP_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
WARP_KERNEL(f16, __half, DTYPE_F16);
