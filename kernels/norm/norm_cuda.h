/* What the CUDA kernels of norm share: how a tensor is cut, and what its elements are computed
 * from. A tensor is samples x voxels x channels; a planar one is seen as a sample of one channel
 * per plane. Threads side by side take channels side by side, 16 bytes each where c allows. */
#pragma once
#include "kernels/common/cuda_vector.h"
extern "C" {
#include "kernels/norm/norm.h"
}

enum {
  NORM_THREADS = 256,
  NORM_MOST_ACROSS = 64,   /* threads of a block that take different channels */
  NORM_MOST_RANGES = 1024, /* of voxels, of all samples together */
  NORM_LEAST_TURNS = 8,    /* voxels that a thread visits at least, where there are so many */
  NORM_IN_FLIGHT = 4,      /* voxels in flight per thread */
};

/* How a tensor is cut. Kernels take it by value. */
struct norm_view {
  struct norm_arguments arguments;
  int64_t voxels, each; /* each: of a range */
  int samples, channels, real_samples, real_channels;
  int lanes, across, ranges, groups;
  bool running;
};

/* What a block of 256 threads is to do: blockIdx is (range, tile of channels, sample). */
struct norm_place {
  int column, row, rows, sample; /* column: the first channel */
  int64_t first, end;            /* voxels of the range */
  bool inside;
};

__device__ static inline struct norm_place norm_place_find(const struct norm_view &view) {
  struct norm_place place;
  int across = (int)threadIdx.x % view.across;
  place.row = (int)threadIdx.x / view.across;
  place.rows = NORM_THREADS / view.across;
  place.column = ((int)blockIdx.y * view.across + across) * view.lanes;
  place.sample = (int)blockIdx.z;
  place.first = blockIdx.x * view.each;
  place.end = place.first + view.each < view.voxels ? place.first + view.each : view.voxels;
  place.inside = place.row < place.rows && place.column < view.channels;
  return place;
}

static inline dim3 norm_grid(const struct norm_view *view) {
  return dim3((unsigned)view->ranges, cuda_blocks(view->channels, view->across * view->lanes),
              (unsigned)view->samples);
}

/* The element of (sample, voxel, column). */
__device__ static inline int64_t norm_element(const struct norm_view &view,
                                              const struct norm_place &place, int64_t voxel) {
  return ((int64_t)place.sample * view.voxels + voxel) * view.channels + place.column;
}

/* The number of (sample, channel) in [real_samples][real_channels]. */
__device__ static inline int64_t norm_plane(const struct norm_view &view, int sample, int column) {
  return (int64_t)sample * view.channels + column;
}

__device__ static inline int norm_view_group(const struct norm_view &view, int64_t plane) {
  int n = (int)(plane / view.real_channels), c = (int)(plane - (int64_t)n * view.real_channels);
  return norm_group_of(&view.arguments, view.real_channels, n, c);
}

/* Where partial [sample][range][channel] has what a block found. */
__device__ static inline int64_t norm_partial(const struct norm_view &view, int sample, int range,
                                              int column) {
  return ((int64_t)sample * view.ranges + range) * view.channels + column;
}

/* The channels [first, first + count) of samples [from, from + samples) that are a group. */
struct norm_members {
  int from, samples, first, count;
};
__device__ static inline struct norm_members norm_members_of(const struct norm_view &view,
                                                             int group) {
  int per_sample = view.groups / view.real_samples;
  bool batch = view.arguments.kind == NORM_BATCH;
  struct norm_members members;
  members.samples = batch ? view.real_samples : 1;
  members.count = batch ? 1 : view.real_channels / per_sample;
  members.from = batch ? 0 : group / per_sample;
  members.first = batch ? group : (group - members.from * per_sample) * members.count;
  return members;
}

/* --- what the elements of a thread's channels are computed from --- */

struct norm_tables {
  const float *mean, *deviation, *weight, *bias, *running_mean, *running_variance;
  const float2 *line; /* by group: factor of x - mean, and constant; NULL: zeros */
};

static inline struct norm_tables norm_tables_of(const struct node *node, const struct io *io) {
  struct norm_tables tables = {(const float *)io->saved[NORM_MEAN],
                               (const float *)io->saved[NORM_DEVIATION],
                               (const float *)norm_w(node, io, NORM_WEIGHT),
                               (const float *)norm_w(node, io, NORM_BIAS),
                               (const float *)norm_w(node, io, NORM_RUNNING_MEAN),
                               (const float *)norm_w(node, io, NORM_RUNNING_VARIANCE),
                               NULL};
  return tables;
}

template <int LANES>
struct norm_column {
  float scale[LANES], shift[LANES], mean[LANES];
};

template <int LANES>
__device__ static inline struct norm_column<LANES> norm_column_load(
    const struct norm_view &view, const struct norm_place &place,
    const struct norm_tables &tables) {
  struct norm_column<LANES> column;
#pragma unroll
  for (int l = 0; l < LANES; l++) {
    int64_t plane = norm_plane(view, place.sample, place.column + l);
    int group = norm_view_group(view, plane), c = (int)(plane % view.real_channels);
    column.mean[l] = tables.mean[group];
    column.scale[l] = tables.deviation[group] * (tables.weight ? tables.weight[c] : 1);
    column.shift[l] = tables.bias ? tables.bias[c] : 0;
  }
  return column;
}

/* What backward reads; y is NULL where x tells the sign of what the activation got. */
template <typename T>
struct norm_source {
  const T *x, *y, *dy;
};

/* x - mean, and dy in front of the activation. */
template <typename T, int LANES, bool READS_SIGN>
__device__ static inline void norm_load_gradient(const struct norm_source<T> &source, int64_t at,
                                                 const struct norm_column<LANES> &column,
                                                 float slope, float (&apart)[LANES],
                                                 float (&gradient)[LANES]) {
  float sign[LANES];
  cuda_load<T, LANES>(source.x + at, apart);
  cuda_load<T, LANES>(source.dy + at, gradient);
  if constexpr (READS_SIGN) cuda_load<T, LANES>(source.y + at, sign);
#pragma unroll
  for (int l = 0; l < LANES; l++) {
    apart[l] -= column.mean[l];
    if constexpr (!READS_SIGN) sign[l] = apart[l] * column.scale[l] + column.shift[l];
    if (!(sign[l] > 0)) gradient[l] *= slope;
  }
}

/* The workspace: partial, total, line. */
struct norm_memory {
  float2 *partial, *line;
  double2 *total;
};

/* Fills saved: the statistics of x, or the running ones. */
template <typename T>
void norm_measure(const struct node *node, const struct norm_view *view, const struct io *io,
                  const struct norm_memory *memory, struct stream *stream);

/* Fills total [plane] with the sums of dy in front of the activation, and of its products with
 * x - mean, and from it dw, and line, unless statistics are the running ones. */
template <typename T>
void norm_sum(const struct node *node, const struct norm_view *view, const struct io *io,
              const struct norm_memory *memory, struct stream *stream);
