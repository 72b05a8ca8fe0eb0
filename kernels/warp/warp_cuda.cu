/* warp on the GPU. Forward and the displacement's gradient gather; the image's gradient is
 * scattered in integers (warp_scatter_cuda.h), sample by sample, so that the sums of one are all
 * there is at a time. Images of float32, bfloat16 or float16, any layout but blocks; displacements
 * float32. */
#include "kernels/warp/warp_scatter_cuda.h"

enum { SAMPLE_THICK = 4, WIDE_THICK = 2, SLOPE_THICK = 4, SCATTER_THICK = 8 };
enum { WRITE_LANES = 4, LARGEST_BLOCKS = 1024 };

/* One call, by value to kernels. */
template <typename Index>
struct job {
  struct warp_grid<Index> grid;
  struct cuda_split split; /* of the image's channels */
  struct cuda_strides image, field, y;
  enum warp_padding padding;
};

static const struct warp_arguments *arguments_of(const struct node *node) {
  return (const struct warp_arguments *)(const void *)node->arguments;
}

template <typename Index>
static struct job<Index> job_make(const struct node *node, int lanes) {
  const bool last = node->y.layout == LAYOUT_LAST && node->x[0].layout == LAYOUT_LAST;
  struct job<Index> job;
  job.grid = warp_grid_of<Index>(node->y.shape);
  job.split = cuda_split_of(&node->y, last, lanes);
  job.image = cuda_strides_of(&node->x[0]);
  job.field = cuda_strides_of(&node->x[1]);
  job.y = cuda_strides_of(&node->y);
  job.padding = arguments_of(node)->padding;
  return job;
}

/* How an image's channels are read. */
enum access {
  ACCESS_PLAIN,  /* one by one; voxels side by side */
  ACCESS_SINGLE, /* one by one; any strides */
  ACCESS_WIDE,   /* 16 bytes of a voxel at once */
};

template <typename T, enum access ACCESS>
constexpr int lanes_of = ACCESS == ACCESS_WIDE ? cuda_most_lanes<T> : 1;

template <typename T>
__device__ inline unsigned bytes_of(const struct cuda_strides &strides, enum access access) {
  return (unsigned)sizeof(T) * (access == ACCESS_PLAIN ? 1 : (unsigned)strides.voxel);
}

template <typename Index>
__device__ inline void load_field(const float *field, const struct cuda_strides &strides,
                                  Index number, float (&u)[3]) {
  const float *from = cuda_at(field, number, bytes_of<float>(strides, ACCESS_SINGLE));
  if (strides.channel == 1) {
#pragma unroll
    for (int k = 0; k < 3; k++) u[k] = from[k];
  } else {
#pragma unroll
    for (int k = 0; k < 3; k++) u[k] = from[k * strides.channel];
  }
}

template <typename T, enum access ACCESS, int THICK, enum warp_mode MODE, typename Index>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    sample(struct job<Index> job, struct cuda_tiles tiles, const T *__restrict__ image,
           const float *__restrict__ field, T *__restrict__ y) {
  constexpr int LANES = lanes_of<T, ACCESS>;
  const unsigned bytes = bytes_of<T>(job.image, ACCESS), y_bytes = bytes_of<T>(job.y, ACCESS);
  const struct cuda_column column = cuda_column_find(tiles);
  if (!column.inside) return;
  const struct cuda_place place = cuda_place_find(job.split, column);
  field += place.sample * job.field.sample;
  image += place.sample * job.image.sample + place.channel * job.image.channel;
  y += place.sample * job.y.sample + place.channel * job.y.channel;
  const Index first = warp_grid_voxel(job.grid, column.first, column.row, place.w);
  float u[THICK][3];
#pragma unroll
  for (int i = 0; i < THICK; i++)
    if (column.first + i < column.end)
      load_field(field, job.field, (Index)(first + i * job.grid.slice), u[i]);
#pragma unroll
  for (int i = 0; i < THICK; i++) {
    const int d = column.first + i;
    if (d >= column.end) break;
    const struct warp_cell<Index> cell =
        warp_cell_find<MODE>(job.grid, d, column.row, place.w, u[i], job.padding);
    float sum[LANES] = {};
    if constexpr (MODE == WARP_LINEAR) {
      float value[WARP_CORNERS][LANES] = {};
      warp_cell_load(job.grid, cell, image, bytes, value);
      warp_cell_blend(cell, value, sum);
    } else if (warp_corner_inside(cell.at, job.grid.extent, 0)) {
      cuda_load(cuda_at(image, cell.voxel, bytes), sum);
    }
    cuda_store(cuda_at(y, (Index)(first + i * job.grid.slice), y_bytes), sum);
  }
}

/* <dy, image> over the channels at each corner. */
template <typename T, enum access ACCESS, typename Index>
__device__ inline void corner_products(const struct job<Index> &job,
                                       const struct warp_cell<Index> &cell, const T *image,
                                       const T *dy, float (&product)[WARP_CORNERS]) {
  constexpr int LANES = lanes_of<T, ACCESS>;
  const int groups = job.split.planes * job.split.groups;
  for (int g = 0; g < groups; g++) {
    float gradient[LANES], value[WARP_CORNERS][LANES] = {};
    cuda_load(dy, gradient);
    warp_cell_load(job.grid, cell, image, bytes_of<T>(job.image, ACCESS), value);
#pragma unroll
    for (int corner = 0; corner < WARP_CORNERS; corner++)
#pragma unroll
      for (int l = 0; l < LANES; l++) product[corner] += gradient[l] * value[corner][l];
    dy += LANES * job.y.channel;
    image += LANES * job.image.channel;
  }
}

template <typename Index>
__device__ inline void store_slope(const struct job<Index> &job, const struct cuda_tiles &tiles,
                                   const struct cuda_column &column, const float (&du)[3], bool add,
                                   float *shared, float *dfield) {
  const int lane = (int)threadIdx.x, width = (int)blockDim.x;
  if (job.field.channel == 1) {
    const int count = column.row < tiles.rows ? tiles.items - (column.item - lane) : 0;
    cuda_store_triples(shared + 3 * threadIdx.y * width, lane, width, count, du, add,
                       dfield - 3 * lane);
  } else if (column.inside) {
#pragma unroll
    for (int k = 0; k < 3; k++) {
      float *to = dfield + k * job.field.channel;
      *to = add ? *to + du[k] : du[k];
    }
  }
}

/* The displacement's gradient; tiles over its voxels. */
template <typename T, enum access ACCESS, typename Index>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS, ACCESS == ACCESS_PLAIN ? 4 : 2)
    slope(struct job<Index> job, struct cuda_tiles tiles, bool add, const T *__restrict__ image,
          const float *__restrict__ field, const T *__restrict__ dy, float *__restrict__ dfield) {
  __shared__ float staged[3 * CUDA_TILE_THREADS];
  const struct cuda_column column = cuda_column_find(tiles);
  image += column.plane * job.image.sample;
  field += column.plane * job.field.sample;
  dy += column.plane * job.y.sample;
  dfield += column.plane * job.field.sample;
  Index voxel = warp_grid_voxel(job.grid, column.first, column.row, column.item);
  for (int d = column.first; d < column.end; d++, voxel += job.grid.slice) {
    float u[3], du[3] = {}, product[WARP_CORNERS] = {};
    if (column.inside) {
      load_field(field, job.field, voxel, u);
      const struct warp_cell<Index> cell =
          warp_cell_find<WARP_LINEAR>(job.grid, d, column.row, column.item, u, job.padding);
      corner_products<T, ACCESS>(job, cell, image, cuda_at(dy, voxel, bytes_of<T>(job.y, ACCESS)),
                                 product);
      warp_cell_slope(cell, product, du);
    }
    store_slope(job, tiles, column, du, add, staged,
                cuda_at(dfield, voxel, bytes_of<float>(job.field, ACCESS_SINGLE)));
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
template <typename T, enum warp_mode MODE, typename Index>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    scatter(struct job<Index> job, struct cuda_tiles tiles, int n, int bits,
            const unsigned *largest, const float *__restrict__ field, const T *__restrict__ dy,
            warp_total *total) {
  const struct warp_unit unit = warp_unit_find(*largest, bits);
  if (!unit.finite) return;
  const struct cuda_column column = cuda_column_find(tiles);
  const struct cuda_place place = cuda_place_find(job.split, column);
  const struct warp_sums sums = {total + place.channel * job.image.channel, 0,
                                 (int)job.image.voxel};
  const int lane = (int)threadIdx.x, width = (int)blockDim.x, next = job.split.groups;
  struct warp_face<1, Index> lower, upper;
  warp_face_clear(&upper);
  field += n * job.field.sample;
  dy += n * job.y.sample + place.channel * job.y.channel;
  Index voxel = warp_grid_voxel(job.grid, column.first, column.row, place.w);
  for (int d = column.first; d < column.end; d++, voxel += job.grid.slice) {
    float u[3] = {}, gradient[1] = {};
    if (column.inside) {
      load_field(field, job.field, voxel, u);
      gradient[0] = to_float(*cuda_at(dy, voxel, bytes_of<T>(job.y, ACCESS_SINGLE))) * unit.scale;
    }
    const struct warp_cell<Index> cell =
        warp_cell_find<MODE>(job.grid, d, column.row, place.w, u, job.padding);
    warp_face_step(&lower, &upper, cell, gradient, job.grid, sums);
    if (next < width) warp_face_hand_over(&lower, lane, width, next);
    warp_face_pay(lower, job.grid, sums);
  }
  if (next < width) warp_face_hand_over(&upper, lane, width, next);
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

template <typename T, enum access ACCESS, enum warp_mode MODE, typename Index>
static void launch_sample(const struct node *node, const struct io *io, struct stream *stream) {
  constexpr int THICK = ACCESS == ACCESS_WIDE ? WIDE_THICK : SAMPLE_THICK;
  const struct shape *s = &node->y.shape;
  const struct job<Index> job = job_make<Index>(node, lanes_of<T, ACCESS>);
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, THICK);
  CUDA_LAUNCH((sample<T, ACCESS, THICK, MODE, Index>),
              cuda_tiles_grid(&tiles, (int64_t)s->n * job.split.planes), cuda_tiles_block(&tiles),
              0, stream, job, tiles, (const T *)io->x[0], (const float *)io->x[1], (T *)io->y);
}

template <typename T, enum access ACCESS, typename Index>
static void launch_slope(const struct node *node, const struct io *io, struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct cuda_tiles tiles = cuda_tiles_make(s->w, s->h, s->d, SLOPE_THICK);
  CUDA_LAUNCH((slope<T, ACCESS, Index>), cuda_tiles_grid(&tiles, s->n), cuda_tiles_block(&tiles), 0,
              stream, job_make<Index>(node, lanes_of<T, ACCESS>), tiles, io->dx_add[1],
              (const T *)io->x[0], (const float *)io->x[1], (const T *)io->dy, (float *)io->dx[1]);
}

template <typename T>
static void launch_largest(const struct node *node, const struct io *io, struct stream *stream) {
  const int64_t all = node->y.shape.n * sample_elements(node);
  const unsigned most = LARGEST_BLOCKS,
                 enough = cuda_blocks(all, CUDA_TILE_THREADS * cuda_most_lanes<T>);
  CUDA_LAUNCH((find_largest<T>), enough < most ? enough : most, CUDA_TILE_THREADS, 0, stream,
              (const T *)io->dy, all, (unsigned *)io->workspace);
}

static warp_total *totals_of(const struct io *io) {
  return (warp_total *)((char *)io->workspace + LARGEST_BYTES);
}

template <typename T, enum warp_mode MODE, typename Index>
static void launch_scatter(const struct node *node, const struct io *io, int n, int bits,
                           struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct job<Index> job = job_make<Index>(node, 1);
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, SCATTER_THICK);
  CUDA_LAUNCH((scatter<T, MODE, Index>), cuda_tiles_grid(&tiles, job.split.planes),
              cuda_tiles_block(&tiles), 0, stream, job, tiles, n, bits,
              (const unsigned *)io->workspace, (const float *)io->x[1], (const T *)io->dy,
              totals_of(io));
}

template <typename T, int LANES>
static void launch_write(const struct node *node, const struct io *io, int n, int bits,
                         struct stream *stream) {
  const int64_t count = sample_elements(node);
  CUDA_LAUNCH((write_sums<T, LANES>), cuda_blocks(count, CUDA_TILE_THREADS * LANES),
              CUDA_TILE_THREADS, 0, stream, totals_of(io), count, bits,
              (const unsigned *)io->workspace, io->dx_add[0], (T *)io->dx[0] + n * count);
}

template <typename T, enum warp_mode MODE, typename Index>
static enum status image_gradient(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  const int64_t count = sample_elements(node);
  const int bits = warp_unit_bits(shape_voxels(node->y.shape));
  CUDA_TRY(cudaMemsetAsync(io->workspace, 0, LARGEST_BYTES, cuda_stream(stream)));
  launch_largest<T>(node, io, stream);
  for (int n = 0; n < node->y.shape.n; n++) {
    CUDA_TRY(
        cudaMemsetAsync(totals_of(io), 0, (size_t)count * sizeof(warp_total), cuda_stream(stream)));
    launch_scatter<T, MODE, Index>(node, io, n, bits, stream);
    (count % WRITE_LANES == 0 ? launch_write<T, WRITE_LANES> : launch_write<T, 1>)(node, io, n,
                                                                                   bits, stream);
  }
  return STATUS_OK;
}

template <typename T>
static enum access access_of(const struct node *node) {
  const struct job<uint64_t> job = job_make<uint64_t>(node, cuda_most_lanes<T>);
  if (job.split.lanes > 1) return ACCESS_WIDE;
  return job.image.voxel == 1 && job.y.voxel == 1 ? ACCESS_PLAIN : ACCESS_SINGLE;
}

/* What is rare, nearest voxels and volumes that need 64 bits, goes one by one. */
template <typename T, enum warp_mode MODE>
static void sample_rare(const struct node *node, const struct io *io, struct stream *stream) {
  if (warp_grid_small(node->y.shape))
    launch_sample<T, ACCESS_SINGLE, MODE, uint32_t>(node, io, stream);
  else
    launch_sample<T, ACCESS_SINGLE, MODE, uint64_t>(node, io, stream);
}

template <typename T>
static enum status warp_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  static const decltype(&sample_rare<T, WARP_LINEAR>) launch[] = {
      launch_sample<T, ACCESS_PLAIN, WARP_LINEAR, uint32_t>,
      launch_sample<T, ACCESS_SINGLE, WARP_LINEAR, uint32_t>,
      launch_sample<T, ACCESS_WIDE, WARP_LINEAR, uint32_t>};
  if (arguments_of(node)->mode == WARP_NEAREST)
    sample_rare<T, WARP_NEAREST>(node, io, stream);
  else if (!warp_grid_small(node->y.shape))
    sample_rare<T, WARP_LINEAR>(node, io, stream);
  else
    launch[access_of<T>(node)](node, io, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status field_gradient(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  static const decltype(&launch_slope<T, ACCESS_PLAIN, uint32_t>) launch[] = {
      launch_slope<T, ACCESS_PLAIN, uint32_t>, launch_slope<T, ACCESS_SINGLE, uint32_t>,
      launch_slope<T, ACCESS_WIDE, uint32_t>};
  if (arguments_of(node)->mode == WARP_NEAREST) {
    if (!io->dx_add[1])
      CUDA_TRY(cudaMemsetAsync(io->dx[1], 0, tensor_bytes(&node->x[1]), cuda_stream(stream)));
  } else if (warp_grid_small(node->y.shape)) {
    launch[access_of<T>(node)](node, io, stream);
  } else {
    launch_slope<T, ACCESS_SINGLE, uint64_t>(node, io, stream);
  }
  return STATUS_OK;
}

template <typename T>
static enum status warp_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  static const decltype(&image_gradient<T, WARP_LINEAR, uint32_t>) gradient[2][2] = {
      {image_gradient<T, WARP_LINEAR, uint64_t>, image_gradient<T, WARP_LINEAR, uint32_t>},
      {image_gradient<T, WARP_NEAREST, uint64_t>, image_gradient<T, WARP_NEAREST, uint32_t>}};
  const bool nearest = arguments_of(node)->mode == WARP_NEAREST;
  if (io->dx[1]) TRY(field_gradient<T>(node, io, stream));
  if (io->dx[0]) TRY(gradient[nearest][warp_grid_small(node->y.shape)](node, io, stream));
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
