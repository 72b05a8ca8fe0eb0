/* resize on the GPU. A thread walks along d over voxels of the result: of y, whose slices of x it
 * reads once each, or of dx, for which it gathers, slice by slice of dy, the outputs that read its
 * voxel. Positions along d are the same for a whole block, which finds them first. They are exact
 * quotients of integers. Any type and any layout but blocks. */
#include "kernels/common/cuda_tile.h"
extern "C" {
#include "kernels/resize/resize.h"
}

enum { THICK = 16, COLLECT_THICK = 8, FEW = 3, MANY = 5 }; /* readers of one input along w */

/* One axis: output o is at position (o * step + shift) / parts of the input, not below 0. */
struct axis {
  int input, output;
  int64_t step, shift, parts;
  double per_part, per_step; /* 1 / parts, 1 / step, nearly */
  bool nearest;
};

static struct axis axis_make(const struct resize_arguments *a, int input, int output) {
  struct axis axis = {input, output, input, 0, output, 0, 0, a->mode == RESIZE_NEAREST};
  if (!axis.nearest && a->align_corners) {
    axis.step = output > 1 ? input - 1 : 0;
    axis.parts = output > 1 ? output - 1 : 1;
  } else if (!axis.nearest) {
    axis.step = 2 * (int64_t)input;
    axis.shift = input - (int64_t)output;
    axis.parts = 2 * (int64_t)output;
  }
  axis.per_part = 1 / (double)axis.parts;
  axis.per_step = axis.step > 0 ? 1 / (double)axis.step : 0;
  return axis;
}

/* As struct resize_source; weight is 0 where there is no voxel low + 1. */
struct source {
  int low;
  float weight;
};

__device__ inline struct source source_find(const struct axis &axis, int o) {
  const int64_t exact = o * axis.step + axis.shift, at = exact > 0 ? exact : 0;
  int64_t low = (int64_t)((double)at * axis.per_part); /* or a neighbour of the quotient */
  low -= low * axis.parts > at;
  low += (low + 1) * axis.parts <= at;
  struct source source = {(int)low, (float)((double)(at - low * axis.parts) * axis.per_part)};
  if (source.low >= axis.input - 1) source.low = axis.input - 1, source.weight = 0;
  if (axis.nearest) source.weight = 0;
  return source;
}

/* The first output whose position is `input` or more. */
__host__ __device__ inline int first_from(const struct axis &axis, int64_t input) {
  const int64_t least = input * axis.parts - axis.shift;
  if (least <= 0) return 0;
  if (axis.step == 0) return axis.output;
  int64_t first = (int64_t)((double)least * axis.per_step) - 1; /* at most 3 too low */
  for (int i = 0; i < 3; i++) first += first * axis.step < least;
  return first < axis.output ? (int)first : axis.output;
}

/* The outputs that may read an input: [first, end). */
struct range {
  int first, end;
};

__host__ __device__ inline struct range range_find(const struct axis &axis, int input) {
  struct range range = {first_from(axis, axis.nearest ? input : input - 1),
                        input < axis.input - 1 ? first_from(axis, input + 1) : axis.output};
  return range;
}

__device__ inline float weight_of(const struct axis &axis, int o, int input) {
  const struct source source = source_find(axis, o);
  if (source.low == input) return 1 - source.weight;
  return source.low + 1 == input ? source.weight : 0;
}

/* One call, by value to kernels. */
struct job {
  struct axis d, h, w;
  struct cuda_split split;
  struct cuda_strides x, y;
  float multiply;
};

static struct job job_make(const struct node *node, int lanes) {
  const struct resize_arguments *a = (const struct resize_arguments *)(const void *)node->arguments;
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  struct job job;
  job.d = axis_make(a, in->d, out->d);
  job.h = axis_make(a, in->h, out->h);
  job.w = axis_make(a, in->w, out->w);
  job.split = cuda_split_of(
      &node->y, node->y.layout == LAYOUT_LAST && node->x[0].layout == LAYOUT_LAST, lanes);
  job.x = cuda_strides_of(&node->x[0]);
  job.y = cuda_strides_of(&node->y);
  job.multiply = (float)a->multiply;
  return job;
}

template <int LANES>
__device__ inline void add_scaled(float (&sum)[LANES], float weight, const float (&value)[LANES]) {
#pragma unroll
  for (int l = 0; l < LANES; l++) sum[l] += weight * value[l];
}

/* The four neighbours along h and w of a slice of x that an output voxel is made of. */
struct square {
  int64_t at[4];
  float weight[4];
};

template <typename T, int LANES>
__device__ inline void square_load(const struct square &square, const T *slice,
                                   float (&sum)[LANES]) {
  float value[4][LANES] = {};
#pragma unroll
  for (int j = 0; j < 4; j++)
    if (square.weight[j] != 0) cuda_load(slice + square.at[j], value[j]);
#pragma unroll
  for (int l = 0; l < LANES; l++) sum[l] = 0;
#pragma unroll
  for (int j = 0; j < 4; j++) add_scaled(sum, square.weight[j], value[j]);
}

__device__ inline struct square square_find(const struct job &job, int h, int w) {
  const struct source row = source_find(job.h, h), item = source_find(job.w, w);
  struct square square;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    square.at[j] = ((row.low + (j & 1)) * (int64_t)job.w.input + item.low + (j >> 1)) * job.x.voxel;
    square.weight[j] =
        (j & 1 ? row.weight : 1 - row.weight) * (j >> 1 ? item.weight : 1 - item.weight);
  }
  return square;
}

template <typename T, int LANES>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    interpolate(struct job job, struct cuda_tiles tiles, const T *__restrict__ x,
                T *__restrict__ y) {
  __shared__ struct source sources[THICK];
  const struct cuda_column column = cuda_column_find(tiles);
  const int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x);
  if (column.first + thread < column.end)
    sources[thread] = source_find(job.d, column.first + thread);
  __syncthreads();
  if (!column.inside) return;
  const struct cuda_place place = cuda_place_find(job.split, column);
  const struct square square = square_find(job, column.row, place.w);
  const int64_t x_slice = (int64_t)job.h.input * job.w.input * job.x.voxel;
  const int64_t y_slice = (int64_t)job.h.output * job.w.output * job.y.voxel;
  x += place.sample * job.x.sample + place.channel * job.x.channel;
  y += place.sample * job.y.sample + place.channel * job.y.channel + column.first * y_slice +
       ((int64_t)column.row * job.w.output + place.w) * job.y.voxel;
  int held = -1; /* `low` and `high` are of slices held and held + 1, high only if asked for */
  bool held_high = false;
  float low[LANES] = {}, high[LANES] = {};
  for (int i = 0; i < column.end - column.first; i++, y += y_slice) {
    const struct source source = sources[i];
    if (source.low != held) {
      if (held_high && source.low == held + 1) {
#pragma unroll
        for (int l = 0; l < LANES; l++) low[l] = high[l];
      } else {
        square_load(square, x + source.low * x_slice, low);
      }
      held = source.low;
      held_high = false;
    }
    if (source.weight != 0 && !held_high) {
      square_load(square, x + (source.low + 1) * x_slice, high);
      held_high = true;
    }
    float value[LANES] = {};
    add_scaled(value, (1 - source.weight) * job.multiply, low);
    if (source.weight != 0) add_scaled(value, source.weight * job.multiply, high);
    cuda_store(y, value);
  }
}

/* The outputs along w that read an input voxel, with their weights: at most TAPS, or, with TAPS 0,
 * any number, whose weights are found again and again. */
template <int TAPS>
struct readers {
  struct range range;
  float weight[TAPS > 0 ? TAPS : 1];
};

template <int TAPS>
__device__ inline struct readers<TAPS> readers_find(const struct axis &axis, int input) {
  struct readers<TAPS> readers;
  readers.range = range_find(axis, input);
#pragma unroll
  for (int t = 0; t < TAPS; t++) {
    const int o = readers.range.first + t;
    readers.weight[t] = o < readers.range.end ? weight_of(axis, o, input) : 0;
  }
  return readers;
}

/* Adds `scale` times the weighted sum over the readers of a row of dy, from the first of them on.
 */
template <typename T, int LANES, int TAPS>
__device__ inline void readers_add(const struct job &job, const struct readers<TAPS> &readers,
                                   int input, const T *row, float scale, float (&sum)[LANES]) {
  if constexpr (TAPS > 0) {
    float value[TAPS][LANES] = {};
#pragma unroll
    for (int j = 0; j < TAPS; j++)
      if (readers.weight[j] != 0) cuda_load(row + j * job.y.voxel, value[j]);
#pragma unroll
    for (int j = 0; j < TAPS; j++) add_scaled(sum, scale * readers.weight[j], value[j]);
  } else {
    for (int o = readers.range.first; o < readers.range.end; o++, row += job.y.voxel) {
      float value[LANES];
      cuda_load(row, value);
      add_scaled(sum, scale * weight_of(job.w, o, input), value);
    }
  }
}

/* Sums of slices of dx on their way along d: `sum` is of `slice`, `next` of the one after it. */
template <typename T, int LANES>
struct collected {
  T *dx;
  int64_t step;
  int slice;
  bool add;
  float multiply, sum[LANES], next[LANES];
};

/* Writes the sums of the slices before `end`. */
template <typename T, int LANES>
__device__ inline void collected_write(struct collected<T, LANES> *to, int end) {
  for (; to->slice < end; to->slice++, to->dx += to->step) {
    float value[LANES] = {};
    if (to->add) cuda_load(to->dx, value);
    add_scaled(value, to->multiply, to->sum);
    cuda_store(to->dx, value);
#pragma unroll
    for (int l = 0; l < LANES; l++) to->sum[l] = to->next[l], to->next[l] = 0;
  }
}

template <typename T, int LANES, int TAPS>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    collect(struct job job, struct cuda_tiles tiles, bool add, const T *__restrict__ dy,
            T *__restrict__ dx) {
  __shared__ struct source sources[CUDA_TILE_THREADS];
  __shared__ float row_weights[CUDA_TILE_THREADS]; /* of the readers of the thread's row */
  const struct cuda_column column = cuda_column_find(tiles);
  const struct cuda_place place = cuda_place_find(job.split, column);
  const int thread = (int)(threadIdx.y * blockDim.x + threadIdx.x), row = thread - threadIdx.x;
  const struct range rows = range_find(job.h, column.row);
  const struct readers<TAPS> readers = readers_find<TAPS>(job.w, place.w);
  const int64_t dy_row = job.w.output * job.y.voxel, dy_slice = job.h.output * dy_row;
  const int64_t dx_row = job.w.input * job.x.voxel;
  struct collected<T, LANES> to = {
    dx, job.h.input *dx_row, column.first, add, job.multiply
  };
  to.dx += place.sample * job.x.sample + place.channel * job.x.channel + column.first * to.step +
           column.row * dx_row + place.w * job.x.voxel;
  dy += place.sample * job.y.sample + place.channel * job.y.channel + rows.first * dy_row +
        readers.range.first * job.y.voxel;
  row_weights[thread] = weight_of(job.h, rows.first + (int)threadIdx.x, column.row);
  const int end = range_find(job.d, column.end - 1).end;
  for (int base = range_find(job.d, column.first).first; base < end; base += CUDA_TILE_THREADS) {
    __syncthreads();
    sources[thread] = source_find(job.d, base + thread);
    __syncthreads();
    for (int d = base; column.inside && d < end && d < base + CUDA_TILE_THREADS; d++) {
      const struct source source = sources[d - base];
      collected_write(&to, source.low < column.end ? source.low : column.end);
      const bool lower = source.low == to.slice;
      if (!lower && (source.low + 1 != to.slice || source.weight == 0)) continue;
      float value[LANES] = {};
      for (int i = 0; i < rows.end - rows.first; i++) {
        const float weight = i < (int)blockDim.x ? row_weights[row + i]
                                                 : weight_of(job.h, rows.first + i, column.row);
        if (weight != 0)
          readers_add<T, LANES, TAPS>(job, readers, place.w, dy + d * dy_slice + i * dy_row, weight,
                                      value);
      }
      add_scaled(to.sum, lower ? 1 - source.weight : source.weight, value);
      if (lower && source.weight != 0) add_scaled(to.next, source.weight, value);
    }
  }
  if (column.inside) collected_write(&to, column.end);
}

/* --- calls --- */

static bool resize_applies(const struct node *node) {
  return node->x[0].layout != LAYOUT_BLOCKED && node->y.layout != LAYOUT_BLOCKED;
}

template <typename T, int LANES>
static void launch_interpolate(const struct node *node, const struct io *io,
                               struct stream *stream) {
  const struct shape *s = &node->y.shape;
  const struct job job = job_make(node, LANES);
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, THICK);
  CUDA_LAUNCH((interpolate<T, LANES>), cuda_tiles_grid(&tiles, (int64_t)s->n * job.split.planes),
              cuda_tiles_block(&tiles), 0, stream, job, tiles, (const T *)io->x[0], (T *)io->y);
}

template <typename T, int LANES, int TAPS>
static void launch_collect(const struct node *node, const struct io *io, struct stream *stream) {
  const struct shape *s = &node->x[0].shape;
  const struct job job = job_make(node, LANES);
  const struct cuda_tiles tiles =
      cuda_tiles_make((int64_t)s->w * job.split.groups, s->h, s->d, COLLECT_THICK);
  CUDA_LAUNCH((collect<T, LANES, TAPS>), cuda_tiles_grid(&tiles, (int64_t)s->n * job.split.planes),
              cuda_tiles_block(&tiles), 0, stream, job, tiles, io->dx_add[0], (const T *)io->dy,
              (T *)io->dx[0]);
}

/* The most outputs that range_find gives an input of the axis. */
static int most_readers(const struct axis &axis) {
  int most = 0;
  for (int i = 0; i < axis.input; i++) {
    const struct range range = range_find(axis, i);
    if (range.end - range.first > most) most = range.end - range.first;
  }
  return most;
}

template <typename T, int LANES>
static void choose_collect(const struct node *node, const struct io *io, struct stream *stream) {
  const struct job job = job_make(node, LANES);
  const int taps = most_readers(job.w);
  if (taps <= FEW)
    launch_collect<T, LANES, FEW>(node, io, stream);
  else if (taps <= MANY)
    launch_collect<T, LANES, MANY>(node, io, stream);
  else
    launch_collect<T, LANES, 0>(node, io, stream);
}

/* Whether channels are read 16 bytes at a time. */
template <typename T>
static bool is_wide(const struct node *node) {
  return job_make(node, cuda_most_lanes<T>).split.lanes > 1;
}

template <typename T>
static enum status resize_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (is_wide<T>(node) ? launch_interpolate<T, cuda_most_lanes<T>>
                    : launch_interpolate<T, 1>)(node, io, stream);
  return cuda_launched(node->name);
}

template <typename T>
static enum status resize_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  (is_wide<T>(node) ? choose_collect<T, cuda_most_lanes<T>> : choose_collect<T, 1>)(node, io,
                                                                                    stream);
  return cuda_launched(node->name);
}

#define RESIZE_KERNEL(suffix, type, dtype_) \
  CUDA_KERNEL(resize_cuda, suffix) = {      \
      .name = "hand",                       \
      .device = DEVICE_CUDA,                \
      .dtype = dtype_,                      \
      .training = true,                     \
      .applies = resize_applies,            \
      .forward = resize_forward<type>,      \
      .backward = resize_backward<type>,    \
  }

RESIZE_KERNEL(f32, float, DTYPE_F32);
RESIZE_KERNEL(bf16, __nv_bfloat16, DTYPE_BF16);
RESIZE_KERNEL(f16, __half, DTYPE_F16);
