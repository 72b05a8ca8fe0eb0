/* max_pool on CUDA, channels last or planar. Backward gathers: every voxel of x adds what the
 * windows that it won in hand down, in the order of the windows, so that windows may overlap. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/max_pool/max_pool.h"
}

enum { THICK = 2 }; /* slices per thread */

struct max_pool_cut {
  struct cuda_tiles tiles; /* over y in forward, over x in backward */
  struct shape in, out;    /* d h w count */
  int groups, kernel[3], stride[3];
};

/* The first lane of (plane, d, h, item) in a tensor of these extents. */
template <int LANES>
__device__ static inline int64_t element_at(const struct shape &shape, int groups, int plane, int d,
                                            int h, int item) {
  return ((((int64_t)plane * shape.d + d) * shape.h + h) * shape.w * groups + item) * LANES;
}

/* One window: the largest value and its number per lane. HALVES: the usual 2x2x2, written out so
 * that all of it is loaded at once. */
template <typename T, int LANES, bool HALVES>
__device__ static inline void find_largest(const struct max_pool_cut &pool, const T *corner, T *y,
                                           unsigned char *winner) {
  cuda_lanes<T, LANES> best;
  cuda_lanes<unsigned char, LANES> at;
  float largest[LANES];
  const int64_t column = pool.groups * LANES, row = pool.in.w * column, slice = row * pool.in.h;
  const int thick = HALVES ? 2 : pool.kernel[0], high = HALVES ? 2 : pool.kernel[1];
  const int wide = HALVES ? 2 : pool.kernel[2];
#pragma unroll
  for (int d = 0; d < thick; d++)
#pragma unroll
    for (int h = 0; h < high; h++)
#pragma unroll
      for (int w = 0; w < wide; w++) {
        const int number = (d * high + h) * wide + w;
        float value[LANES];
        cuda_load<T, LANES>(corner + d * slice + h * row + w * column, value);
#pragma unroll
        for (int l = 0; l < LANES; l++) {
          if (number > 0 && !(value[l] > largest[l] || value[l] != value[l])) continue;
          largest[l] = value[l];
          at.value[l] = (unsigned char)number;
        }
      }
#pragma unroll
  for (int l = 0; l < LANES; l++) best.value[l] = from_float<T>(largest[l]);
  *reinterpret_cast<cuda_lanes<T, LANES> *>(y) = best;
  *reinterpret_cast<cuda_lanes<unsigned char, LANES> *>(winner) = at;
}

template <typename T, int LANES, bool HALVES>
__global__ void __launch_bounds__(CUDA_TILE_THREADS, 4)
    pool_forward(const T *x, T *y, unsigned char *winner, struct max_pool_cut pool) {
  struct cuda_column column = cuda_column_find(pool.tiles);
  if (!column.inside) return;
  int w = column.item / pool.groups, group = column.item - w * pool.groups;
  int item = w * pool.stride[2] * pool.groups + group;
  for (int d = column.first; d < column.end; d++) {
    int64_t from = element_at<LANES>(pool.in, pool.groups, column.plane, d * pool.stride[0],
                                     column.row * pool.stride[1], item);
    int64_t to = element_at<LANES>(pool.out, pool.groups, column.plane, d, column.row, column.item);
    find_largest<T, LANES, HALVES>(pool, x + from, y + to, winner + to);
  }
}

/* The windows [first, end) along one axis that hold voxel i. */
struct span {
  int first, end;
};
__device__ static inline struct span windows_of(int i, int kernel, int stride, int windows) {
  struct span span;
  span.first = i < kernel ? 0 : (i - kernel) / stride + 1;
  span.end = i / stride + 1 < windows ? i / stride + 1 : windows;
  return span;
}

/* What the windows along w of one row of windows hand to a voxel; `number` is that of the voxel at
 * the row's first place in a window. */
template <typename T, int LANES>
__device__ static void gather_row(const struct max_pool_cut &pool, const T *dy,
                                  const unsigned char *winner, struct span span, int w, int number,
                                  float (&sum)[LANES]) {
  for (int o = span.first; o < span.end; o++) {
    const int64_t at = (int64_t)o * pool.groups * LANES;
    float gradient[LANES];
    cuda_load<T, LANES>(dy + at, gradient);
    const auto won = *reinterpret_cast<const cuda_lanes<unsigned char, LANES> *>(winner + at);
    int own = number + w - o * pool.stride[2];
#pragma unroll
    for (int l = 0; l < LANES; l++) sum[l] += won.value[l] == own ? gradient[l] : 0;
  }
}

template <typename T, int LANES>
__global__ void __launch_bounds__(CUDA_TILE_THREADS, 4)
    pool_backward(const T *dy, const unsigned char *winner, T *dx, bool add,
                  struct max_pool_cut pool) {
  struct cuda_column column = cuda_column_find(pool.tiles);
  if (!column.inside) return;
  int w = column.item / pool.groups, group = column.item - w * pool.groups, h = column.row;
  struct span across = windows_of(w, pool.kernel[2], pool.stride[2], pool.out.w);
  struct span down = windows_of(h, pool.kernel[1], pool.stride[1], pool.out.h);
  for (int d = column.first; d < column.end; d++) {
    float sum[LANES] = {};
    struct span through = windows_of(d, pool.kernel[0], pool.stride[0], pool.out.d);
    for (int od = through.first; od < through.end; od++)
      for (int oh = down.first; oh < down.end; oh++) {
        int64_t from = element_at<LANES>(pool.out, pool.groups, column.plane, od, oh, group);
        int number =
            ((d - od * pool.stride[0]) * pool.kernel[1] + h - oh * pool.stride[1]) * pool.kernel[2];
        gather_row<T, LANES>(pool, dy + from, winner + from, across, w, number, sum);
      }
    int64_t to = element_at<LANES>(pool.in, pool.groups, column.plane, d, h, column.item);
    cuda_give<T, LANES>(dx + to, sum, add);
  }
}

/* The launch over `over`, which is x or y. */
template <typename T>
static struct max_pool_cut pool_make(const struct node *node, const struct tensor *over, int *lanes,
                                     int64_t *planes) {
  const struct max_pool_arguments *arguments = (const struct max_pool_arguments *)node->arguments;
  const struct shape *shape = &over->shape;
  struct cuda_split split = cuda_split_of(over, over->layout == LAYOUT_LAST, cuda_most_lanes<T>);
  struct max_pool_cut pool = {};
  pool.groups = split.groups;
  pool.tiles = cuda_tiles_make((int64_t)shape->w * split.groups, shape->h, shape->d, THICK);
  pool.in = node->x[0].shape;
  pool.out = node->y.shape;
  memcpy(pool.kernel, arguments->kernel, sizeof pool.kernel);
  memcpy(pool.stride, arguments->stride, sizeof pool.stride);
  *lanes = split.lanes;
  *planes = (int64_t)shape->n * split.planes;
  return pool;
}

template <typename T, int LANES>
static void launch_forward(const struct io *io, const struct max_pool_cut *pool, int64_t planes,
                           struct stream *stream) {
  const int *kernel = pool->kernel;
  bool halves = kernel[0] == 2 && kernel[1] == 2 && kernel[2] == 2;
  CUDA_LAUNCH((halves ? pool_forward<T, LANES, true> : pool_forward<T, LANES, false>),
              cuda_tiles_grid(&pool->tiles, planes), cuda_tiles_block(&pool->tiles), 0, stream,
              (const T *)io->x[0], (T *)io->y, (unsigned char *)io->saved[0], *pool);
}

template <typename T, int LANES>
static void launch_backward(const struct io *io, const struct max_pool_cut *pool, int64_t planes,
                            struct stream *stream) {
  CUDA_LAUNCH((pool_backward<T, LANES>), cuda_tiles_grid(&pool->tiles, planes),
              cuda_tiles_block(&pool->tiles), 0, stream, (const T *)io->dy,
              (const unsigned char *)io->saved[0], (T *)io->dx[0], io->dx_add[0], *pool);
}

template <typename T>
static enum status max_pool_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  int lanes;
  int64_t planes;
  struct max_pool_cut pool = pool_make<T>(node, &node->y, &lanes, &planes);
  (lanes > 1 ? launch_forward<T, cuda_most_lanes<T>> : launch_forward<T, 1>)(io, &pool, planes,
                                                                             stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status max_pool_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  int lanes;
  int64_t planes;
  if (!io->dx[0]) return STATUS_OK;
  struct max_pool_cut pool = pool_make<T>(node, &node->x[0], &lanes, &planes);
  (lanes > 1 ? launch_backward<T, cuda_most_lanes<T>> : launch_backward<T, 1>)(io, &pool, planes,
                                                                               stream);
  return cuda_launched(node->name);
}

#define MAX_POOL_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(max_pool_cuda, suffix) = {      \
      .name = "hand",                         \
      .device = DEVICE_CUDA,                  \
      .dtype = dtype_,                        \
      .training = true,                       \
      .forward = max_pool_forward<type>,      \
      .backward = max_pool_backward<type>,    \
  }

MAX_POOL_KERNEL(f32, float, DTYPE_F32);
MAX_POOL_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
MAX_POOL_KERNEL(f16, __half, DTYPE_F16);
