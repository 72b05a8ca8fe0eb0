/* integrate on the GPU: one launch per squaring, on fields of four floats per voxel that the
 * second- level cache holds. Two more passes make these from the velocity, and are cheap: gathering
 * from three floats per voxel takes three times the accesses. The gradient's scattering is that of
 * warp_scatter_cuda.h; what a voxel adds to itself stays float32. */
#include "kernels/warp/warp_scatter_cuda.h"
extern "C" {
#include "kernels/integrate/integrate.h"
}

enum { THICK = 4, EACH = 2, SPAN = EACH * CUDA_TILE_THREADS, WARP = 32 };

/* Voxels of a sample and of all, by value to kernels. */
struct job {
  int64_t voxels, all;
};

/* A tensor of three channels, planar or last; written times the scale. */
struct triples {
  float *values;
  struct cuda_strides strides;
  float scale;
  bool add;
};

static struct job job_make(const struct node *node) {
  struct job job;
  job.voxels = shape_voxels(node->y.shape);
  job.all = node->y.shape.n * job.voxels;
  return job;
}

static struct triples triples_make(const struct tensor *tensor, const void *values, double scale,
                                   bool add) {
  struct triples triples = {(float *)(uintptr_t)values, cuda_strides_of(tensor), (float)scale, add};
  return triples;
}

/* A voxel, counted through all samples. */
__device__ inline float *triple_at(const struct job &job, const struct triples &triples,
                                   int64_t voxel) {
  if (triples.strides.channel == 1) return triples.values + voxel * 3;
  int64_t n = voxel / job.voxels;
  return triples.values + n * triples.strides.sample + (voxel - n * job.voxels);
}

__device__ inline void triple_load(const struct job &job, const struct triples &from, int64_t voxel,
                                   float (&v)[3]) {
  const float *at = triple_at(job, from, voxel);
#pragma unroll
  for (int k = 0; k < 3; k++) v[k] = at[k * from.strides.channel];
}

/* Neighbouring voxels of a row of `width` threads of a warp, which call it together; the first
 * `count` of them are stored. `shared`: 3 * width floats. */
__device__ inline void triple_store(const struct job &job, const struct triples &to, float *shared,
                                    int lane, int width, int count, int64_t voxel,
                                    const float (&v)[3]) {
  float scaled[3];
#pragma unroll
  for (int k = 0; k < 3; k++) scaled[k] = v[k] * to.scale;
  if (to.strides.channel == 1) {
    cuda_store_triples(shared, lane, width, count, scaled, to.add, to.values + (voxel - lane) * 3);
  } else if (lane < count) {
    float *at = triple_at(job, to, voxel);
#pragma unroll
    for (int k = 0; k < 3; k++) {
      float *channel = at + k * to.strides.channel;
      *channel = to.add ? *channel + scaled[k] : scaled[k];
    }
  }
}

/* How many voxels from the first of this thread's warp on there are. */
__device__ inline int voxels_left(const struct job &job, int64_t voxel, int lane) {
  int64_t left = job.all - (voxel - lane);
  return left < 0 ? 0 : left < WARP ? (int)left : WARP;
}

/* The velocity itself, or its gradient: integration without steps. */
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    transfer(struct job job, struct triples from, struct triples to) {
  __shared__ float staged[3 * CUDA_TILE_THREADS];
  const int64_t voxel = (int64_t)blockIdx.x * CUDA_TILE_THREADS + threadIdx.x;
  const int lane = (int)(threadIdx.x % WARP), count = voxels_left(job, voxel, lane);
  float v[3] = {};
  if (lane < count) triple_load(job, from, voxel, v);
  triple_store(job, to, staged + 3 * (threadIdx.x - lane), lane, WARP, count, voxel, v);
}

/* Three channels times the scale to four floats, of which the last is 0. Unless NULL, *largest is
 * raised to the largest magnitude. */
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    interleave(struct job job, struct triples from, float4 *__restrict__ to, unsigned *largest) {
  const int64_t first = (int64_t)blockIdx.x * SPAN + threadIdx.x;
  unsigned magnitude = 0;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int64_t voxel = first + i * CUDA_TILE_THREADS;
    if (voxel >= job.all) break;
    float v[3];
    triple_load(job, from, voxel, v);
#pragma unroll
    for (int k = 0; k < 3; k++) {
      v[k] *= from.scale;
      magnitude = warp_larger(magnitude, warp_magnitude(v[k]));
    }
    to[voxel] = make_float4(v[0], v[1], v[2], 0);
  }
  if (largest) warp_raise(magnitude, largest);
}

/* Fields have four floats per voxel. */
enum { LANES = 4 };

template <typename Index>
__device__ inline const float *field_at(const float4 *v, Index voxel) {
  return reinterpret_cast<const float *>(cuda_at(v, voxel, (unsigned)sizeof(float4)));
}

/* v + v(p + v(p)), to `next`, or LAST to the three channels of y. */
template <bool LAST, typename Index>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    square(struct job job, struct warp_grid<Index> grid, struct cuda_tiles tiles,
           const float4 *__restrict__ v, float4 *__restrict__ next, struct triples y) {
  __shared__ float staged[LAST ? 3 * CUDA_TILE_THREADS : 1];
  const struct cuda_column column = cuda_column_find(tiles);
  const int lane = (int)threadIdx.x, width = (int)blockDim.x;
  const int64_t start = column.plane * job.voxels;
  v += start;
  Index voxel = warp_grid_voxel(grid, column.first, column.row, column.item);
  float own[THICK][LANES] = {};
#pragma unroll
  for (int i = 0; i < THICK; i++)
    if (column.inside && column.first + i < column.end)
      cuda_load(field_at(v, (Index)(voxel + i * grid.slice)), own[i]);
#pragma unroll
  for (int i = 0; i < THICK; i++, voxel += grid.slice) {
    const int d = column.first + i;
    if (d >= column.end) break;
    if (column.inside) {
      const float u[3] = {own[i][0], own[i][1], own[i][2]};
      const struct warp_cell<Index> cell =
          warp_cell_find<WARP_LINEAR>(grid, d, column.row, column.item, u, WARP_ZEROS);
      float value[WARP_CORNERS][LANES] = {};
      warp_cell_load(grid, cell, field_at(v, 0u), (unsigned)sizeof(float4), value);
      warp_cell_blend(cell, value, own[i]);
    }
    if (LAST) {
      const float sum[3] = {own[i][0], own[i][1], own[i][2]};
      const int left = column.row < tiles.rows ? tiles.items - (column.item - lane) : 0;
      triple_store(job, y, staged + 3 * threadIdx.y * width, lane, width,
                   left < width ? left : width, start + (int64_t)voxel, sum);
    } else if (column.inside) {
      *cuda_at(next + start, voxel, (unsigned)sizeof(float4)) =
          make_float4(own[i][0], own[i][1], own[i][2], 0);
    }
  }
}

/* What a voxel adds to its own gradient: the slope of v(p + v(p)), its components weighted by g. */
template <typename Index>
__device__ inline float4 own_gradient(const struct warp_grid<Index> &grid,
                                      const struct warp_cell<Index> &cell, const float4 *v,
                                      const float4 &g) {
  float value[WARP_CORNERS][LANES] = {}, product[WARP_CORNERS], slope[3];
  warp_cell_load(grid, cell, field_at(v, 0u), (unsigned)sizeof(float4), value);
#pragma unroll
  for (int corner = 0; corner < WARP_CORNERS; corner++)
    product[corner] = g.x * value[corner][0] + g.y * value[corner][1] + g.z * value[corner][2];
  warp_cell_slope(cell, product, slope);
  return make_float4(g.x + slope[0], g.y + slope[1], g.z + slope[2], 0);
}

/* The gradient of one squaring: what each voxel adds to itself in place, and the rest in units. */
template <typename Index>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    pull_back(struct job job, struct warp_grid<Index> grid, struct cuda_tiles tiles, int bits,
              const unsigned *largest, const float4 *__restrict__ v, float4 *gradient,
              struct warp_sums sums) {
  const struct warp_unit unit = warp_unit_find(*largest, bits);
  if (!unit.finite) return;
  const struct cuda_column column = cuda_column_find(tiles);
  const int lane = (int)threadIdx.x, width = (int)blockDim.x;
  struct warp_face<3, Index> lower, upper;
  warp_face_clear(&upper);
  v += column.plane * job.voxels;
  gradient += column.plane * job.voxels;
  sums.total += column.plane * job.voxels;
  Index voxel = warp_grid_voxel(grid, column.first, column.row, column.item);
  for (int d = column.first; d < column.end; d++, voxel += grid.slice) {
    float own[LANES] = {};
    float4 g = make_float4(0, 0, 0, 0), *at = cuda_at(gradient, voxel, (unsigned)sizeof(float4));
    if (column.inside) cuda_load(field_at(v, voxel), own), g = *at;
    const float u[3] = {own[0], own[1], own[2]};
    const struct warp_cell<Index> cell =
        warp_cell_find<WARP_LINEAR>(grid, d, column.row, column.item, u, WARP_ZEROS);
    if (column.inside) *at = own_gradient(grid, cell, v, g);
    const float terms[3] = {g.x * unit.scale, g.y * unit.scale, g.z * unit.scale};
    warp_face_step(&lower, &upper, cell, terms, grid, sums);
    warp_face_hand_over(&lower, lane, width, 1);
    warp_face_pay(lower, grid, sums);
  }
  warp_face_hand_over(&upper, lane, width, 1);
  warp_face_pay(upper, grid, sums);
}

/* Adds the sums to the gradient, clears them and finds the next largest magnitude; LAST: to the
 * three channels of dx instead. */
template <bool LAST>
static __global__ void __launch_bounds__(CUDA_TILE_THREADS)
    add_sums(struct job job, int bits, const unsigned *largest, struct warp_sums sums,
             float4 *gradient, unsigned *next_largest, struct triples dx) {
  __shared__ float staged[LAST ? 3 * CUDA_TILE_THREADS : 1];
  const struct warp_unit unit = warp_unit_find(*largest, bits);
  const int lane = (int)(threadIdx.x % WARP);
  unsigned magnitude = 0;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const int64_t voxel = (int64_t)blockIdx.x * SPAN + i * CUDA_TILE_THREADS + threadIdx.x;
    float v[3] = {};
    if (voxel < job.all) {
      const float4 own = gradient[voxel];
      v[0] = own.x, v[1] = own.y, v[2] = own.z;
#pragma unroll
      for (int k = 0; k < 3; k++) {
        warp_total *total = sums.total + k * sums.channel + voxel;
        v[k] += warp_unit_value(unit, *total);
        if (!LAST) *total = 0;
        magnitude = warp_larger(magnitude, warp_magnitude(v[k]));
      }
      if (!LAST) gradient[voxel] = make_float4(v[0], v[1], v[2], 0);
    }
    if (LAST)
      triple_store(job, dx, staged + 3 * (threadIdx.x - lane), lane, WARP,
                   voxels_left(job, voxel, lane), voxel, v);
  }
  if (!LAST) warp_raise(magnitude, next_largest);
}

/* --- calls --- */

/* What backward works in: the largest magnitude of each step's gradient, the gradient, and for each
 * channel the sums of all voxels. */
struct workspace {
  unsigned *largest;
  float4 *gradient;
  struct warp_sums sums;
  size_t largest_bytes, sums_bytes, bytes;
};

static struct workspace workspace_make(const struct node *node, void *memory, int steps) {
  const int64_t all = job_make(node).all;
  struct workspace w;
  w.largest_bytes = ((size_t)steps * sizeof *w.largest + 63) / 64 * 64;
  const size_t gradient_bytes = (size_t)all * sizeof *w.gradient;
  w.sums_bytes = (size_t)all * 3 * sizeof(warp_total);
  w.bytes = w.largest_bytes + w.sums_bytes + gradient_bytes;
  w.largest = (unsigned *)memory;
  w.gradient = (float4 *)((uintptr_t)memory + w.largest_bytes);
  w.sums.total = (warp_total *)((uintptr_t)memory + w.largest_bytes + gradient_bytes);
  w.sums.channel = all;
  w.sums.voxel = 1;
  return w;
}

static int steps_of(const struct node *node) {
  return ((const struct integrate_arguments *)(const void *)node->arguments)->steps;
}

static bool integrate_applies(const struct node *node) {
  return node->x[0].layout != LAYOUT_BLOCKED && node->y.layout != LAYOUT_BLOCKED;
}

static void integrate_prepare(struct node *node) {
  const int steps = steps_of(node);
  if (steps > 0) node->backward_workspace = workspace_make(node, NULL, steps).bytes;
}

static struct cuda_tiles tiles_make(const struct node *node) {
  const struct shape *s = &node->y.shape;
  return cuda_tiles_make(s->w, s->h, s->d, THICK);
}

static void launch_transfer(const struct job &job, const struct triples &from,
                            const struct triples &to, struct stream *stream) {
  CUDA_LAUNCH(transfer, cuda_blocks(job.all, CUDA_TILE_THREADS), CUDA_TILE_THREADS, 0, stream, job,
              from, to);
}

/* One squaring from v to v + job.all, or, the last one, to y. */
template <typename Index>
static void launch_square(const struct node *node, const float4 *v, bool last,
                          const struct triples &y, struct stream *stream) {
  const struct job job = job_make(node);
  const struct cuda_tiles tiles = tiles_make(node);
  const unsigned blocks = cuda_tiles_grid(&tiles, node->y.shape.n);
  CUDA_LAUNCH((last ? square<true, Index> : square<false, Index>), blocks, cuda_tiles_block(&tiles),
              0, stream, job, warp_grid_of<Index>(node->y.shape), tiles, v, (float4 *)v + job.all,
              y);
}

static enum status integrate_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  const int steps = steps_of(node);
  const struct job job = job_make(node);
  const struct triples x = triples_make(&node->x[0], io->x[0], integrate_scale(node), false);
  const struct triples y = triples_make(&node->y, io->y, steps ? 1 : x.scale, false);
  float4 *v = (float4 *)io->saved[0];
  if (steps == 0)
    launch_transfer(job, x, y, stream);
  else
    CUDA_LAUNCH(interleave, cuda_blocks(job.all, SPAN), CUDA_TILE_THREADS, 0, stream, job, x, v,
                (unsigned *)NULL);
  for (int step = 0; step < steps; step++)
    (warp_grid_small(node->y.shape)
         ? launch_square<uint32_t>
         : launch_square<uint64_t>)(node, v + step * job.all, step + 1 == steps, y, stream);
  return cuda_launched(node->name);
}

template <typename Index>
static void launch_pull_back(const struct node *node, const struct io *io,
                             const struct workspace &w, int step, struct stream *stream) {
  const struct job job = job_make(node);
  const struct cuda_tiles tiles = tiles_make(node);
  CUDA_LAUNCH((pull_back<Index>), cuda_tiles_grid(&tiles, node->y.shape.n),
              cuda_tiles_block(&tiles), 0, stream, job, warp_grid_of<Index>(node->y.shape), tiles,
              warp_unit_bits(job.voxels), (const unsigned *)w.largest + step,
              (const float4 *)io->saved[0] + step * job.all, w.gradient, w.sums);
}

static void launch_add_sums(const struct node *node, const struct workspace &w, int step,
                            const struct triples &dx, struct stream *stream) {
  const struct job job = job_make(node);
  const unsigned *largest = w.largest + step;
  CUDA_LAUNCH((step ? add_sums<false> : add_sums<true>), cuda_blocks(job.all, SPAN),
              CUDA_TILE_THREADS, 0, stream, job, warp_unit_bits(job.voxels), largest, w.sums,
              w.gradient, step ? w.largest + step - 1 : NULL, dx);
}

static enum status integrate_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  const int steps = steps_of(node);
  const struct job job = job_make(node);
  const double scale = integrate_scale(node);
  const struct triples dy = triples_make(&node->y, io->dy, steps ? 1 : scale, false);
  const struct triples dx = triples_make(&node->x[0], io->dx[0], scale, io->dx_add[0]);
  if (steps == 0) {
    launch_transfer(job, dy, dx, stream);
    return cuda_launched(node->name);
  }
  const struct workspace w = workspace_make(node, io->workspace, steps);
  CUDA_TRY(cudaMemsetAsync(w.largest, 0, w.largest_bytes, cuda_stream(stream)));
  CUDA_TRY(cudaMemsetAsync(w.sums.total, 0, w.sums_bytes, cuda_stream(stream)));
  CUDA_LAUNCH(interleave, cuda_blocks(job.all, SPAN), CUDA_TILE_THREADS, 0, stream, job, dy,
              w.gradient, w.largest + steps - 1);
  for (int step = steps - 1; step >= 0; step--) {
    (warp_grid_small(node->y.shape) ? launch_pull_back<uint32_t>
                                    : launch_pull_back<uint64_t>)(node, io, w, step, stream);
    launch_add_sums(node, w, step, dx, stream);
  }
  return cuda_launched(node->name);
}

CUDA_KERNEL(integrate_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = integrate_applies,
    .prepare = integrate_prepare,
    .forward = integrate_forward,
    .backward = integrate_backward,
};
