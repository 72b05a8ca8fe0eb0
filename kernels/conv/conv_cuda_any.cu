/* conv on the GPU for whatever nobody else takes: any channels, layouts, kernels, strides and
 * types. Each pass is a matrix product whose factors are gathered from the tensors tile by tile:
 *   forward: [voxels of y][taps, channels of x] * [taps, channels of x][co]
 *   data:    [stored voxels of x][children, taps, co] * [children, taps, co][channels of x]
 *   weights: [co][voxels of y] * [voxels of y][taps, channels of x], in chunks of voxels */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_any.h"

enum {
  SIDE = 16, /* a block is SIDE x SIDE threads, each with ROWS x COLUMNS of the tile */
  THREADS = SIDE * SIDE,
  DEPTH = 16,
  WANTED_BLOCKS = 528,
  LEAST_VOXELS = 1024, /* of a chunk */
  FOLD_SHARES = 8,
};

/* One node as the passes see it. */
struct problem {
  int kernel[3], stride[3], padding[3], taps;
  struct conv_cuda_divider by_kernel_h, by_kernel_w, by_taps;
  struct conv_cuda_weights weights;
};

static struct problem problem_of(const struct node *node, int input) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct problem problem;
  memset(&problem, 0, sizeof problem);
  for (int i = 0; i < 3; i++) {
    problem.kernel[i] = a->kernel[i];
    problem.stride[i] = a->stride[i];
    problem.padding[i] = a->padding[i];
  }
  problem.taps = a->kernel[0] * a->kernel[1] * a->kernel[2];
  problem.by_taps = conv_cuda_divider_of(problem.taps);
  problem.by_kernel_h = conv_cuda_divider_of(a->kernel[1]);
  problem.by_kernel_w = conv_cuda_divider_of(a->kernel[2]);
  problem.weights = conv_cuda_weights_of(node, input);
  return problem;
}

__device__ static struct conv_cuda_place kernel_place(const struct problem &p, int tap) {
  struct conv_cuda_place place;
  place.w = conv_cuda_split(tap, p.by_kernel_w);
  place.h = conv_cuda_split(tap, p.by_kernel_h);
  place.d = tap;
  return place;
}

/* Where tap k of the voxel of y at `y` reads. */
__device__ static struct conv_cuda_place source_place(const struct problem &p,
                                                      const struct conv_cuda_place &y,
                                                      const struct conv_cuda_place &k) {
  struct conv_cuda_place place;
  place.d = y.d * p.stride[0] + k.d - p.padding[0];
  place.h = y.h * p.stride[1] + k.h - p.padding[1];
  place.w = y.w * p.stride[2] + k.w - p.padding[2];
  return place;
}

/* The voxel of y along an axis that reads `x` at tap k; -1: none. */
__device__ static int reader(const struct problem &p, int axis, int x, int k) {
  int scaled = x + p.padding[axis] - k;
  if (scaled < 0) return -1;
  int voxel = scaled / p.stride[axis];
  return voxel * p.stride[axis] == scaled ? voxel : -1;
}

__device__ static float weight(const struct problem &p, const float *w, int co, int c, int tap) {
  return w[p.weights.offset + co * p.weights.output + c * p.weights.input + tap];
}

/* The factors of each pass: left(row, k) and right(k, column). `left_depth` and `right_depth` say
 * along which index neighbouring elements lie side by side in memory. */
template <typename T>
struct forward_pass {
  struct problem problem;
  struct conv_cuda_field x, y;
  const float *w;
  int n, rows, columns;
  __device__ bool left_depth() const {
    return x.last;
  }
  __device__ bool right_depth() const {
    return true;
  }
  __device__ float left(int row, int k) const {
    int channel = conv_cuda_split(k, x.by_channels);
    struct conv_cuda_place place =
        source_place(problem, conv_cuda_place_of(y, row), kernel_place(problem, k));
    return conv_cuda_read<T>(x, n, channel, place);
  }
  __device__ float right(int k, int column) const {
    int channel = conv_cuda_split(k, x.by_channels);
    return weight(problem, w, column, channel, k);
  }
};

template <typename T>
struct data_pass {
  struct problem problem;
  struct conv_cuda_field x, dy;
  const float *w;
  int n, rows, columns;
  __device__ bool left_depth() const {
    return dy.last;
  }
  __device__ bool right_depth() const {
    return false;
  }
  __device__ float left(int row, int k) const {
    int co = conv_cuda_split(k, dy.by_channels), tap = conv_cuda_split(k, problem.by_taps);
    struct conv_cuda_place voxel = conv_cuda_place_of(x, row), kernel = kernel_place(problem, tap);
    struct conv_cuda_place place; /* k is left: which child of an upsampled voxel */
    place.d = reader(problem, 0, (voxel.d << x.half) + k / 4, kernel.d);
    place.h = reader(problem, 1, (voxel.h << x.half) + k / 2 % 2, kernel.h);
    place.w = reader(problem, 2, (voxel.w << x.half) + k % 2, kernel.w);
    return conv_cuda_read<T>(dy, n, co, place);
  }
  __device__ float right(int k, int column) const {
    int co = conv_cuda_split(k, dy.by_channels), tap = conv_cuda_split(k, problem.by_taps);
    return weight(problem, w, co, column, tap);
  }
};

template <typename T>
struct weights_pass {
  struct problem problem;
  struct conv_cuda_field x, dy;
  int rows, columns;
  struct conv_cuda_divider by_voxels;
  __device__ bool left_depth() const {
    return !dy.last;
  }
  __device__ bool right_depth() const {
    return !x.last;
  }
  __device__ float left(int row, int k) const {
    int voxel = conv_cuda_split(k, by_voxels);
    return conv_cuda_read<T>(dy, k, row, conv_cuda_place_of(dy, voxel));
  }
  __device__ float right(int k, int column) const {
    int voxel = conv_cuda_split(k, by_voxels), channel = conv_cuda_split(column, x.by_channels);
    struct conv_cuda_place place =
        source_place(problem, conv_cuda_place_of(dy, voxel), kernel_place(problem, column));
    return conv_cuda_read<T>(x, k, channel, place);
  }
};

/* Adds to `sum` the product over depths [from, to) of the block's tile, whose first row and column
 * are given. */
template <int ROWS, int COLUMNS, class Pass>
__device__ static void multiply(const Pass &pass, int first_row, int first_column, int from, int to,
                                float (&sum)[ROWS][COLUMNS]) {
  enum { HIGH = SIDE * ROWS, WIDE = SIDE * COLUMNS };
  __shared__ float left[DEPTH][HIGH + 1], right[DEPTH][WIDE + 1];
  for (int start = from; start < to; start += DEPTH) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      int at = threadIdx.x + i * THREADS;
      int k = pass.left_depth() ? at % DEPTH : at / HIGH;
      int row = pass.left_depth() ? at / DEPTH : at % HIGH;
      bool inside = first_row + row < pass.rows && start + k < to;
      left[k][row] = inside ? pass.left(first_row + row, start + k) : 0;
    }
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
      int at = threadIdx.x + j * THREADS;
      int k = pass.right_depth() ? at % DEPTH : at / WIDE;
      int column = pass.right_depth() ? at / DEPTH : at % WIDE;
      bool inside = first_column + column < pass.columns && start + k < to;
      right[k][column] = inside ? pass.right(start + k, first_column + column) : 0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      float row[ROWS];
#pragma unroll
      for (int i = 0; i < ROWS; i++) row[i] = left[k][threadIdx.x / SIDE + i * SIDE];
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        float column = right[k][threadIdx.x % SIDE + j * SIDE];
#pragma unroll
        for (int i = 0; i < ROWS; i++) sum[i][j] += row[i] * column;
      }
    }
  }
}

/* Calls each(row, column, sum) for the elements of this thread. */
template <int ROWS, int COLUMNS, class Pass, class Each>
__device__ static void visit(const Pass &pass, float (&sum)[ROWS][COLUMNS], const Each &each) {
#pragma unroll
  for (int i = 0; i < ROWS; i++)
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
      int row = (blockIdx.x * ROWS + i) * SIDE + threadIdx.x / SIDE;
      int column = (blockIdx.y * COLUMNS + j) * SIDE + threadIdx.x % SIDE;
      if (row < pass.rows && column < pass.columns) each(row, column, sum[i][j]);
    }
}

/* Puts the sum of row `row` (a voxel of sample n) and column `column` (a channel) where it belongs.
 */
template <typename T>
__device__ static void finish(const struct conv_cuda_field &to, void *data, int n, int row,
                              int column, float value, const struct conv_cuda_end &end) {
  int64_t at = n * to.strides.sample + row * to.strides.voxel + column * to.strides.channel;
  float *wide = static_cast<float *>(data) + at;
  T *narrow = static_cast<T *>(data) + at;
  if (end.bias) value += end.bias[column];
  value = value > 0 ? value : value * end.slope;
  if (to.wide)
    *wide = end.add ? *wide + value : value;
  else
    *narrow = from_float<T>(end.add ? to_float(*narrow) + value : value);
}

struct forward_inputs {
  struct conv_cuda_field x[OP_MAX_INPUTS];
  int64_t offset[OP_MAX_INPUTS]; /* of the weights */
  int count;
};

template <typename T, int ROWS, int COLUMNS>
static __global__ void __launch_bounds__(THREADS)
    any_forward(forward_pass<T> pass, const struct forward_inputs inputs,
                const struct conv_cuda_end end, void *y) {
  float sum[ROWS][COLUMNS] = {};
  pass.n = blockIdx.z;
  for (int i = 0; i < inputs.count; i++) {
    pass.x = inputs.x[i];
    pass.problem.weights.offset = inputs.offset[i];
    multiply<ROWS, COLUMNS>(pass, blockIdx.x * ROWS * SIDE, blockIdx.y * COLUMNS * SIDE, 0,
                            pass.problem.taps * pass.x.channels, sum);
  }
  visit<ROWS, COLUMNS>(pass, sum, [&](int row, int column, float value) {
    finish<T>(pass.y, y, pass.n, row, column, value, end);
  });
}

template <typename T, int ROWS, int COLUMNS>
static __global__ void __launch_bounds__(THREADS)
    any_data(data_pass<T> pass, int depth, const struct conv_cuda_end end, void *dx) {
  float sum[ROWS][COLUMNS] = {};
  pass.n = blockIdx.z;
  multiply<ROWS, COLUMNS>(pass, blockIdx.x * ROWS * SIDE, blockIdx.y * COLUMNS * SIDE, 0, depth,
                          sum);
  visit<ROWS, COLUMNS>(pass, sum, [&](int row, int column, float value) {
    finish<T>(pass.x, dx, pass.n, row, column, value, end);
  });
}

/* Block z computes chunk z: partial [chunk][co][tap][channel]. */
template <typename T, int ROWS, int COLUMNS>
static __global__ void __launch_bounds__(THREADS)
    any_weights(weights_pass<T> pass, int depth, int each, float *partial) {
  float sum[ROWS][COLUMNS] = {};
  int from = blockIdx.z * each, to = depth - from < each ? depth : from + each;
  multiply<ROWS, COLUMNS>(pass, blockIdx.x * ROWS * SIDE, blockIdx.y * COLUMNS * SIDE, from, to,
                          sum);
  partial += (int64_t)blockIdx.z * pass.rows * pass.columns;
  visit<ROWS, COLUMNS>(pass, sum, [&](int row, int column, float value) {
    partial[(int64_t)row * pass.columns + column] = value;
  });
}

/* Adds the chunks of element [co][tap][channel] in FOLD_SHARES shares and puts it into its place.
 */
static __global__ void __launch_bounds__(32 * FOLD_SHARES)
    any_fold(const float *partial, int chunks, struct problem problem, int channels, int count,
             float *dw) {
  __shared__ float shares[FOLD_SHARES][32];
  int at = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
  for (int chunk = threadIdx.y; chunk < chunks && at < count; chunk += FOLD_SHARES)
    sum += partial[(int64_t)chunk * count + at];
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || at >= count) return;
  for (int i = 1; i < FOLD_SHARES; i++) sum += shares[i][threadIdx.x];
  int channel = at % channels, row = at / channels, tap = row % problem.taps;
  const struct conv_cuda_weights &w = problem.weights;
  dw[w.offset + row / problem.taps * w.output + channel * w.input + tap] = sum;
}

/* Indices are counted in ints. */
static bool countable(const struct tensor *tensor) {
  return tensor->layout != LAYOUT_BLOCKED &&
         tensor->shape.n * shape_voxels(tensor->shape) < INT32_MAX - THREADS;
}

static bool applies(const struct node *node, int input) {
  (void)input;
  if (node->activation == DTYPE_F64 || !countable(&node->y)) return false;
  for (int i = 0; i < node->input_count; i++)
    if (!countable(&node->x[i])) return false;
  return true;
}

/* The grid of a product of so many rows and columns. */
static dim3 grid_of(int rows, int columns, int high, int wide, int depth) {
  return dim3(cuda_blocks(rows, SIDE * high), cuda_blocks(columns, SIDE * wide), (unsigned)depth);
}

template <typename T>
static void forward(const struct node *node, const struct io *io, const struct conv_cuda_end *end,
                    struct stream *stream) {
  const struct conv_arguments *a = conv_arguments_of(node);
  forward_pass<T> pass;
  memset(&pass, 0, sizeof pass);
  pass.problem = problem_of(node, 0);
  pass.y = conv_cuda_field_of(&node->y, io->y, false);
  pass.w = (const float *)io->w[CONV_WEIGHT];
  pass.rows = (int)shape_voxels(node->y.shape);
  pass.columns = node->y.shape.c;
  struct forward_inputs inputs;
  memset(&inputs, 0, sizeof inputs);
  inputs.count = node->input_count;
  for (int i = 0; i < node->input_count; i++) {
    inputs.x[i] = conv_cuda_field_of(&node->x[i], io->x[i], a->upsample[i]);
    inputs.offset[i] = conv_cuda_weights_of(node, i).offset;
  }
  int n = node->y.shape.n;
  if (pass.columns <= SIDE)
    CUDA_LAUNCH((any_forward<T, 4, 1>), grid_of(pass.rows, pass.columns, 4, 1, n), THREADS, 0,
                stream, pass, inputs, *end, io->y);
  else
    CUDA_LAUNCH((any_forward<T, 4, 4>), grid_of(pass.rows, pass.columns, 4, 4, n), THREADS, 0,
                stream, pass, inputs, *end, io->y);
}

template <typename T>
static void data(const struct node *node, const struct io *io, int input,
                 const struct conv_cuda_end *end, struct stream *stream) {
  data_pass<T> pass;
  memset(&pass, 0, sizeof pass);
  const struct tensor *x = &node->x[input];
  bool upsample = conv_arguments_of(node)->upsample[input];
  pass.problem = problem_of(node, input);
  pass.x = conv_cuda_field_of(x, io->x[input], upsample);
  pass.dy = conv_cuda_field_of(&node->y, io->dy, false);
  pass.w = (const float *)io->w[CONV_WEIGHT];
  pass.rows = (int)shape_voxels(x->shape);
  pass.columns = x->shape.c;
  int depth = (upsample ? 8 : 1) * pass.problem.taps * node->y.shape.c;
  if (pass.columns <= SIDE)
    CUDA_LAUNCH((any_data<T, 4, 1>), grid_of(pass.rows, pass.columns, 4, 1, x->shape.n), THREADS, 0,
                stream, pass, depth, *end, io->dx[input]);
  else
    CUDA_LAUNCH((any_data<T, 4, 4>), grid_of(pass.rows, pass.columns, 4, 4, x->shape.n), THREADS, 0,
                stream, pass, depth, *end, io->dx[input]);
}

/* How the voxels of the weight gradient are cut: by the shapes alone. */
struct cut {
  int rows, columns, high, depth, each, chunks;
};

static struct cut cut_of(const struct node *node, int input) {
  struct cut cut;
  cut.rows = node->y.shape.c;
  cut.columns = (int)conv_cuda_weights_of(node, input).input * node->x[input].shape.c;
  cut.high = cut.rows <= SIDE ? 1 : 4;
  cut.depth = (int)(node->y.shape.n * shape_voxels(node->y.shape));
  dim3 tiles = grid_of(cut.rows, cut.columns, cut.high, 4, 1);
  int wanted = (int)cuda_blocks(WANTED_BLOCKS, tiles.x * tiles.y);
  int most = (int)cuda_blocks(cut.depth, LEAST_VOXELS);
  cut.chunks = wanted < most ? wanted : most;
  cut.each = (int)cuda_blocks(cut.depth, cut.chunks);
  cut.chunks = (int)cuda_blocks(cut.depth, cut.each);
  return cut;
}

template <typename T>
static void weights(const struct node *node, const struct io *io, int input, float *partial,
                    struct stream *stream) {
  struct cut cut = cut_of(node, input);
  weights_pass<T> pass;
  memset(&pass, 0, sizeof pass);
  bool upsample = conv_arguments_of(node)->upsample[input];
  pass.problem = problem_of(node, input);
  pass.x = conv_cuda_field_of(&node->x[input], io->x[input], upsample);
  pass.dy = conv_cuda_field_of(&node->y, io->dy, false);
  pass.rows = cut.rows;
  pass.columns = cut.columns;
  pass.by_voxels = conv_cuda_divider_of((int)shape_voxels(node->y.shape));
  dim3 grid = grid_of(cut.rows, cut.columns, cut.high, 4, cut.chunks);
  if (cut.high == 1)
    CUDA_LAUNCH((any_weights<T, 1, 4>), grid, THREADS, 0, stream, pass, cut.depth, cut.each,
                partial);
  else
    CUDA_LAUNCH((any_weights<T, 4, 4>), grid, THREADS, 0, stream, pass, cut.depth, cut.each,
                partial);
  int count = cut.rows * cut.columns;
  CUDA_LAUNCH(any_fold, cuda_blocks(count, 32), dim3(32, FOLD_SHARES), 0, stream, partial,
              cut.chunks, pass.problem, pass.x.channels, count, (float *)io->dw[CONV_WEIGHT]);
}

static void run_forward(const struct node *node, const struct io *io, int input,
                        const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)input, (void)workspace;
  if (node->activation == DTYPE_F32) forward<float>(node, io, end, stream);
  if (node->activation == DTYPE_BF16) forward<__nv_bfloat16>(node, io, end, stream);
  if (node->activation == DTYPE_F16) forward<__half>(node, io, end, stream);
}

static void run_data(const struct node *node, const struct io *io, int input,
                     const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)workspace;
  if (node->activation == DTYPE_F32) data<float>(node, io, input, end, stream);
  if (node->activation == DTYPE_BF16) data<__nv_bfloat16>(node, io, input, end, stream);
  if (node->activation == DTYPE_F16) data<__half>(node, io, input, end, stream);
}

static void run_weights(const struct node *node, const struct io *io, int input,
                        const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  (void)end;
  float *partial = (float *)workspace;
  if (node->activation == DTYPE_F32) weights<float>(node, io, input, partial, stream);
  if (node->activation == DTYPE_BF16) weights<__nv_bfloat16>(node, io, input, partial, stream);
  if (node->activation == DTYPE_F16) weights<__half>(node, io, input, partial, stream);
}

static size_t partial_bytes(const struct node *node, int input) {
  struct cut cut = cut_of(node, input);
  return sizeof(float) * cut.chunks * cut.rows * cut.columns;
}

const struct conv_cuda_part conv_cuda_any_forward = {applies, NULL, run_forward};
const struct conv_cuda_part conv_cuda_any_data = {applies, NULL, run_data};
const struct conv_cuda_part conv_cuda_any_weights = {applies, partial_bytes, run_weights};
