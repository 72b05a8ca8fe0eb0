/* The sums of norm's backward on CUDA, over ranges of voxels, and ranges in a fixed order in
 * double; and what follows from them: gradients of the parameters, and what dx has of its group. */
#include "kernels/norm/norm_cuda.h"

enum {
  FOLD_CHANNELS = 32, /* of a block that joins ranges, with */
  FOLD_SHARES = 8,    /* threads for each */
};

/* Row 0 gets the sums over all rows of the block. */
template <int LANES>
__device__ static void sum_fold(float (&sum)[LANES], float (&along)[LANES],
                                const struct norm_place &place, int across) {
  __shared__ float sums[LANES][NORM_THREADS], alongs[LANES][NORM_THREADS];
  for (int step = 1; step < place.rows; step *= 2) {
    __syncthreads();
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      sums[l][threadIdx.x] = sum[l];
      alongs[l][threadIdx.x] = along[l];
    }
    __syncthreads();
    if (place.row % (2 * step) != 0 || place.row + step >= place.rows) continue;
    int other = (int)threadIdx.x + step * across;
#pragma unroll
    for (int l = 0; l < LANES; l++) {
      sum[l] += sums[l][other];
      along[l] += alongs[l][other];
    }
  }
}

/* partial: sums of the gradient, and of its products with x - mean. */
template <typename T, int LANES, bool READS_SIGN>
__global__ void __launch_bounds__(NORM_THREADS)
    sum_range(struct norm_source<T> source, float2 *partial, struct norm_tables tables,
              struct norm_view view) {
  struct norm_place place = norm_place_find(view);
  float sum[LANES] = {}, along[LANES] = {};
  if (place.inside) {
    const struct norm_column<LANES> column = norm_column_load<LANES>(view, place, tables);
#pragma unroll 2
    for (int64_t voxel = place.first + place.row; voxel < place.end; voxel += place.rows) {
      float apart[LANES], gradient[LANES];
      norm_load_gradient<T, LANES, READS_SIGN>(source, norm_element(view, place, voxel), column,
                                               view.arguments.slope, apart, gradient);
#pragma unroll
      for (int l = 0; l < LANES; l++) {
        sum[l] += gradient[l];
        along[l] += gradient[l] * apart[l];
      }
    }
  }
  sum_fold<LANES>(sum, along, place, view.across);
  if (!place.inside || place.row > 0) return;
#pragma unroll
  for (int l = 0; l < LANES; l++)
    partial[norm_partial(view, place.sample, (int)blockIdx.x, place.column + l)] =
        make_float2(sum[l], along[l]);
}

__global__ void __launch_bounds__(FOLD_CHANNELS *FOLD_SHARES)
    add_ranges(const float2 *partial, double2 *total, struct norm_view view) {
  __shared__ double2 shares[FOLD_SHARES][FOLD_CHANNELS];
  int column = (int)(blockIdx.x * FOLD_CHANNELS + threadIdx.x), sample = (int)blockIdx.y;
  double2 own = make_double2(0, 0);
  for (int range = (int)threadIdx.y; column < view.channels && range < view.ranges;
       range += FOLD_SHARES) {
    float2 part = partial[norm_partial(view, sample, range, column)];
    own.x += part.x;
    own.y += part.y;
  }
  shares[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.y > 0 || column >= view.channels) return;
  for (int share = 1; share < FOLD_SHARES; share++) {
    own.x += shares[share][threadIdx.x].x;
    own.y += shares[share][threadIdx.x].y;
  }
  total[norm_plane(view, sample, column)] = own;
}

__global__ void __launch_bounds__(NORM_THREADS)
    give_parameters(const double2 *total, const float *deviation, float *dweight, float *dbias,
                    struct norm_view view) {
  int c = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
  double weight = 0, bias = 0;
  if (c >= view.real_channels) return;
  for (int n = 0; n < view.real_samples; n++) {
    int64_t plane = (int64_t)n * view.real_channels + c;
    weight += total[plane].y * deviation[norm_view_group(view, plane)];
    bias += total[plane].x;
  }
  dweight[c] = (float)weight;
  dbias[c] = (float)bias;
}

__global__ void __launch_bounds__(NORM_THREADS)
    give_statistics(struct norm_tables tables, float *mean, float *variance,
                    struct norm_view view) {
  int c = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
  if (c >= view.real_channels) return;
  double size = (double)view.real_samples * (double)view.voxels;
  mean[c] = tables.mean[c];
  variance[c] = view.running
                    ? tables.running_variance[c]
                    : (float)norm_unbiased(tables.deviation[c], view.arguments.epsilon, size);
}

/* Per group, what dx has beside scale * gradient: the factor of x - mean, and a constant. */
__global__ void __launch_bounds__(NORM_THREADS)
    find_lines(const double2 *total, struct norm_tables tables, float2 *line,
               struct norm_view view) {
  int group = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
  if (group >= view.groups) return;
  struct norm_members members = norm_members_of(view, group);
  double deviation = tables.deviation[group], factor = 0, constant = 0;
  double size = (double)members.samples * members.count * (double)view.voxels;
  for (int n = members.from; n < members.from + members.samples; n++)
    for (int c = members.first; c < members.first + members.count; c++) {
      double2 own = total[(int64_t)n * view.real_channels + c];
      double weight = tables.weight ? tables.weight[c] : 1;
      constant -= weight * own.x * deviation / size;
      factor -= weight * own.y * deviation * deviation * deviation / size;
    }
  line[group] = make_float2((float)factor, (float)constant);
}

template <typename T, int LANES, bool READS_SIGN>
static void sum_ranges(const struct node *node, const struct norm_view *view, const struct io *io,
                       const struct norm_memory *memory, struct stream *stream) {
  struct norm_source<T> source = {
    (const T *)io->x[0], (const T *)io->y, (const T *)io->dy
  };
  CUDA_LAUNCH((sum_range<T, LANES, READS_SIGN>), norm_grid(view), NORM_THREADS, 0, stream, source,
              memory->partial, norm_tables_of(node, io), *view);
}

/* Nothing for parameters that the node does not have. */
static void give_all_parameters(const struct node *node, const struct norm_view *view,
                                const struct io *io, const double2 *total, struct stream *stream) {
  struct norm_tables tables = norm_tables_of(node, io);
  unsigned blocks = cuda_blocks(view->real_channels, NORM_THREADS);
  if (tables.weight)
    CUDA_LAUNCH(give_parameters, blocks, NORM_THREADS, 0, stream, total, tables.deviation,
                (float *)norm_dw(node, io, NORM_WEIGHT), (float *)norm_dw(node, io, NORM_BIAS),
                *view);
  if (tables.running_mean)
    CUDA_LAUNCH(give_statistics, blocks, NORM_THREADS, 0, stream, tables,
                (float *)norm_dw(node, io, NORM_RUNNING_MEAN),
                (float *)norm_dw(node, io, NORM_RUNNING_VARIANCE), *view);
}

template <typename T>
void norm_sum(const struct node *node, const struct norm_view *view, const struct io *io,
              const struct norm_memory *memory, struct stream *stream) {
  constexpr int MOST = cuda_most_lanes<T>;
  dim3 fold(cuda_blocks(view->channels, FOLD_CHANNELS), (unsigned)view->samples);
  bool sign = norm_reads_y(node);
  (view->lanes > 1
       ? (sign ? sum_ranges<T, MOST, true> : sum_ranges<T, MOST, false>)
       : (sign ? sum_ranges<T, 1, true> : sum_ranges<T, 1, false>))(node, view, io, memory, stream);
  CUDA_LAUNCH(add_ranges, fold, dim3(FOLD_CHANNELS, FOLD_SHARES), 0, stream, memory->partial,
              memory->total, *view);
  give_all_parameters(node, view, io, memory->total, stream);
  if (!view->running)
    CUDA_LAUNCH(find_lines, cuda_blocks(view->groups, NORM_THREADS), NORM_THREADS, 0, stream,
                memory->total, norm_tables_of(node, io), memory->line, *view);
}

#define NORM_SUM(type)                                                                \
  template void norm_sum<type>(const struct node *node, const struct norm_view *view, \
                               const struct io *io, const struct norm_memory *memory, \
                               struct stream *stream)
NORM_SUM(float);
NORM_SUM(__nv_bfloat16);
NORM_SUM(__half);
