/* loss_dice on the GPU: partial volumes [n K DICE_SUMS][blocks] are folded into saved[0], from
 * which the loss and the slopes follow. */
#include "kernels/common/cuda_bits.h"
#include "kernels/common/cuda_logits.h"
#include "kernels/common/cuda_sums.h"
extern "C" {
#include "kernels/loss_dice/loss_dice.h"
}

enum { VOXELS_OF_THREAD = 32 /* under sigmoids */, EIGHT = 3 * BITS_LANES };

/* --- softmax, forward --- */

/* Adds the volumes of a tile's rows, which are probabilities, to those of the block: a warp for
 * each class. */
__device__ inline void add_rows(const struct cuda_logits &logits, const float *rows,
                                const unsigned char *labels, bool squared, double *volumes) {
  const int lane = threadIdx.x % CUDA_WARP;
  for (int k = (int)threadIdx.x / CUDA_WARP; k < logits.shape.classes;
       k += LOGITS_THREADS / CUDA_WARP) {
    float sums[DICE_SUMS] = {0, 0, 0};
    for (int v = lane; v < LOGITS_THREADS; v += CUDA_WARP) {
      const float p = rows[v * logits.pitch + k];
      const bool own = labels[v] == k;
      sums[DICE_OVERLAP] += own ? p : 0;
      sums[DICE_PREDICTED] += squared ? p * p : p;
      sums[DICE_TRUE] += own ? 1 : 0;
    }
#pragma unroll
    for (int s = 0; s < DICE_SUMS; s++) {
      const float sum = warp_sum(sums[s]);
      if (lane == 0) volumes[k * DICE_SUMS + s] += (double)sum;
    }
  }
}

template <typename T, bool FINER>
__global__ void __launch_bounds__(LOGITS_THREADS)
    dice_softmax(const __grid_constant__ struct cuda_logits logits, const T *x,
                 const unsigned char *labels, bool squared, double *partial) {
  CUDA_DYNAMIC_SHARED(float, rows);
  __shared__ double volumes[LOGITS_MOST_CLASSES * DICE_SUMS];
  __shared__ unsigned char own[LOGITS_THREADS];
  const int classes = logits.shape.classes;
  float *row = rows + threadIdx.x * logits.pitch, largest;
  const int end = min((int)(blockIdx.x + 1) * logits.chunk, logits.voxels);
  for (int i = (int)threadIdx.x; i < classes * DICE_SUMS; i += LOGITS_THREADS) volumes[i] = 0;
  for (int first = blockIdx.x * logits.chunk; first < end; first += LOGITS_THREADS) {
    const int label = logits_begin_tile<T, FINER>(logits, x, labels, first, rows);
    own[threadIdx.x] = (unsigned char)label;
    if (label < classes) {
      const float share = 1 / logits_powers(row, classes, &largest);
      for (int k = 0; k < classes; k++) row[k] *= share;
    } else {
      logits_clear_row(row, classes);
    }
    __syncthreads();
    add_rows(logits, rows, own, squared, volumes);
  }
  __syncthreads();
  for (int i = (int)threadIdx.x; i < classes * DICE_SUMS; i += LOGITS_THREADS)
    partial[((int64_t)blockIdx.y * classes * DICE_SUMS + i) * gridDim.x + blockIdx.x] = volumes[i];
}

/* --- sigmoid, forward --- */

/* A block's threads are rows of all bytes of a voxel. */
static inline __host__ __device__ int rows_of(const struct cuda_bits &bits) {
  return BITS_THREADS / bits.groups;
}

template <typename T>
__global__ void __launch_bounds__(BITS_THREADS)
    dice_sigmoid(const __grid_constant__ struct cuda_bits bits, const T *x,
                 const unsigned char *map, bool squared, double *partial) {
  __shared__ float shared[BITS_THREADS][EIGHT + 1];
  const int rows = rows_of(bits), row = (int)threadIdx.x / bits.groups;
  const int group = (int)threadIdx.x % bits.groups, lane = (int)threadIdx.x % CUDA_WARP;
  const int first = blockIdx.x * rows * VOXELS_OF_THREAD + row;
  float sums[DICE_SUMS][BITS_LANES] = {};
  for (int i = 0; i < VOXELS_OF_THREAD && row < rows; i++) {
    const struct bits_item item = {first + i * rows, group};
    float z[BITS_LANES];
    if (item.voxel >= bits.voxels) break;
    const unsigned truth = bits_load(bits, x, map, blockIdx.y, item, z);
#pragma unroll
    for (int l = 0; l < BITS_LANES; l++) {
      const float p = bits_sigmoid(z[l]).p, own = (float)(truth >> l & 1);
      sums[DICE_OVERLAP][l] += own * p;
      sums[DICE_PREDICTED][l] += squared ? p * p : p;
      sums[DICE_TRUE][l] += own;
    }
  }
#pragma unroll
  for (int l = 0; l < BITS_LANES; l++)
#pragma unroll
    for (int s = 0; s < DICE_SUMS; s++) shared[threadIdx.x][l * DICE_SUMS + s] = sums[s][l];
  __syncthreads();
  for (int i = (int)threadIdx.x / CUDA_WARP; i < bits.classes * DICE_SUMS;
       i += BITS_THREADS / CUDA_WARP) {
    double sum = 0;
    for (int r = lane; r < rows; r += CUDA_WARP)
      sum += (double)shared[r * bits.groups + i / EIGHT][i % EIGHT];
    sum = warp_sum(sum);
    const int64_t at = (int64_t)blockIdx.y * bits.classes * DICE_SUMS + i;
    if (lane == 0) partial[at * gridDim.x + blockIdx.x] = sum;
  }
}

/* --- the loss --- */

__global__ void __launch_bounds__(CUDA_FOLD_THREADS)
    dice_finish(const __grid_constant__ struct loss_dice_terms terms, const double *sums,
                double *y) {
  double loss = 0;
  for (int i = (int)threadIdx.x; i < terms.samples * terms.classes; i += CUDA_FOLD_THREADS)
    loss += loss_dice_part(&terms, sums, i / terms.classes, i % terms.classes);
  loss = block_sum<CUDA_FOLD_THREADS>(loss);
  if (threadIdx.x == 0) *y = loss;
}

static bool is_softmax(const struct node *node) {
  return loss_dice_arguments_of(node)->activation == LOSS_DICE_SOFTMAX;
}

static bool applies(const struct node *node) {
  if (is_softmax(node)) return cuda_logits_applies(node);
  return cuda_bits_applies(node) && node->x[1].shape.c <= BITS_THREADS;
}

/* Of the kernels that measure volumes. */
static dim3 grid_of(const struct node *node) {
  if (is_softmax(node)) return cuda_logits_grid(cuda_logits_of(node));
  const struct cuda_bits bits = cuda_bits_of(node);
  return dim3(cuda_blocks(bits.voxels, rows_of(bits) * VOXELS_OF_THREAD), (unsigned)bits.samples);
}

static int sum_count(const struct node *node) {
  return node->x[0].shape.n * node->x[0].shape.c * DICE_SUMS;
}

static size_t partial_bytes(const struct node *node) {
  return sizeof(double) * (size_t)sum_count(node) * grid_of(node).x;
}

static void prepare(struct node *node) {
  if (!batch_sums_given(node)) node->forward_workspace = partial_bytes(node);
}

template <typename T>
static void measure_blocks(const struct node *node, const struct io *io, struct stream *stream) {
  const dim3 grid = grid_of(node);
  const bool squared = loss_dice_arguments_of(node)->squared;
  const T *x = (const T *)io->x[0];
  const unsigned char *truth = (const unsigned char *)io->x[1];
  double *partial = (double *)io->workspace;
  if (!is_softmax(node)) {
    CUDA_LAUNCH(dice_sigmoid<T>, grid, BITS_THREADS, 0, stream, cuda_bits_of(node), x, truth,
                squared, partial);
    return;
  }
  const struct cuda_logits logits = cuda_logits_of(node);
  const size_t bytes = cuda_logits_rows(logits);
  if (logits.finer)
    CUDA_LAUNCH((dice_softmax<T, true>), grid, LOGITS_THREADS, bytes, stream, logits, x, truth,
                squared, partial);
  else
    CUDA_LAUNCH((dice_softmax<T, false>), grid, LOGITS_THREADS, bytes, stream, logits, x, truth,
                squared, partial);
}

/* The volumes of every sample; partial sums are made in the workspace. */
template <typename T>
static void measure(const struct node *node, const struct io *io, double *sums,
                    struct stream *stream) {
  measure_blocks<T>(node, io, stream);
  cuda_fold((const double *)io->workspace, grid_of(node).x, sum_count(node), 1.0, sums, stream);
}

/* Those of a given batch, and the number of calls. */
template <typename T>
__global__ void __launch_bounds__(CUDA_FOLD_THREADS)
    dice_take(const __grid_constant__ struct cuda_sums<T> batch, int first, int count,
              double *sums) {
  for (int i = (int)threadIdx.x; i <= count; i += CUDA_FOLD_THREADS)
    sums[i] = batch.at(i < count ? first + i : batch.calls);
}

template <typename T>
static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  double *sums = (double *)io->saved[0];
  if (batch_sums_given(node))
    CUDA_LAUNCH(dice_take<T>, 1, CUDA_FOLD_THREADS, 0, stream, cuda_sums_of<T>(node, io),
                loss_dice_arguments_of(node)->sum, node->x[0].shape.c * DICE_SUMS, sums);
  else
    measure<T>(node, io, sums, stream);
  CUDA_LAUNCH(dice_finish, 1, CUDA_FOLD_THREADS, 0, stream, loss_dice_terms_of(node), sums,
              (double *)io->y);
  return cuda_launched(node->name);
}

/* --- the volumes --- */

/* The workspace of dice_volumes: partial sums, then those of every sample. */
static void prepare_volumes(struct node *node) {
  node->forward_workspace = partial_bytes(node) + sizeof(double) * (size_t)sum_count(node);
}

__global__ void __launch_bounds__(CUDA_FOLD_THREADS)
    dice_give(const double *sums, int samples, int own, float *y) {
  const int s = (int)(blockIdx.x * CUDA_FOLD_THREADS + threadIdx.x);
  double sum = 0;
  if (s >= own) return;
  for (int n = 0; n < samples; n++) sum += sums[n * own + s];
  y[s] = (float)sum;
}

template <typename T>
static enum status give_volumes(const struct node *node, const struct io *io,
                                struct stream *stream) {
  double *sums = (double *)io->workspace + partial_bytes(node) / sizeof(double);
  const int own = node->x[0].shape.c * DICE_SUMS;
  measure<T>(node, io, sums, stream);
  CUDA_LAUNCH(dice_give, cuda_blocks(own, CUDA_FOLD_THREADS), CUDA_FOLD_THREADS, 0, stream, sums,
              node->x[0].shape.n, own, (float *)io->y);
  return cuda_launched(node->name);
}

/* --- backward --- */

/* Both kinds of walk begin with a table of slopes: by overlap, then by volume. */
struct dice_loss {
  enum { FLOATS = 2 * LOGITS_MOST_CLASSES };
  struct loss_dice_terms terms;
  const double *sums, *dy;

  size_t floats(const struct cuda_bits &bits) const {
    return 2 * (size_t)bits.classes;
  }

  __device__ void fill(int n, float *own) const {
    for (int k = (int)threadIdx.x; k < terms.classes; k += (int)blockDim.x) {
      const struct loss_dice_slopes slopes = loss_dice_slopes_of(&terms, sums, *dy, n, k);
      own[k] = slopes.overlap;
      own[terms.classes + k] = slopes.volume;
    }
    __syncthreads();
  }
  __device__ void begin(const struct logits &, int n, float *own) const {
    fill(n, own);
  }
  __device__ void begin(const struct cuda_bits &, int n, float *own) const {
    fill(n, own);
  }

  /* By the probability of class k. */
  __device__ float by_chance(float p, bool truth, int k, const float *own) const {
    const float volume = own[terms.classes + k] * (terms.squared ? 2 * p : 1);
    return truth ? volume + own[k] : volume;
  }

  __device__ float slope(float z, bool truth, int channel, const float *own) const {
    const struct bits_chance chance = bits_sigmoid(z);
    return chance.p * chance.rest * by_chance(chance.p, truth, channel, own);
  }

  __device__ void slopes(float *row, int classes, int label, const float *own) const {
    float largest, mean = 0;
    const float share = 1 / logits_powers(row, classes, &largest);
    for (int k = 0; k < classes; k++) {
      const float p = row[k] * share;
      mean += p * by_chance(p, k == label, k, own);
      row[k] = p;
    }
    for (int k = 0; k < classes; k++) row[k] *= by_chance(row[k], k == label, k, own) - mean;
  }
};

template <typename T>
static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  const struct dice_loss loss = {loss_dice_terms_of(node), (const double *)io->saved[0],
                                 (const double *)io->dy};
  if (is_softmax(node)) return logits_backward<T>(node, io, loss, stream);
  return cuda_bits_backward<T>(node, io, loss, stream);
}

#define LOSS_DICE_CUDA(suffix, type, element) \
  CUDA_KERNEL(loss_dice_cuda, suffix) = {     \
      .name = "hand",                         \
      .device = DEVICE_CUDA,                  \
      .dtype = type,                          \
      .training = true,                       \
      .applies = applies,                     \
      .prepare = prepare,                     \
      .forward = forward<element>,            \
      .backward = backward<element>,          \
  };                                          \
  CUDA_KERNEL(dice_volumes_cuda, suffix) = {  \
      .name = "hand",                         \
      .device = DEVICE_CUDA,                  \
      .dtype = type,                          \
      .training = true,                       \
      .applies = applies,                     \
      .prepare = prepare_volumes,             \
      .forward = give_volumes<element>,       \
      .backward = dice_volumes_backward,      \
  }
LOSS_DICE_CUDA(f32, DTYPE_F32, float);
LOSS_DICE_CUDA(bf16, DTYPE_BF16, __nv_bfloat16);
LOSS_DICE_CUDA(f16, DTYPE_F16, __half);
