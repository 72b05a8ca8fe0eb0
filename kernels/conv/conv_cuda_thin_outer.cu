/* The weight gradient between a thin side and a wide one: products of [taps, thin channels][voxels]
 * and [voxels][16 wide channels]. A tile of both lies in shared memory; each warp sums over some of
 * its rows, and blocks over a range of tiles. Their sums are added in order by a second kernel. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_outer.h"
#include "kernels/conv/conv_cuda_thin_tile.h"

enum {
  PLANES = 4, /* of a tile */
  ROWS = PLANES * THIN_HEIGHT,
  SEGMENTS = THIN_WIDTH / 16,
  WANTED_BLOCKS = 264, /* two for each multiprocessor of an H100 or H200 */
  LEAST_TILES = 2,     /* of a block */
  FOLD_SHARES = 8,
  FEW = 4, /* matrices of 16 taps and channels that a warp sums: as many as are needed of these */
  MANY = 6,
  MOST = 7,
  MOST_SHARED = 160 << 10,
};

struct outer_plan {
  struct thin_tiles tiles;
  int count;    /* of tiles, of all samples */
  int matrices; /* of 16 rows: taps of thin channels */
  int groups;   /* of 16 wide channels */
  int chunks;   /* ranges of tiles */
};

static struct outer_plan outer_plan_of(const struct thin_pair &pair) {
  struct outer_plan plan;
  plan.tiles = thin_tiles_of(pair, PLANES);
  plan.count = (int)thin_tile_count(pair, PLANES);
  int rows = pair.taps * pair.thin_channels;
  plan.matrices = rows <= 16 * FEW ? (int)FEW : rows <= 16 * MANY ? (int)MANY : (int)MOST;
  plan.groups = (pair.wide_channels + 15) / 16;
  int wanted = WANTED_BLOCKS / plan.groups, most = plan.count / LEAST_TILES;
  plan.chunks = wanted < most ? wanted : most;
  if (plan.chunks < 1) plan.chunks = 1;
  return plan;
}

static inline __host__ __device__ int wide_bytes(size_t element) {
  return (int)ROWS * (int)THIN_WIDTH * 16 * (int)element;
}

/* Bytes: the tile of the thin side and of the wide side; later the sums of all warps. */
static size_t outer_shared(const struct thin_pair &pair, const struct outer_plan &plan,
                           enum dtype type) {
  size_t tile = sizeof(unsigned) * pair.thin_channels * thin_box_of(pair, PLANES).plane +
                wide_bytes(dtype_bytes(type));
  size_t sums = sizeof(float) * THIN_WARPS * plan.matrices * 256;
  return tile > sums ? tile : sums;
}

/* Starts copying 16 channels of a tile of the wide side: rows of voxels. */
template <typename T>
static __device__ void load_wide(const struct thin_pair &pair, const T *wide, int sample,
                                 const int (&start)[3], int first, unsigned char *to) {
  enum { EACH = 16 / sizeof(T), CHUNKS = 16 / EACH };
  for (int i = threadIdx.x; i < wide_bytes(sizeof(T)) / 16; i += THIN_THREADS) {
    int column = i / CHUNKS % THIN_WIDTH, row = i / CHUNKS / THIN_WIDTH;
    int d = start[0] + row / THIN_HEIGHT, h = start[1] + row % THIN_HEIGHT, w = start[2] + column;
    int channel = first + (i % CHUNKS ^ outer_swizzle<CHUNKS>(column)) * EACH;
    bool inside = d < pair.wide_extent[0] && h < pair.wide_extent[1] && w < pair.wide_extent[2] &&
                  channel < pair.wide_channels;
    int64_t voxel = (((int64_t)sample * pair.wide_extent[0] + d) * pair.wide_extent[1] + h) *
                        pair.wide_extent[2] +
                    w;
    const T *from = inside ? wide + voxel * pair.wide_channels + channel : wide;
    cuda_copy_start(cuda_shared_of(to + i * 16), from, inside);
  }
}

/* 16 rows of words by 16 voxels: a lane's voxels from `low` (row lane / 4) and `high` (row lane / 4
 * + 8) on. */
template <typename T>
static __device__ inline void take_left(typename outer_matrix<T>::left &left, const unsigned *low,
                                        const unsigned *high) {
  left.value[0] = low[0];
  left.value[1] = high[0];
  left.value[2] = low[8];
  left.value[3] = high[8];
}
template <>
__device__ inline void take_left<float>(outer_matrix<float>::left &left, const unsigned *low,
                                        const unsigned *high) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    left.value[i / 2][i % 2 * 2] = __uint_as_float(low[i * 4]);
    left.value[i / 2][i % 2 * 2 + 1] = __uint_as_float(high[i * 4]);
  }
}

/* The rows of the tile that are this warp's. `places` are where a lane's rows begin. */
template <typename T, int MATRICES>
static __device__ __forceinline__ void add_tile(const struct thin_box &box, const unsigned *thin,
                                                const unsigned char *wide,
                                                const int (&places)[MATRICES][2],
                                                float (&sum)[MATRICES][2][4]) {
  enum { CHUNKS = sizeof(T), STEP = 4 / sizeof(T), BYTES = 16 * sizeof(T) };
  unsigned offset = outer_matrix<T>::template right_offset<CHUNKS>();
  for (int row = threadIdx.x / 32; row < ROWS; row += THIN_WARPS)
#pragma unroll
    for (int segment = 0; segment < SEGMENTS; segment++) {
      typename outer_matrix<T>::right right;
      outer_matrix<T>::load(right, wide + (row * THIN_WIDTH + segment * 16) * BYTES, offset);
      const unsigned *own = thin +
                            (row / THIN_HEIGHT * box.height + row % THIN_HEIGHT) * THIN_PITCH +
                            segment * 16 + threadIdx.x % 4 * STEP;
#pragma unroll
      for (int m = 0; m < MATRICES; m++) {
        typename outer_matrix<T>::left left;
        take_left<T>(left, own + places[m][0], own + places[m][1]);
        outer_matrix<T>::multiply(sum[m], left, right);
      }
    }
}

/* Adds the sums of all warps and writes them: [16 * matrix + row][16 wide channels]. */
template <int MATRICES>
static __device__ void write_sums(const float (&sum)[MATRICES][2][4], float *shared, float *to) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int m = 0; m < MATRICES; m++)
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int row = m * 16 + lane / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      shared[(warp * MATRICES * 16 + row) * 16 + column] = sum[m][i / 4][i % 4];
    }
  __syncthreads();
  for (int i = threadIdx.x; i < MATRICES * 256; i += THIN_THREADS) {
    float total = shared[i];
    for (int w = 1; w < THIN_WARPS; w++) total += shared[w * MATRICES * 256 + i];
    to[i] = total;
  }
}

/* Block chunk * groups + group. Rows are thin channels of all taps. */
template <typename T, int MATRICES>
static __global__ void __launch_bounds__(THIN_THREADS, MATRICES * sizeof(T) > 2 * MANY ? 1 : 2)
    sum_tiles(const struct thin_pair pair, const struct outer_plan plan, const T *wide,
              float *partial) {
  CUDA_DYNAMIC_SHARED(unsigned, thin);
  const struct thin_box box = thin_box_of(pair, PLANES);
  unsigned char *wide_tile =
      reinterpret_cast<unsigned char *>(thin + pair.thin_channels * box.plane);
  int group = blockIdx.x % plan.groups, chunk = blockIdx.x / plan.groups;
  int places[MATRICES][2];
#pragma unroll
  for (int i = 0; i < 2 * MATRICES; i++) {
    int row = i * 8 + threadIdx.x % 32 / 4;
    places[i / 2][i % 2] =
        row < pair.taps * pair.thin_channels
            ? row / pair.taps * box.plane + thin_tap_words(pair, box, row % pair.taps)
            : 0;
  }
  float sum[MATRICES][2][4] = {};
  int end = (int)((int64_t)plan.count * (chunk + 1) / plan.chunks);
  for (int tile = (int)((int64_t)plan.count * chunk / plan.chunks); tile < end; tile++) {
    int start[3], sample = thin_tile_find(plan.tiles, PLANES, tile, start);
    load_wide<T>(pair, wide, sample, start, group * 16, wide_tile);
    cuda_copy_close();
    thin_fill<T, thin_voxel_words<T>, 4>(pair, box, pair.thin_channels, sample, start, thin);
    cuda_copy_wait<0>();
    __syncthreads();
    add_tile<T, MATRICES>(box, thin, wide_tile, places, sum);
    __syncthreads();
  }
  write_sums<MATRICES>(sum, reinterpret_cast<float *>(thin),
                       partial + (int64_t)blockIdx.x * MATRICES * 256);
}

/* dw of element [group][row][16 wide channels]: the chunks in FOLD_SHARES shares. */
static __global__ void __launch_bounds__(32 * FOLD_SHARES)
    fold_tiles(const struct thin_pair pair, const struct outer_plan plan, const float *partial,
               float *dw) {
  __shared__ float shares[FOLD_SHARES][32];
  int at = blockIdx.x * 32 + threadIdx.x, size = plan.groups * plan.matrices * 256;
  float sum = 0;
  for (int chunk = threadIdx.y; chunk < plan.chunks; chunk += FOLD_SHARES)
    sum += partial[(int64_t)chunk * size + at];
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0) return;
  for (int i = 1; i < FOLD_SHARES; i++) sum += shares[i][threadIdx.x];
  int group = at / (plan.matrices * 256), row = at % (plan.matrices * 256) / 16;
  int wide = group * 16 + at % 16;
  if (row >= pair.taps * pair.thin_channels || wide >= pair.wide_channels) return;
  dw[thin_weight_at(pair, row / pair.taps, wide, row % pair.taps)] = sum;
}

bool thin_outer_fits(const struct thin_pair *pair, enum dtype type) {
  return pair->kernel[2] < THIN_PITCH - THIN_WIDTH &&
         pair->taps * pair->thin_channels <= 16 * MOST &&
         pair->wide_channels * dtype_bytes(type) % 16 == 0 &&
         thin_tile_count(*pair, PLANES) < INT32_MAX &&
         outer_shared(*pair, outer_plan_of(*pair), type) <= MOST_SHARED;
}

size_t thin_outer_bytes(const struct thin_pair *pair, enum dtype type) {
  (void)type;
  struct outer_plan plan = outer_plan_of(*pair);
  return sizeof(float) * plan.chunks * plan.groups * plan.matrices * 256;
}

template <typename T, int MATRICES>
static void launch(const struct thin_pair &pair, const struct outer_plan &plan, enum dtype type,
                   const void *wide, float *partial, struct stream *stream) {
  size_t shared = outer_shared(pair, plan, type);
  cudaFuncSetAttribute(sum_tiles<T, MATRICES>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       (int)shared);
  CUDA_LAUNCH((sum_tiles<T, MATRICES>), plan.chunks * plan.groups, THIN_THREADS, shared, stream,
              pair, plan, (const T *)wide, partial);
}

template <typename T>
static void launch_matrices(const struct thin_pair &pair, const struct outer_plan &plan,
                            enum dtype type, const void *wide, float *partial,
                            struct stream *stream) {
  if (plan.matrices == FEW) launch<T, FEW>(pair, plan, type, wide, partial, stream);
  if (plan.matrices == MANY) launch<T, MANY>(pair, plan, type, wide, partial, stream);
  if (plan.matrices == MOST) launch<T, MOST>(pair, plan, type, wide, partial, stream);
}

void thin_outer(const struct thin_pair *pair, enum dtype type, const void *wide, float *dw,
                float *partial, struct stream *stream) {
  struct outer_plan plan = outer_plan_of(*pair);
  if (type == DTYPE_F32) launch_matrices<float>(*pair, plan, type, wide, partial, stream);
  if (type == DTYPE_BF16) launch_matrices<__nv_bfloat16>(*pair, plan, type, wide, partial, stream);
  if (type == DTYPE_F16) launch_matrices<__half>(*pair, plan, type, wide, partial, stream);
  CUDA_LAUNCH(fold_tiles, plan.groups * plan.matrices * 256 / 32, dim3(32, FOLD_SHARES), 0, stream,
              *pair, plan, partial, dw);
}
