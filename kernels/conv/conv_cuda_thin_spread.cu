/* From a thin side to a wide one: a matrix product [voxels][taps, thin channels] * [taps, thin
 * channels][16 wide channels]. The thin side lies in shared memory; 4 bytes of its channels at a
 * tap are one word of the depth. */
#include "kernels/common/cuda.h"
#include "kernels/common/cuda_matrix.h"
#include "kernels/common/cuda_vector.h"
#include "kernels/conv/conv_cuda_thin_tile.h"

enum {
  PLANES = THIN_WARPS, /* of a tile: one for each warp */
  ROWS = 2,            /* along h that a warp computes together */
  SEGMENTS = THIN_WIDTH / 16,
  MATRICES = ROWS * SEGMENTS,
  MOST_TILES = 16,  /* of a block */
  PROCESSORS = 132, /* multiprocessors of an H100 or H200: how tiles are dealt out */
  MOST_SHARED = 100 << 10,
};

struct spread_plan {
  struct thin_tiles tiles;
  int count;  /* of tiles, of all samples */
  int each;   /* tiles of a block */
  int planes; /* of words */
  int depth;  /* words, a multiple of 8 */
  int groups; /* of 16 wide channels */
};

/* 16-bit types leave room for 3 blocks on a multiprocessor, float32 for 2. */
static constexpr int blocks_side_by_side(size_t element) {
  return element == 2 ? 3 : 2;
}

/* How many tiles a block takes: what ends soonest, and of that the most, as each block prepares the
 * weights. */
static int tiles_of_block(int64_t count, int slots) {
  int best = 1;
  int64_t least = INT64_MAX;
  for (int each = 1; each <= MOST_TILES; each++) {
    int64_t rounds = cuda_blocks(cuda_blocks(count, each), slots);
    if (rounds * each > least) continue;
    least = rounds * each;
    best = each;
  }
  return best;
}

static struct spread_plan spread_plan_of(const struct thin_pair &pair, enum dtype type) {
  struct spread_plan plan;
  int each = (int)(4 / dtype_bytes(type));
  plan.tiles = thin_tiles_of(pair, PLANES);
  plan.count = (int)thin_tile_count(pair, PLANES);
  plan.each = tiles_of_block(plan.count, PROCESSORS * blocks_side_by_side(dtype_bytes(type)));
  plan.planes = (pair.thin_channels + each - 1) / each;
  plan.depth = (pair.taps * plan.planes + 7) / 8 * 8;
  plan.groups = (pair.wide_channels + 15) / 16;
  return plan;
}

/* Bytes: the box, where each word of the depth lies in it, the weights. */
static size_t spread_shared(const struct thin_pair &pair, const struct spread_plan &plan) {
  size_t words = (size_t)plan.planes * thin_box_of(pair, PLANES).plane;
  return 4 * (words + plan.depth + (size_t)plan.groups * plan.depth * 16);
}

/* The weights as multiplies take them: [group][depth / 8][lane][matrix][half of the depth]. Column
 * n of matrix i is channel 4 (n / 2) + 2 i + n % 2, so that a lane's results are 4 neighbours. */
template <typename T>
static __device__ void pack_weights(const struct thin_pair &pair, const struct spread_plan &plan,
                                    const float *weights, unsigned *packed) {
  enum { EACH = 4 / sizeof(T) };
  for (int at = threadIdx.x; at < plan.groups * plan.depth * 16; at += THIN_THREADS) {
    int half = at % 2, matrix = at / 2 % 2, lane = at / 4 % 32, step = at / 128;
    int word = step % (plan.depth / 8) * 8 + half * 4 + lane % 4, column = lane / 4;
    int wide = step / (plan.depth / 8) * 16 + column / 2 * 4 + matrix * 2 + column % 2;
    int tap = word / plan.planes, thin = word % plan.planes * EACH;
    float pairs[2] = {0, 0};
    for (int e = 0; e < EACH; e++)
      if (tap < pair.taps && thin + e < pair.thin_channels && wide < pair.wide_channels)
        pairs[e] = weights[thin_weight_at(pair, thin + e, wide, tap)];
    packed[at] = thin_pack<T>(pairs[0], pairs[1]);
  }
}

/* sum[m] += a[m] * b for matrices in words: b holds both halves of matrix 0, then of matrix 1. */
template <typename T>
struct spread_multiply {
  static __device__ void add(float (&sum)[MATRICES][2][4], const unsigned (&a)[MATRICES][4],
                             const uint4 &b) {
    const unsigned first[2] = {b.x, b.y}, second[2] = {b.z, b.w};
#pragma unroll
    for (int m = 0; m < MATRICES; m++) {
      cuda_matrix_multiply<T>(sum[m][0], a[m], first);
      cuda_matrix_multiply<T>(sum[m][1], a[m], second);
    }
  }
};

/* Floats as sums of two TF32 numbers. */
template <>
struct spread_multiply<float> {
  static __device__ void split(unsigned bits, unsigned &high, unsigned &low) {
    float value = __uint_as_float(bits);
    high = cuda_matrix_tf32(value);
    low = cuda_matrix_tf32(value - cuda_matrix_tf32_float(high));
  }
  static __device__ void add(float (&sum)[MATRICES][2][4], const unsigned (&a)[MATRICES][4],
                             const uint4 &b) {
    unsigned b_high[2][2], b_low[2][2];
    split(b.x, b_high[0][0], b_low[0][0]);
    split(b.y, b_high[0][1], b_low[0][1]);
    split(b.z, b_high[1][0], b_low[1][0]);
    split(b.w, b_high[1][1], b_low[1][1]);
#pragma unroll
    for (int m = 0; m < MATRICES; m++) {
      unsigned high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; i++) split(a[m][i], high[i], low[i]);
#pragma unroll
      for (int j = 0; j < 2; j++)
        cuda_matrix_multiply_split(sum[m][j], high, low, b_high[j], b_low[j]);
    }
  }
};

/* `count` of four neighbouring channels of a voxel. */
template <typename S>
static __device__ void write_some(S *to, int count, bool add, const float (&value)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (i < count) to[i] = from_float<S>(add ? to_float(to[i]) + value[i] : value[i]);
}

/* A lane's results: 4 channels from `channel` on of voxels that begin at h w of row `row - h` of
 * all rows, stored as S. */
template <typename S>
static __device__ __forceinline__ void finish(const struct thin_pair &pair,
                                              const struct thin_result &result,
                                              const float (&sum)[MATRICES][2][4], int64_t row,
                                              int channel, int h, int w) {
  const int stride = pair.wide_channels, width = pair.wide_extent[2], count = stride - channel;
  const bool together = stride % 4 == 0 && !result.add && count > 0;
  float bias[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4 && result.bias; i++)
    if (i < count) bias[i] = result.bias[channel + i];
  S *to = static_cast<S *>(result.data) + (row * width + w) * stride + channel;
#pragma unroll
  for (int m = 0; m < 2 * MATRICES; m++) {
    const int down = m / 2 / SEGMENTS, right = m / 2 % SEGMENTS * 16 + m % 2 * 8;
    if (h + down >= pair.wide_extent[1] || w + right >= width) continue;
    float value[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float x = sum[m / 2][i / 2][m % 2 * 2 + i % 2] + bias[i];
      value[i] = x > 0 ? x : x * result.slope;
    }
    if (together)
      cuda_store<S, 4>(to + (down * width + right) * stride, value);
    else
      write_some<S>(to + (down * width + right) * stride, count, result.add, value);
  }
}

/* Sums of MATRICES x 16 voxels for a group of 16 channels; `own` is this lane's first word. */
template <typename T>
static __device__ __forceinline__ void sum_group(const unsigned *own, const int *places,
                                                 const uint4 *packed, int depth,
                                                 float (&sum)[MATRICES][2][4]) {
  int lane = threadIdx.x % 32;
#pragma unroll 2
  for (int step = 0; step < depth / 8; step++) {
    const unsigned *low = own + places[step * 8 + lane % 4];
    const unsigned *high = own + places[step * 8 + lane % 4 + 4];
    unsigned a[MATRICES][4];
#pragma unroll
    for (int m = 0; m < MATRICES; m++) {
      int at = m / SEGMENTS * THIN_PITCH + m % SEGMENTS * 16;
      a[m][0] = low[at];
      a[m][1] = low[at + 8];
      a[m][2] = high[at];
      a[m][3] = high[at + 8];
    }
    spread_multiply<T>::add(sum, a, packed[step * 32 + lane]);
  }
}

/* The rows of one plane of a tile: those of this warp. */
template <typename T>
static __device__ __forceinline__ void spread_plane(const struct thin_pair &pair,
                                                    const struct spread_plan &plan,
                                                    const struct thin_result &result,
                                                    const unsigned *words, const int *places,
                                                    const uint4 *packed, int sample,
                                                    const int (&start)[3]) {
  const struct thin_box box = thin_box_of(pair, PLANES);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = start[0] + warp;
  const unsigned *own = words + warp * box.height * THIN_PITCH + lane / 4;
  for (int row = 0; row < THIN_HEIGHT && d < pair.wide_extent[0]; row += ROWS)
    for (int group = 0; group < plan.groups; group++) {
      float sum[MATRICES][2][4] = {};
      sum_group<T>(own + row * THIN_PITCH, places, packed + group * plan.depth * 4, plan.depth,
                   sum);
      int channel = group * 16 + lane % 4 * 4, h = start[1] + row, w = start[2] + lane / 4;
      int64_t rows = ((int64_t)sample * pair.wide_extent[0] + d) * pair.wide_extent[1] + h;
      if (result.wide)
        finish<float>(pair, result, sum, rows, channel, h, w);
      else
        finish<T>(pair, result, sum, rows, channel, h, w);
    }
}

/* A block computes its tiles one after another. */
template <typename T>
static __global__ void __launch_bounds__(THIN_THREADS, blocks_side_by_side(sizeof(T)))
    spread(const struct thin_pair pair, const struct spread_plan plan, const float *weights,
           const struct thin_result result) {
  CUDA_DYNAMIC_SHARED(unsigned, words);
  const struct thin_box box = thin_box_of(pair, PLANES);
  uint4 *packed = reinterpret_cast<uint4 *>(words + plan.planes * box.plane);
  int *places = reinterpret_cast<int *>(packed + plan.groups * plan.depth * 4);
  pack_weights<T>(pair, plan, weights, reinterpret_cast<unsigned *>(packed));
  for (int i = threadIdx.x; i < plan.depth; i += THIN_THREADS)
    places[i] = i < pair.taps * plan.planes
                    ? i % plan.planes * box.plane + thin_tap_words(pair, box, i / plan.planes)
                    : 0;
#pragma unroll 1
  for (int tile = blockIdx.x * plan.each; tile < plan.count; tile++) {
    if (tile == (int)(blockIdx.x + 1) * plan.each) break;
    int start[3], sample = thin_tile_find(plan.tiles, PLANES, tile, start);
    thin_fill<T, thin_channel_words<T>, 7>(pair, box, plan.planes * (4 / (int)sizeof(T)), sample,
                                           start, words);
    __syncthreads();
    spread_plane<T>(pair, plan, result, words, places, packed, sample, start);
    __syncthreads();
  }
}

bool thin_spread_fits(const struct thin_pair *pair, enum dtype type) {
  return pair->kernel[2] <= THIN_PITCH - THIN_WIDTH + 1 &&
         spread_shared(*pair, spread_plan_of(*pair, type)) <= MOST_SHARED &&
         thin_tile_count(*pair, PLANES) < INT32_MAX;
}

template <typename T>
static void launch(const struct thin_pair &pair, enum dtype type, const float *weights,
                   const struct thin_result &result, struct stream *stream) {
  struct spread_plan plan = spread_plan_of(pair, type);
  size_t shared = spread_shared(pair, plan);
  cudaFuncSetAttribute(spread<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
  CUDA_LAUNCH((spread<T>), cuda_blocks(plan.count, plan.each), THIN_THREADS, shared, stream, pair,
              plan, weights, result);
}

void thin_spread(const struct thin_pair *pair, enum dtype type, const float *weights,
                 const struct thin_result *result, struct stream *stream) {
  if (type == DTYPE_F32) launch<float>(*pair, type, weights, *result, stream);
  if (type == DTYPE_BF16) launch<__nv_bfloat16>(*pair, type, weights, *result, stream);
  if (type == DTYPE_F16) launch<__half>(*pair, type, weights, *result, stream);
}
