/* The statistics of norm on CUDA: every block finds the moments of its range of voxels, and ranges,
 * samples and channels are joined in a fixed order in double. */
#include "kernels/norm/norm_cuda.h"
extern "C" {
#include "kernels/norm/moments.h"
}

enum {
  FOLD_CHANNELS = 32, /* of a block that joins ranges, with */
  FOLD_SHARES = 8,    /* threads for each */
};

template <int LANES>
struct norm_running {
  float count, mean[LANES], squares[LANES];
};

template <int LANES>
__device__ static inline void norm_running_join(struct norm_running<LANES> &a, float count,
                                                const float (&mean)[LANES],
                                                const float (&squares)[LANES]) {
  float share = count / (a.count + count), weight = a.count * share;
#pragma unroll
  for (int l = 0; l < LANES; l++) {
    float apart = mean[l] - a.mean[l];
    a.mean[l] += apart * share;
    a.squares[l] += squares[l] + apart * apart * weight;
  }
  a.count += count;
}

/* COUNT voxels that lie `rows` apart. */
template <typename T, int LANES, int COUNT>
__device__ static inline void running_add(struct norm_running<LANES> &all, const T *x,
                                          int64_t step) {
  float value[COUNT][LANES], mean[LANES] = {}, squares[LANES] = {};
#pragma unroll
  for (int k = 0; k < COUNT; k++) cuda_load<T, LANES>(x + k * step, value[k]);
#pragma unroll
  for (int l = 0; l < LANES; l++) {
#pragma unroll
    for (int k = 0; k < COUNT; k++) mean[l] += value[k][l] / COUNT;
#pragma unroll
    for (int k = 0; k < COUNT; k++) squares[l] += (value[k][l] - mean[l]) * (value[k][l] - mean[l]);
  }
  norm_running_join<LANES>(all, COUNT, mean, squares);
}

/* Row 0 gets what all rows of the block have. */
template <int LANES>
__device__ static void running_fold(struct norm_running<LANES> &own, const struct norm_place &place,
                                    int across) {
  __shared__ float mean[LANES][NORM_THREADS], squares[LANES][NORM_THREADS], count[NORM_THREADS];
  for (int step = 1; step < place.rows; step *= 2) {
    __syncthreads();
    count[threadIdx.x] = own.count;
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      mean[l][threadIdx.x] = own.mean[l];
      squares[l][threadIdx.x] = own.squares[l];
    }
    __syncthreads();
    if (place.row % (2 * step) != 0 || place.row + step >= place.rows) continue;
    int other = (int)threadIdx.x + step * across;
    float other_mean[LANES], other_squares[LANES];
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      other_mean[l] = mean[l][other];
      other_squares[l] = squares[l][other];
    }
    if (count[other] > 0) norm_running_join<LANES>(own, count[other], other_mean, other_squares);
  }
}

/* partial: mean and squares. */
template <typename T, int LANES>
__global__ void __launch_bounds__(NORM_THREADS, 3)
    measure_range(const T *x, float2 *partial, struct norm_view view) {
  struct norm_place place = norm_place_find(view);
  struct norm_running<LANES> own = {};
  const int64_t step = (int64_t)place.rows * view.channels;
  int64_t voxel = place.first + place.row;
  if (place.inside) {
    const T *from = x + norm_element(view, place, 0);
    for (; voxel + (NORM_IN_FLIGHT - 1) * place.rows < place.end;
         voxel += NORM_IN_FLIGHT * place.rows)
      running_add<T, LANES, NORM_IN_FLIGHT>(own, from + voxel * view.channels, step);
    for (; voxel < place.end; voxel += place.rows)
      running_add<T, LANES, 1>(own, from + voxel * view.channels, step);
  }
  running_fold<LANES>(own, place, view.across);
  if (!place.inside || place.row > 0) return;
#pragma unroll
  for (int l = 0; l < LANES; l++)
    partial[norm_partial(view, place.sample, (int)blockIdx.x, place.column + l)] =
        make_float2(own.mean[l], own.squares[l]);
}

__device__ static inline double range_voxels(const struct norm_view &view, int range) {
  int64_t left = view.voxels - range * view.each;
  return (double)(left < view.each ? left : view.each);
}

/* Block (32 channels, sample): total [plane] gets mean and squares of all ranges. */
__global__ void __launch_bounds__(FOLD_CHANNELS *FOLD_SHARES)
    join_ranges(const float2 *partial, double2 *total, struct norm_view view) {
  __shared__ struct moments shares[FOLD_SHARES][FOLD_CHANNELS];
  int column = (int)(blockIdx.x * FOLD_CHANNELS + threadIdx.x), sample = (int)blockIdx.y;
  struct moments own = moments_make(0, 0, 0);
  for (int range = (int)threadIdx.y; column < view.channels && range < view.ranges;
       range += FOLD_SHARES) {
    float2 part = partial[norm_partial(view, sample, range, column)];
    own = moments_join(own, moments_make(range_voxels(view, range), part.x, part.y));
  }
  shares[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.y > 0 || column >= view.channels) return;
  for (int share = 1; share < FOLD_SHARES; share++)
    own = moments_join(own, shares[share][threadIdx.x]);
  total[norm_plane(view, sample, column)] = make_double2(own.mean, own.squares);
}

__global__ void __launch_bounds__(NORM_THREADS)
    join_groups(const double2 *total, struct norm_tables tables, float *mean, float *deviation,
                struct norm_view view) {
  int group = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
  if (group >= view.groups) return;
  struct moments all = moments_make(1, 0, 0);
  if (view.running) {
    all.mean = tables.running_mean[group];
    all.squares = tables.running_variance[group];
  } else {
    struct norm_members members = norm_members_of(view, group);
    all.count = 0;
    for (int n = members.from; n < members.from + members.samples; n++)
      for (int c = members.first; c < members.first + members.count; c++) {
        double2 own = total[(int64_t)n * view.real_channels + c];
        all = moments_join(all, moments_make((double)view.voxels, own.x, own.y));
      }
  }
  mean[group] = (float)all.mean;
  deviation[group] = (float)(1 / sqrt(all.squares / all.count + view.arguments.epsilon));
}

template <typename T, int LANES>
static void measure_ranges(const struct norm_view *view, const struct io *io,
                           const struct norm_memory *memory, struct stream *stream) {
  CUDA_LAUNCH((measure_range<T, LANES>), norm_grid(view), NORM_THREADS, 0, stream,
              (const T *)io->x[0], memory->partial, *view);
}

template <typename T>
void norm_measure(const struct node *node, const struct norm_view *view, const struct io *io,
                  const struct norm_memory *memory, struct stream *stream) {
  dim3 fold(cuda_blocks(view->channels, FOLD_CHANNELS), (unsigned)view->samples);
  if (!view->running) {
    (view->lanes > 1 ? measure_ranges<T, cuda_most_lanes<T>>
                     : measure_ranges<T, 1>)(view, io, memory, stream);
    CUDA_LAUNCH(join_ranges, fold, dim3(FOLD_CHANNELS, FOLD_SHARES), 0, stream, memory->partial,
                memory->total, *view);
  }
  CUDA_LAUNCH(join_groups, cuda_blocks(view->groups, NORM_THREADS), NORM_THREADS, 0, stream,
              memory->total, norm_tables_of(node, io), (float *)io->saved[NORM_MEAN],
              (float *)io->saved[NORM_DEVIATION], *view);
}

#define NORM_MEASURE(type)                                                                \
  template void norm_measure<type>(const struct node *node, const struct norm_view *view, \
                                   const struct io *io, const struct norm_memory *memory, \
                                   struct stream *stream)
NORM_MEASURE(float);
NORM_MEASURE(__nv_bfloat16);
NORM_MEASURE(__half);
