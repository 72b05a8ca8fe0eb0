/* loss_lncc by separable running sums. A block of threads owns a square of columns and moves along
 * d: each thread keeps the sums over the window's slices of its columns in registers, adding the
 * slice that enters and taking off the one that leaves. In every slice these sums are added along h
 * in shared memory and then along w, where what is done with a window's sums is the work's
 * business. All sums are float64: the variances are small differences of them. Backward is two such
 * sweeps: the first stores the slopes of every window, the second adds them over all windows that
 * hold a voxel. */
#include <limits.h>
#include "kernels/common/cuda_reduce.h"
extern "C" {
#include "kernels/loss_lncc/loss_lncc.h"
}

enum {
  SLICES = 16, /* slices per block: many blocks for the GPU, few that are added twice */
  STRIP = 3,   /* windows of a row that one thread moves along */
  MOMENTS = 5,
  SLOPES = 3,
};

/* Two sizes of squares, borders of the windows included: the smaller for usual windows. With PITCH
 * doubles to a row, threads that read along rows meet no bank conflicts. */
struct small_square {
  enum { SIDE = 32, THREADS = 512, BLOCKS = 2, MOST_RADIUS = 8, PITCH = 40 };
};
struct large_square {
  enum { SIDE = 64, THREADS = 512, BLOCKS = 1, MOST_RADIUS = 31, PITCH = 65 };
};

struct grid {
  int d, h, w, radius;
};

/* --- what is summed, and what becomes of the sums --- */

struct images {
  const float *own, *other;
  int64_t own_step, other_step; /* from voxel to voxel */
};

__device__ inline void gather_products(const struct images &images, int voxel,
                                       double value[MOMENTS]) {
  double x = images.own[voxel * images.own_step], y = images.other[voxel * images.other_step];
  value[0] = x;
  value[1] = y;
  value[2] = x * x;
  value[3] = y * y;
  value[4] = x * y;
}

__device__ inline struct loss_lncc_moments moments_of(const double s[MOMENTS], double per_voxel) {
  return loss_lncc_moments(s[0], s[1], s[2], s[3], s[4], per_voxel);
}

/* 1 / denominator to 14 digits, from float32's division and a Newton step: float64's own division
 * takes a third of a thread's registers. For denominators of 1e-19 to 6e57. */
__device__ inline double inverse(double denominator) {
  double start = 0x1p-64 * (double)(1 / (float)(0x1p-64 * denominator));
  return start * (2 - denominator * start);
}

struct correlation {
  enum { FIELDS = MOMENTS };
  struct images images;
  double per_voxel; /* 1 over the voxels of a window */
  __device__ void gather(int voxel, double value[FIELDS]) const {
    gather_products(images, voxel, value);
  }
  __device__ void finish(int, const double sums[FIELDS], double &energy) const {
    struct loss_lncc_moments m = moments_of(sums, per_voxel);
    energy += m.cross * m.cross * inverse(m.denominator);
  }
};

struct slopes {
  enum { FIELDS = MOMENTS };
  struct images images;
  double per_voxel;
  float *slope; /* SLOPES volumes */
  int64_t volume;
  __device__ void gather(int voxel, double value[FIELDS]) const {
    gather_products(images, voxel, value);
  }
  __device__ void finish(int voxel, const double sums[FIELDS], double &) const {
    struct loss_lncc_moments m = moments_of(sums, per_voxel);
    struct loss_lncc_slopes s = loss_lncc_slopes(m, m.cross * inverse(m.denominator));
    slope[voxel] = (float)s.own_other;
    slope[volume + voxel] = (float)s.own_own;
    slope[2 * volume + voxel] = (float)s.constant;
  }
};

struct gradient {
  enum { FIELDS = SLOPES };
  struct images images;
  const float *slope;
  int64_t volume;
  const double *dy;
  double factor; /* of dy */
  float *dx;
  bool add;
  __device__ void gather(int voxel, double value[FIELDS]) const {
    for (int f = 0; f < FIELDS; f++) value[f] = slope[f * volume + voxel];
  }
  __device__ void finish(int voxel, const double sums[FIELDS], double &) const {
    int64_t at = voxel * images.own_step;
    double sum =
        sums[0] * images.other[voxel * images.other_step] + 2 * sums[1] * images.own[at] + sums[2];
    dx[at] = (add ? dx[at] : 0) + (float)(factor * *dy * sum);
  }
};

/* --- the sweep --- */

/* A thread's columns: where they are in a slice (-1: outside), and their sums. */
template <class Square, int FIELDS>
struct columns {
  enum { EACH = Square::SIDE * Square::SIDE / Square::THREADS };
  int at[EACH];
  double sum[EACH][FIELDS];
};

/* Row and column, in the square, of a thread's k-th column. */
template <class Square>
__device__ inline int square_row(int k) {
  return threadIdx.x / Square::SIDE + k * (Square::THREADS / Square::SIDE);
}
template <class Square>
__device__ inline int square_column() {
  return threadIdx.x % Square::SIDE;
}

/* top, left: where the square starts in the slice; may be outside. */
template <class Square, int FIELDS>
__device__ inline void columns_start(columns<Square, FIELDS> &columns, const struct grid &grid,
                                     int top, int left) {
  for (int k = 0; k < columns.EACH; k++) {
    int h = top + square_row<Square>(k), w = left + square_column<Square>();
    bool inside = h >= 0 && h < grid.h && w >= 0 && w < grid.w;
    columns.at[k] = inside ? h * grid.w + w : -1;
    for (int f = 0; f < FIELDS; f++) columns.sum[k][f] = 0;
  }
}

template <bool ENTERS, class Square, class Work>
__device__ inline void columns_move(columns<Square, Work::FIELDS> &columns, const Work &work,
                                    const struct grid &grid, int d) {
  if (d < 0 || d >= grid.d) return;
  int slice = d * grid.h * grid.w;
  for (int k = 0; k < columns.EACH; k++) {
    double value[Work::FIELDS];
    if (columns.at[k] < 0) continue;
    work.gather(slice + columns.at[k], value);
    for (int f = 0; f < Work::FIELDS; f++) columns.sum[k][f] += ENTERS ? value[f] : -value[f];
  }
}

template <class Square, int FIELDS>
__device__ inline void columns_store(const columns<Square, FIELDS> &columns, double *plane) {
  for (int k = 0; k < columns.EACH; k++)
    for (int f = 0; f < FIELDS; f++)
      plane[(f * Square::SIDE + square_row<Square>(k)) * Square::PITCH + square_column<Square>()] =
          columns.sum[k][f];
}

/* Replaces row i of every field by the sum of rows i to i + 2 radius; one thread per column. The
 * next rows are read before the sum is written: nothing waits for shared memory. */
template <class Square, int FIELDS>
__device__ inline void add_rows(double *plane, int radius) {
  int sums = Square::SIDE - 2 * radius;
  for (int i = threadIdx.x; i < FIELDS * Square::SIDE; i += Square::THREADS) {
    double *row = plane + i / Square::SIDE * Square::SIDE * Square::PITCH + i % Square::SIDE;
    double *ahead = row + 2 * radius * Square::PITCH, sum = 0;
    for (double *from = row; from < ahead; from += Square::PITCH) sum += *from;
    double leaves = *row, enters = *ahead;
    for (int k = 1; k <= sums; k++) {
      double own = sum + enters;
      sum = own - leaves;
      if (k < sums) {
        enters = ahead[k * Square::PITCH];
        leaves = row[k * Square::PITCH];
      }
      row[(k - 1) * Square::PITCH] = own;
    }
  }
}

/* Adds along w and finishes every window of the slice. */
template <class Square, class Work>
__device__ inline void finish_slice(const double *plane, const Work &work, const struct grid &grid,
                                    int d, int top, int left, double &energy) {
  int sums = Square::SIDE - 2 * grid.radius, strips = (sums + STRIP - 1) / STRIP;
  for (int i = threadIdx.x; i < sums * strips; i += Square::THREADS) {
    int row = i / strips, begin = i % strips * STRIP, h = top + row;
    const double *from = plane + row * Square::PITCH + begin;
    double sum[Work::FIELDS] = {};
    for (int f = 0; f < Work::FIELDS; f++)
      for (int k = 0; k < 2 * grid.radius; k++)
        sum[f] += from[f * Square::SIDE * Square::PITCH + k];
#pragma unroll 1 /* registers: 64 let two blocks share a multiprocessor */
    for (int k = 0; k < STRIP; k++) {
      int w = left + begin + k;
      if (begin + k >= sums || h >= grid.h || w >= grid.w) break;
      for (int f = 0; f < Work::FIELDS; f++)
        sum[f] += from[f * Square::SIDE * Square::PITCH + k + 2 * grid.radius];
      work.finish((d * grid.h + h) * grid.w + w, sum, energy);
      for (int f = 0; f < Work::FIELDS; f++) sum[f] -= from[f * Square::SIDE * Square::PITCH + k];
    }
  }
}

/* Blocks: x along w, y along h, z along d. */
template <class Square, class Work>
__global__ void __launch_bounds__(Square::THREADS, Square::BLOCKS)
    sweep(Work work, struct grid grid, double *partial) {
  CUDA_DYNAMIC_SHARED(double, plane);
  int r = grid.radius, sums = Square::SIDE - 2 * r;
  int left = blockIdx.x * sums, top = blockIdx.y * sums, first = blockIdx.z * SLICES;
  int end = first + SLICES < grid.d ? first + SLICES : grid.d;
  columns<Square, Work::FIELDS> columns;
  columns_start(columns, grid, top - r, left - r);
  double energy = 0;
  for (int d = first - r; d < end + r; d++) {
    columns_move<true>(columns, work, grid, d);
    if (d - 2 * r > first - r) columns_move<false>(columns, work, grid, d - 2 * r - 1);
    if (d - r < first) continue;
    columns_store(columns, plane);
    __syncthreads();
    add_rows<Square, Work::FIELDS>(plane, r);
    __syncthreads();
    finish_slice<Square>(plane, work, grid, d - r, top, left, energy);
    __syncthreads();
  }
  if (!partial) return;
  energy = block_sum<Square::THREADS>(energy);
  int64_t block = ((int64_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) partial[block] = energy;
}

/* --- the kernel --- */

static struct grid grid_make(const struct node *node) {
  const struct loss_lncc_arguments *arguments =
      (const struct loss_lncc_arguments *)(const void *)node->arguments;
  const struct shape *s = &node->x[0].shape;
  return {s->d, s->h, s->w, arguments->window / 2};
}

template <class Square>
static dim3 square_blocks(const struct grid &grid) {
  int sums = Square::SIDE - 2 * grid.radius;
  return dim3(cuda_blocks(grid.w, sums), cuda_blocks(grid.h, sums), cuda_blocks(grid.d, SLICES));
}

static dim3 sweep_blocks(const struct grid &grid) {
  return grid.radius <= small_square::MOST_RADIUS ? square_blocks<small_square>(grid)
                                                  : square_blocks<large_square>(grid);
}

static int64_t sweep_partials(const struct grid &grid) {
  dim3 blocks = sweep_blocks(grid);
  return (int64_t)blocks.x * blocks.y * blocks.z;
}

template <class Square, class Work>
static enum status sweep_squares(const Work &work, const struct grid &grid, double *partial,
                                 struct stream *stream) {
  const int bytes = (int)sizeof(double) * Work::FIELDS * Square::SIDE * Square::PITCH;
  CUDA_TRY(cudaFuncSetAttribute(sweep<Square, Work>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                bytes));
  CUDA_LAUNCH((sweep<Square, Work>), square_blocks<Square>(grid), Square::THREADS, bytes, stream,
              work, grid, partial);
  return STATUS_OK;
}

/* partial: one float64 per block, or NULL. */
template <class Work>
static enum status sweep_run(const Work &work, const struct grid &grid, double *partial,
                             struct stream *stream) {
  return grid.radius <= small_square::MOST_RADIUS
             ? sweep_squares<small_square>(work, grid, partial, stream)
             : sweep_squares<large_square>(work, grid, partial, stream);
}

/* Channel `volume` % c of sample `volume` / c, as input `own` against the other. */
static struct images images_make(const struct node *node, const struct io *io, int own,
                                 int volume) {
  int c = node->x[0].shape.c;
  struct cuda_strides a = cuda_strides_of(&node->x[own]), b = cuda_strides_of(&node->x[1 - own]);
  struct images images = {(const float *)io->x[own], (const float *)io->x[1 - own], a.voxel,
                          b.voxel};
  images.own += volume / c * a.sample + volume % c * a.channel;
  images.other += volume / c * b.sample + volume % c * b.channel;
  return images;
}

static int volume_count(const struct node *node) {
  return node->x[0].shape.n * node->x[0].shape.c;
}

static double per_voxel(const struct grid &grid) {
  double side = 2 * grid.radius + 1;
  return 1 / (side * side * side);
}

static bool loss_lncc_applies(const struct node *node) {
  return grid_make(node).radius <= large_square::MOST_RADIUS &&
         shape_voxels(node->x[0].shape) <= INT_MAX;
}

static void loss_lncc_prepare(struct node *node) {
  struct grid grid = grid_make(node);
  size_t voxels = (size_t)shape_voxels(node->x[0].shape);
  node->forward_workspace =
      (size_t)volume_count(node) * (size_t)sweep_partials(grid) * sizeof(double);
  node->backward_workspace = SLOPES * voxels * sizeof(float);
}

static enum status loss_lncc_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  struct grid grid = grid_make(node);
  double *partial = (double *)io->workspace;
  int volumes = volume_count(node);
  int64_t partials = sweep_partials(grid);
  for (int v = 0; v < volumes; v++) {
    struct correlation work = {images_make(node, io, 0, v), per_voxel(grid)};
    TRY(sweep_run(work, grid, partial + v * partials, stream));
  }
  double count = (double)volumes * (double)shape_voxels(node->x[0].shape);
  cuda_fold(partial, volumes * partials, 1, -1 / count, (double *)io->y, stream);
  return cuda_launched(node->name);
}

static enum status backward_volume(const struct node *node, const struct io *io,
                                   struct stream *stream, int input, int v) {
  struct grid grid = grid_make(node);
  struct images images = images_make(node, io, input, v);
  int64_t voxels = shape_voxels(node->x[0].shape);
  double count = (double)volume_count(node) * (double)voxels;
  float *slope = (float *)io->workspace;
  int64_t start = images.own - (const float *)io->x[input]; /* dx lies as x does */
  struct slopes first = {images, per_voxel(grid), slope, voxels};
  struct gradient second = {images,           slope,
                            voxels,           (const double *)io->dy,
                            -1 / count,       (float *)io->dx[input] + start,
                            io->dx_add[input]};
  TRY(sweep_run(first, grid, NULL, stream));
  return sweep_run(second, grid, NULL, stream);
}

static enum status loss_lncc_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  for (int input = 0; input < 2; input++)
    for (int v = 0; io->dx[input] && v < volume_count(node); v++)
      TRY(backward_volume(node, io, stream, input, v));
  return cuda_launched(node->name);
}

CUDA_KERNEL(loss_lncc_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_lncc_applies,
    .prepare = loss_lncc_prepare,
    .forward = loss_lncc_forward,
    .backward = loss_lncc_backward,
};
