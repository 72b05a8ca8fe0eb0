/* The weight gradient on tensor cores: dw[co][c][tap] = the sum over voxels v of y of dy[v][co] *
 * x[step * v + first + tap][c], where an upsampled x is read as it is stored, phase by phase of y.
 *
 * For each tap this is a product of matrices whose depth are voxels: 16 channels of x times 16
 * voxels (of a row along w) by 16 voxels times channels of dy. A block goes along d through a tile
 * of rows: planes of x with their margins lie in a ring in shared memory, and the next plane
 * arrives while one is worked on. A warp has one tap along d and w, and up to three along h: a row
 * of x that it has loaded serves these one after another. Every block writes its own sums; a second
 * kernel adds them in order and puts them where PyTorch has them. */
#include "kernels/common/cuda.h"
#include "kernels/common/cuda_matrix.h"
#include "kernels/conv/conv_cuda_gradient.h"
#include "kernels/conv/conv_cuda_outer.h"

enum { FOLD_SHARES = 8 };

/* --- what a block loads --- */

template <typename T, int LEFTS, int RIGHTS>
struct block_source {
  enum {
    EACH = 16 / sizeof(T), /* channels of a chunk */
    X_CHUNKS = LEFTS * GRADIENT_LEFT / EACH,
    Y_CHUNKS = RIGHTS * GRADIENT_RIGHT / EACH,
  };
  const T *x, *dy;
  unsigned char *x_ring, *y_ring; /* shared memory */
  int *x_table, *y_table;         /* elements from the start of a plane; -1: zeros */
  struct gradient_group group;
  int phase[3], sample, first_plane;
};

template <typename T, int LEFTS, int RIGHTS>
static __device__ void make_x_table(const struct gradient_plan &plan,
                                    const block_source<T, LEFTS, RIGHTS> &source, int tile_h,
                                    int tile_w) {
  enum {
    CHUNKS = block_source<T, LEFTS, RIGHTS>::X_CHUNKS,
    EACH = block_source<T, LEFTS, RIGHTS>::EACH
  };
  const struct conv_axis &h_axis = plan.axis[1], &w_axis = plan.axis[2];
  int first_h = h_axis.step * tile_h * plan.rows + h_axis.first[source.phase[1]] +
                source.group.row * plan.taps_together;
  int first_w = w_axis.step * tile_w * GRADIENT_ACROSS + w_axis.first[source.phase[2]];
  int count = plan.x_rows * plan.x_columns * CHUNKS;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    int voxel = i / CHUNKS, row = voxel / plan.x_columns, column = voxel - row * plan.x_columns;
    int chunk = i % CHUNKS ^ outer_swizzle<CHUNKS>(column);
    int h = first_h + row;
    int w = first_w + column % plan.x_residue * w_axis.step + column / plan.x_residue;
    int channel = source.group.left * LEFTS * GRADIENT_LEFT + chunk * EACH;
    bool inside =
        h >= 0 && h < plan.x_extent[1] && w >= 0 && w < plan.x_extent[2] && channel < plan.channels;
    source.x_table[i] = inside ? (h * plan.x_extent[2] + w) * plan.channels + channel : -1;
  }
}

template <typename T, int LEFTS, int RIGHTS>
static __device__ void make_y_table(const struct gradient_plan &plan,
                                    const block_source<T, LEFTS, RIGHTS> &source, int tile_h,
                                    int tile_w) {
  enum {
    CHUNKS = block_source<T, LEFTS, RIGHTS>::Y_CHUNKS,
    EACH = block_source<T, LEFTS, RIGHTS>::EACH
  };
  for (int i = threadIdx.x; i < plan.rows * GRADIENT_ACROSS * CHUNKS; i += blockDim.x) {
    int voxel = i / CHUNKS, row = voxel / GRADIENT_ACROSS, column = voxel % GRADIENT_ACROSS;
    int chunk = i % CHUNKS ^ outer_swizzle<CHUNKS>(column);
    int h = (tile_h * plan.rows + row) * plan.axis[1].phases + source.phase[1];
    int w = (tile_w * GRADIENT_ACROSS + column) * plan.axis[2].phases + source.phase[2];
    int channel = source.group.right * RIGHTS * GRADIENT_RIGHT + chunk * EACH;
    bool inside = h < plan.y_extent[1] && w < plan.y_extent[2] && channel < plan.out_channels;
    source.y_table[i] = inside ? (h * plan.y_extent[2] + w) * plan.out_channels + channel : -1;
  }
}

/* Starts copying `bytes` to `to`; a plane that is not `inside` is all zeros. */
template <typename T>
static __device__ void load_plane(unsigned char *to, const T *plane, const int *table, int bytes,
                                  bool inside) {
  for (int i = threadIdx.x; i < bytes / 16; i += blockDim.x) {
    int at = table[i];
    bool present = inside && at >= 0;
    cuda_copy_start(cuda_shared_of(to + i * 16), present ? plane + at : plane, present);
  }
}

/* Starts copying what step number `step` of a range needs beyond the step before it. */
template <typename T, int LEFTS, int RIGHTS>
static __device__ void load_step(const struct gradient_plan &plan,
                                 const block_source<T, LEFTS, RIGHTS> &source, int step) {
  const struct conv_axis &axis = plan.axis[0];
  int64_t x_plane = (int64_t)plan.x_extent[1] * plan.x_extent[2] * plan.channels;
  int64_t y_plane = (int64_t)plan.y_extent[1] * plan.y_extent[2] * plan.out_channels;
  int new_planes = step == 0 || axis.step > plan.taps[0] ? plan.taps[0] : axis.step;
  int end = axis.step * step + plan.taps[0];
  for (int i = end - new_planes; i < end; i++) {
    int d = axis.step * source.first_plane + axis.first[source.phase[0]] + i;
    bool inside = d >= 0 && d < plan.x_extent[0];
    const T *from = source.x;
    if (inside) from += ((int64_t)source.sample * plan.x_extent[0] + d) * x_plane;
    load_plane(source.x_ring + i % plan.ring * plan.x_slot, from, source.x_table, (int)plan.x_slot,
               inside);
  }
  int d = (source.first_plane + step) * axis.phases + source.phase[0];
  bool inside = d < plan.y_extent[0];
  const T *from = source.dy;
  if (inside) from += ((int64_t)source.sample * plan.y_extent[0] + d) * y_plane;
  load_plane(source.y_ring + step % 2 * plan.y_slot, from, source.y_table, (int)plan.y_slot,
             inside);
}

/* --- what a warp adds --- */

/* Where a warp reads: offsets of its lanes in row 0, and the rows that it has. */
struct place {
  int column; /* of the block; the tap along d and w */
  int tap_d;  /* -1: this warp has no tap */
  unsigned x, y;
  int from, to;
};

/* sum[tap] += x rows (step * row + tap) times dy rows, over the rows of this warp. */
template <typename T, int LEFTS, int RIGHTS, int TAPS>
static __device__ __forceinline__ void add_rows(float (&sum)[TAPS][LEFTS][RIGHTS][2][4],
                                                const unsigned char *x, const unsigned char *y,
                                                const struct place &place, int x_pitch, int step) {
  const int y_pitch = GRADIENT_ACROSS * RIGHTS * GRADIENT_RIGHT * (int)sizeof(T);
  typename outer_matrix<T>::left left[TAPS][LEFTS]; /* a window of rows that rolls on */
  typename outer_matrix<T>::right right[RIGHTS];
  auto load_left = [&](int slot, int row) {
#pragma unroll
    for (int i = 0; i < LEFTS; i++)
      outer_matrix<T>::load(left[slot][i], x, (place.x + row * x_pitch) ^ (i * 32));
  };
#pragma unroll
  for (int tap = 0; tap < TAPS - 1; tap++) load_left(tap, place.from * step + tap);
  for (int row = place.from; row < place.to; row += TAPS) {
#pragma unroll
    for (int turn = 0; turn < TAPS; turn++) {
      if (row + turn >= place.to) break;
      if (step != 1) {
#pragma unroll
        for (int tap = 0; tap < TAPS - 1; tap++)
          load_left((turn + tap) % TAPS, (row + turn) * step + tap);
      }
      load_left((turn + TAPS - 1) % TAPS, (row + turn) * step + TAPS - 1);
#pragma unroll
      for (int j = 0; j < RIGHTS; j++)
        outer_matrix<T>::load(right[j], y, (place.y + (row + turn) * y_pitch) ^ (j * 32));
#pragma unroll
      for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
        for (int i = 0; i < LEFTS; i++)
#pragma unroll
          for (int j = 0; j < RIGHTS; j++)
            outer_matrix<T>::multiply(sum[tap][i][j], left[(turn + tap) % TAPS][i], right[j]);
    }
  }
}

template <typename T, int LEFTS, int RIGHTS>
static __device__ struct place find_place(const struct gradient_plan &plan,
                                          const block_source<T, LEFTS, RIGHTS> &source) {
  struct place place;
  int warp = threadIdx.x / 32, split = warp / plan.columns;
  place.column = warp - split * plan.columns;
  int column = source.group.column * plan.columns + place.column;
  int tap_w = column % plan.taps[2], stride = plan.axis[2].step;
  place.tap_d = column < plan.taps[0] * plan.taps[2] ? column / plan.taps[2] : -1;
  place.x = outer_matrix<T>::template left_offset<block_source<T, LEFTS, RIGHTS>::X_CHUNKS>(
      tap_w % stride * plan.x_residue + tap_w / stride);
  place.y = outer_matrix<T>::template right_offset<block_source<T, LEFTS, RIGHTS>::Y_CHUNKS>();
  place.from = plan.rows * split / plan.splits;
  place.to = plan.rows * (split + 1) / plan.splits;
  return place;
}

/* Steps [first, end) of one tile. */
template <typename T, int LEFTS, int RIGHTS, int TAPS>
static __device__ __forceinline__ void add_range(float (&sum)[TAPS][LEFTS][RIGHTS][2][4],
                                                 const struct gradient_plan &plan,
                                                 const block_source<T, LEFTS, RIGHTS> &source,
                                                 const struct place &place, int steps) {
  const int x_pitch = plan.x_columns * LEFTS * GRADIENT_LEFT * (int)sizeof(T);
  load_step(plan, source, 0);
  cuda_copy_close();
  for (int step = 0; step < steps; step++) {
    cuda_copy_wait<0>();
    __syncthreads();
    if (step + 1 < steps) load_step(plan, source, step + 1);
    cuda_copy_close();
    if (place.tap_d < 0) continue;
    int slot = (plan.axis[0].step * step + place.tap_d) % plan.ring;
    add_rows<T, LEFTS, RIGHTS, TAPS>(sum, source.x_ring + slot * plan.x_slot,
                                     source.y_ring + step % 2 * plan.y_slot, place, x_pitch,
                                     plan.axis[1].step);
  }
  __syncthreads();
}

/* Calls each(place, pair of sums) for what this lane has of [tap][channel of x][channel of dy]. */
template <int LEFTS, int RIGHTS, int TAPS, class Each>
static __device__ void visit_sums(float (&sum)[TAPS][LEFTS][RIGHTS][2][4], const Each &each) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < TAPS * LEFTS * RIGHTS * 4; i++) {
    int half = i % 2, j = i / 2 % (2 * RIGHTS), left = i / (4 * RIGHTS) % LEFTS;
    int tap = i / (4 * RIGHTS * LEFTS);
    int row = tap * LEFTS * GRADIENT_LEFT + left * GRADIENT_LEFT + half * 8 + lane / 4;
    each(row * RIGHTS * GRADIENT_RIGHT + j * 8 + lane % 4 * 2,
         sum[tap][left][j / 2][j % 2] + half * 2);
  }
}

/* Writes the sums of the block: where several warps share the rows of a tile, the first one adds
 * the others', one after another. */
template <int LEFTS, int RIGHTS, int TAPS>
static __device__ void write_sums(float (&sum)[TAPS][LEFTS][RIGHTS][2][4],
                                  const struct gradient_plan &plan, const struct place &place,
                                  float *shared, float *to) {
  const int own = place.column * TAPS * LEFTS * GRADIENT_LEFT * RIGHTS * GRADIENT_RIGHT;
  int split = threadIdx.x / 32 / plan.columns;
  for (int other = 1; other < plan.splits; other++) {
    if (split == other)
      visit_sums<LEFTS, RIGHTS, TAPS>(sum, [&](int at, const float *pair) {
        *reinterpret_cast<float2 *>(shared + own + at) = make_float2(pair[0], pair[1]);
      });
    __syncthreads();
    if (split == 0)
      visit_sums<LEFTS, RIGHTS, TAPS>(sum, [&](int at, float *pair) {
        pair[0] += shared[own + at];
        pair[1] += shared[own + at + 1];
      });
    __syncthreads();
  }
  if (split != 0) return;
  visit_sums<LEFTS, RIGHTS, TAPS>(sum, [&](int at, const float *pair) {
    *reinterpret_cast<float2 *>(to + own + at) = make_float2(pair[0], pair[1]);
  });
}

template <typename T, int LEFTS, int RIGHTS, int TAPS>
static __global__ void __launch_bounds__(32 * gradient_warps(LEFTS, RIGHTS), 2)
    sum_outer_products(const T *x, const T *dy, const struct gradient_plan plan, float *partial) {
  CUDA_DYNAMIC_SHARED(unsigned char, shared);
  block_source<T, LEFTS, RIGHTS> source;
  source.x = x;
  source.dy = dy;
  source.x_ring = shared;
  source.y_ring = shared + plan.ring * plan.x_slot;
  source.x_table = reinterpret_cast<int *>(source.y_ring + 2 * plan.y_slot);
  source.y_table = source.x_table + plan.x_slot / 16;
  int index = blockIdx.x % plan.groups, chunk = blockIdx.x / plan.groups;
  source.group = gradient_group_of(plan, index);
  gradient_split_phase(plan, source.group.phase, source.phase);
  struct place place = find_place(plan, source);
  float sum[TAPS][LEFTS][RIGHTS][2][4] = {};
  int64_t end = plan.steps * (chunk + 1) / plan.chunks;
  for (int64_t step = plan.steps * chunk / plan.chunks; step < end;) {
    int tile = (int)(step / plan.planes);
    source.first_plane = (int)(step - (int64_t)tile * plan.planes);
    int left = plan.planes - source.first_plane,
        steps = end - step < left ? (int)(end - step) : left;
    int tile_w = tile % plan.tiles_w, tile_h = tile / plan.tiles_w % plan.tiles_h;
    source.sample = tile / plan.tiles_w / plan.tiles_h;
    make_x_table(plan, source, tile_h, tile_w);
    make_y_table(plan, source, tile_h, tile_w);
    add_range<T, LEFTS, RIGHTS, TAPS>(sum, plan, source, place, steps);
    step += steps;
  }
  partial += (int64_t)blockIdx.x * gradient_tile(plan);
  write_sums<LEFTS, RIGHTS, TAPS>(sum, plan, place, reinterpret_cast<float *>(shared), partial);
}

/* --- adding up --- */

/* Where the sums for one weight lie in the partial sums of a chunk, for one phase. */
static __device__ int64_t find_sum(const struct gradient_plan &plan, int phase_index,
                                   const int (&k)[3], int channel, int co) {
  int phase[3], left = plan.lefts * GRADIENT_LEFT, right = plan.rights * GRADIENT_RIGHT;
  gradient_split_phase(plan, phase_index, phase);
  int column =
      plan.axis[0].tap[phase[0]][k[0]][0] * plan.taps[2] + plan.axis[2].tap[phase[2]][k[2]][0];
  int row = plan.axis[1].tap[phase[1]][k[1]][0];
  struct gradient_group group = {co / right, channel / left, column / plan.columns,
                                 row / plan.taps_together, phase_index};
  int at = column % plan.columns * plan.taps_together + row % plan.taps_together;
  at = (at * left + channel % left) * right + co % right;
  return (int64_t)gradient_group_index(plan, group) * gradient_tile(plan) + at;
}

/* The sum over FOLD_SHARES threads of what each has; in the first of them. */
static __device__ float fold_shares(float sum) {
  __shared__ float shares[FOLD_SHARES][32];
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  for (int i = 1; i < FOLD_SHARES && threadIdx.y == 0; i++) sum += shares[i][threadIdx.x];
  return sum;
}

/* Adds all chunks of the partial sums to the first one, `size` floats each. */
static __global__ void __launch_bounds__(32 * FOLD_SHARES)
    fold_chunks(float *partial, int chunks, int64_t size) {
  int64_t at = (int64_t)blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
#pragma unroll 8
  for (int chunk = threadIdx.y; chunk < chunks; chunk += FOLD_SHARES)
    sum += at < size ? partial[chunk * size + at] : 0;
  sum = fold_shares(sum);
  if (threadIdx.y == 0 && at < size) partial[at] = sum;
}

/* dw of element [tap][channel][co]: the sum over phases and chunks. */
static __global__ void __launch_bounds__(32 * FOLD_SHARES)
    fold_gradient(const float *partial, const struct gradient_plan plan, int chunks,
                  const struct conv_cuda_weights weights, int count, float *dw) {
  int at = blockIdx.x * 32 + threadIdx.x;
  bool inside = at < count;
  int co = at % plan.out_channels, rest = at / plan.out_channels;
  int channel = rest % plan.channels, tap = rest / plan.channels;
  const int k[3] = {tap / weights.kernel[2] / weights.kernel[1],
                    tap / weights.kernel[2] % weights.kernel[1], tap % weights.kernel[2]};
  int64_t distance = (int64_t)plan.groups * gradient_tile(plan);
  float sum = 0;
  for (int phase = 0; phase < plan.phases && inside; phase++) {
    const float *from = partial + find_sum(plan, phase, k, channel, co);
#pragma unroll 8
    for (int chunk = threadIdx.y; chunk < chunks; chunk += FOLD_SHARES)
      sum += from[chunk * distance];
  }
  sum = fold_shares(sum);
  if (threadIdx.y == 0 && inside)
    dw[weights.offset + co * weights.output + channel * weights.input + tap] = sum;
}

/* --- the host's part --- */

static bool applies(const struct node *node, int input) {
  const struct tensor *x = &node->x[input], *y = &node->y;
  const int *kernel = conv_arguments_of(node)->kernel;
  int each = (int)(16 / dtype_bytes(node->activation));
  if (node->activation == DTYPE_F64 || x->dtype != node->activation ||
      y->dtype != node->activation || x->layout != LAYOUT_LAST || y->layout != LAYOUT_LAST)
    return false;
  for (int i = 0; i < 3; i++)
    if (kernel[i] > CONV_MOST_KERNEL) return false;
  if (x->shape.c % each != 0 || y->shape.c % each != 0) return false;
  int64_t x_plane = (int64_t)x->shape.c * x->shape.h * x->shape.w;
  int64_t y_plane = (int64_t)y->shape.c * y->shape.h * y->shape.w;
  if (x_plane > INT32_MAX / 2 || y_plane > INT32_MAX / 2) return false;
  return gradient_shared(gradient_plan_of(node, input)) <= 160 << 10;
}

static size_t workspace_bytes(const struct node *node, int input) {
  struct gradient_plan plan = gradient_plan_of(node, input);
  return sizeof(float) * plan.chunks * plan.groups * gradient_tile(plan);
}

template <typename T, int LEFTS, int RIGHTS, int TAPS>
static void launch(const struct gradient_plan &plan, const void *x, const void *dy, float *partial,
                   struct stream *stream) {
  size_t shared = gradient_shared(plan);
  cudaFuncSetAttribute(sum_outer_products<T, LEFTS, RIGHTS, TAPS>,
                       cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
  CUDA_LAUNCH((sum_outer_products<T, LEFTS, RIGHTS, TAPS>), plan.chunks * plan.groups,
              32 * plan.columns * plan.splits, shared, stream, (const T *)x, (const T *)dy, plan,
              partial);
}

template <typename T, int LEFTS, int RIGHTS>
static void launch_taps(const struct gradient_plan &plan, const void *x, const void *dy,
                        float *partial, struct stream *stream) {
  if (plan.taps_together == 1) launch<T, LEFTS, RIGHTS, 1>(plan, x, dy, partial, stream);
  if (plan.taps_together == 2) launch<T, LEFTS, RIGHTS, 2>(plan, x, dy, partial, stream);
  if (plan.taps_together == 3) launch<T, LEFTS, RIGHTS, 3>(plan, x, dy, partial, stream);
}

template <typename T>
static void launch_large(const struct gradient_plan &plan, const void *x, const void *dy,
                         float *partial, struct stream *stream) {
  if (plan.taps_together == 1) launch<T, 2, 2, 1>(plan, x, dy, partial, stream);
  if (plan.taps_together == 2) launch<T, 2, 2, 2>(plan, x, dy, partial, stream);
}

template <typename T>
static void launch_narrow(const struct gradient_plan &plan, const void *x, const void *dy,
                          float *partial, struct stream *stream) {
  if (plan.lefts == 2 && plan.rights == 2)
    launch_large<T>(plan, x, dy, partial, stream);
  else if (plan.lefts == 2)
    launch_taps<T, 2, 1>(plan, x, dy, partial, stream);
  else if (plan.rights == 2)
    launch_taps<T, 1, 2>(plan, x, dy, partial, stream);
  else
    launch_taps<T, 1, 1>(plan, x, dy, partial, stream);
}

static void run(const struct node *node, const struct io *io, int input,
                const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)end;
  struct gradient_plan plan = gradient_plan_of(node, input);
  struct conv_cuda_weights weights = conv_cuda_weights_of(node, input);
  const void *x = io->x[input];
  float *partial = (float *)workspace;
  if (node->activation == DTYPE_F32) launch_taps<float, 1, 1>(plan, x, io->dy, partial, stream);
  if (node->activation == DTYPE_BF16)
    launch_narrow<__nv_bfloat16>(plan, x, io->dy, partial, stream);
  if (node->activation == DTYPE_F16) launch_narrow<__half>(plan, x, io->dy, partial, stream);
  /* each partial sum of an upsampled input is part of several weights: chunks are added before */
  bool before = plan.phases > 1;
  int64_t size = (int64_t)plan.groups * gradient_tile(plan);
  dim3 block(32, FOLD_SHARES);
  if (before)
    CUDA_LAUNCH(fold_chunks, cuda_blocks(size, 32), block, 0, stream, partial, plan.chunks, size);
  int count = (int)weights.input * plan.channels * plan.out_channels;
  CUDA_LAUNCH(fold_gradient, cuda_blocks(count, 32), block, 0, stream, partial, plan,
              before ? 1 : plan.chunks, weights, count, (float *)io->dw[CONV_WEIGHT]);
}

const struct conv_cuda_part conv_cuda_matrix_weights = {applies, workspace_bytes, run};
