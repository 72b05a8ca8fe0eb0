/* From a wide side to a thin one: a matrix product [voxels][taps, wide channels] * [taps, wide
 * channels][8 thin channels, of which up to 4 are there]. A block goes along d; each plane of the
 * wide side comes to shared memory once, channels in chunks of 32 bytes, the next while one is
 * worked on. A warp takes 16 voxels along w in a few rows; every matrix that it loads serves all
 * taps along d and h that read it, whose results are sums in registers: of the planes of the thin
 * side that the plane of the wide side reaches. */
#include "kernels/common/cuda.h"
#include "kernels/common/cuda_matrix.h"
#include "kernels/conv/conv_cuda_thin.h"

enum {
  ROWS = 4,     /* of a warp */
  SEGMENTS = 2, /* of 16 voxels along w, a warp for each */
  WIDTH = 16 * SEGMENTS,
  HEIGHT = ROWS * THIN_WARPS / SEGMENTS,
  CHUNK = 32, /* bytes of a voxel's channels that a multiply takes */
  COLUMNS = 8,
  SLOTS = 264, /* blocks that an H100 or H200 runs side by side */
  MOST_SHARED = 100 << 10,
};

struct gather_source {
  const void *data;
  int channels, chunks;
  int64_t offset;
};

struct gather_plan {
  struct gather_source source[OP_MAX_INPUTS];
  int count, chunks; /* of all sources */
  int planes;        /* of the thin side for a block */
  int tiles[3];
  int rows, columns; /* of a plane of the wide side in shared memory */
};

/* Into how many planes along d blocks are cut: what ends soonest where SLOTS of them run at a time
 * and each has `margin` planes more to read. */
static int planes_of(int64_t tiles, int extent, int margin) {
  int best = extent;
  int64_t least = INT64_MAX;
  for (int cuts = 1; cuts <= extent; cuts++) {
    int planes = (int)cuda_blocks(extent, cuts);
    int64_t rounds = cuda_blocks(tiles * cuda_blocks(extent, planes), SLOTS);
    if (rounds * (planes + margin) >= least) continue;
    least = rounds * (planes + margin);
    best = planes;
  }
  return best;
}

static struct gather_plan gather_plan_of(const struct thin_pair &pair, enum dtype type,
                                         const struct thin_source *sources, int count) {
  struct gather_plan plan;
  memset(&plan, 0, sizeof plan);
  plan.count = count;
  for (int i = 0; i < count; i++) {
    int bytes = sources[i].channels * (int)dtype_bytes(type);
    struct gather_source source = {sources[i].data, sources[i].channels,
                                   (bytes + CHUNK - 1) / CHUNK, sources[i].offset};
    plan.source[i] = source;
    plan.chunks += source.chunks;
  }
  plan.tiles[1] = (int)cuda_blocks(pair.thin_extent[1], HEIGHT);
  plan.tiles[2] = (int)cuda_blocks(pair.thin_extent[2], WIDTH);
  int64_t tiles = (int64_t)pair.samples * plan.tiles[1] * plan.tiles[2];
  plan.planes = planes_of(tiles, pair.thin_extent[0], pair.kernel[0] - 1);
  plan.tiles[0] = (int)cuda_blocks(pair.thin_extent[0], plan.planes);
  plan.rows = HEIGHT + pair.kernel[1] - 1;
  plan.columns = WIDTH + pair.kernel[2] - 1;
  return plan;
}

static inline __host__ __device__ int plane_bytes(const struct gather_plan &plan) {
  return plan.rows * plan.columns * CHUNK;
}

/* Bytes: two planes, where their elements come from, the weights. */
static size_t gather_shared(const struct thin_pair &pair, const struct gather_plan &plan) {
  return 2 * (size_t)plane_bytes(plan) + plane_bytes(plan) / 16 * sizeof(int) +
         (size_t)plan.chunks * pair.taps * 32 * sizeof(uint2);
}

/* The weights as multiplies take them: [chunk][tap][lane][half of the depth]. */
template <typename T>
static __device__ void pack_weights(const struct thin_pair &pair, const struct gather_plan &plan,
                                    const float *weights, unsigned *packed) {
  enum { EACH = 4 / sizeof(T), CHANNELS = CHUNK / sizeof(T) };
  for (int at = threadIdx.x; at < plan.chunks * pair.taps * 64; at += THIN_THREADS) {
    int half = at % 2, lane = at / 2 % 32, tap = at / 64 % pair.taps, chunk = at / 64 / pair.taps;
    int source = 0;
    while (chunk >= plan.source[source].chunks) chunk -= plan.source[source++].chunks;
    int wide = chunk * CHANNELS + (half * 4 + lane % 4) * EACH, thin = lane / 4;
    const float *from = weights + plan.source[source].offset - pair.offset;
    float value[2] = {0, 0};
    for (int e = 0; e < EACH; e++)
      if (wide + e < plan.source[source].channels && thin < pair.thin_channels)
        value[e] = from[thin_weight_at(pair, thin, wide + e, tap)];
    if (EACH == 1) {
      memcpy(&packed[at], value, 4);
    } else {
      const T halves[2] = {from_float<T>(value[0]), from_float<T>(value[1])};
      memcpy(&packed[at], halves, 4);
    }
  }
}

/* Where the 16-byte pieces of a plane come from: twice the voxel of a plane plus the half of the
 * chunk; -1: outside. Halves change places so that 8 neighbouring voxels lie in different banks. */
static __device__ void make_table(const struct thin_pair &pair, const struct gather_plan &plan,
                                  const int (&start)[3], int *table) {
  for (int i = threadIdx.x; i < plan.rows * plan.columns * 2; i += THIN_THREADS) {
    int voxel = i / 2, row = voxel / plan.columns, column = voxel - row * plan.columns;
    int h = start[1] + pair.first[1] + row, w = start[2] + pair.first[2] + column;
    bool inside = h >= 0 && h < pair.wide_extent[1] && w >= 0 && w < pair.wide_extent[2];
    int half = (i ^ column >> 2) & 1;
    table[i] = inside ? (h * pair.wide_extent[2] + w) * 2 + half : -1;
  }
}

/* Starts copying chunk `chunk` of all sources of plane d. */
template <typename T>
static __device__ void load_plane(const struct thin_pair &pair, const struct gather_plan &plan,
                                  const int *table, int sample, int d, int chunk,
                                  unsigned char *to) {
  enum { EACH = 16 / sizeof(T) };
  int number = 0;
  while (chunk >= plan.source[number].chunks) chunk -= plan.source[number++].chunks;
  const struct gather_source &source = plan.source[number];
  bool present = d >= 0 && d < pair.wide_extent[0];
  const T *plane = static_cast<const T *>(source.data);
  if (present)
    plane += ((int64_t)sample * pair.wide_extent[0] + d) * pair.wide_extent[1] *
             pair.wide_extent[2] * source.channels;
  for (int i = threadIdx.x; i < plan.rows * plan.columns * 2; i += THIN_THREADS) {
    int at = table[i], channel = (chunk * 2 + (at & 1)) * EACH;
    bool inside = present && at >= 0 && channel < source.channels;
    const T *from = inside ? plane + (int64_t)(at >> 1) * source.channels + channel : plane;
    cuda_copy_start(cuda_shared_of(to + i * 16), from, inside);
  }
}

/* a * b added to sums: of 16 bits as they are, floats as sums of two TF32 numbers. */
template <typename T>
struct gather_matrix {
  struct left {
    unsigned value[4];
  };
  struct right {
    unsigned value[2];
  };
  static __device__ void set(struct left &to, const unsigned (&value)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) to.value[i] = value[i];
  }
  static __device__ void set(struct right &to, const uint2 &value) {
    to.value[0] = value.x;
    to.value[1] = value.y;
  }
  static __device__ void add(float (&sum)[4], const struct left &left, const struct right &right) {
    cuda_matrix_multiply<T>(sum, left.value, right.value);
  }
};
template <>
struct gather_matrix<float> {
  struct left {
    unsigned high[4], low[4];
  };
  struct right {
    unsigned high[2], low[2];
  };
  static __device__ void split(unsigned bits, unsigned &high, unsigned &low) {
    float value = __uint_as_float(bits);
    high = cuda_matrix_tf32(value);
    low = cuda_matrix_tf32(value - cuda_matrix_tf32_float(high));
  }
  static __device__ void set(struct left &to, const unsigned (&value)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) split(value[i], to.high[i], to.low[i]);
  }
  static __device__ void set(struct right &to, const uint2 &value) {
    split(value.x, to.high[0], to.low[0]);
    split(value.y, to.high[1], to.low[1]);
  }
  static __device__ void add(float (&sum)[4], const struct left &left, const struct right &right) {
    cuda_matrix_multiply_split(sum, left.high, left.low, right.high, right.low);
  }
};

/* Adds one chunk of a plane to the sums of the DEPTH planes of the thin side that it reaches; tap d
 * belongs to sum[(SLOT - d) mod DEPTH]. `own` is the warp's first row and segment. */
template <typename T, int DEPTH, int SIDE, int SLOT>
static __device__ __forceinline__ void add_plane(const unsigned char *own, int columns,
                                                 const uint2 *packed,
                                                 float (&sum)[DEPTH][ROWS][4]) {
  int lane = threadIdx.x % 32, voxel = lane % 16;
#pragma unroll 1
  for (int tap_w = 0; tap_w < SIDE; tap_w++) {
    typename gather_matrix<T>::right right[DEPTH][SIDE];
#pragma unroll
    for (int d = 0; d < DEPTH; d++)
#pragma unroll
      for (int h = 0; h < SIDE; h++)
        gather_matrix<T>::set(right[d][h], packed[((d * SIDE + h) * SIDE + tap_w) * 32 + lane]);
    int column = voxel + tap_w;
    const unsigned char *at = own + column * CHUNK + ((lane >> 4 ^ column >> 2) & 1) * 16;
#pragma unroll
    for (int row = 0; row < ROWS + SIDE - 1; row++) {
      unsigned value[4];
      typename gather_matrix<T>::left left;
      cuda_matrix_load(value, cuda_shared_of(at + row * columns * CHUNK));
      gather_matrix<T>::set(left, value);
#pragma unroll
      for (int h = 0; h < SIDE; h++)
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
          if (row >= h && row - h < ROWS)
            gather_matrix<T>::add(sum[(SLOT - d + DEPTH) % DEPTH][row - h], left, right[d][h]);
    }
  }
}

/* Writes what a lane has of plane d of the thin side, stored as S, for rows from h on: channels
 * 2 (lane % 4) and the next of voxels w and w + 8. */
template <typename S>
static __device__ void write_rows(const struct thin_pair &pair, const struct thin_result &result,
                                  int sample, int d, int h, int w, const float (&sum)[ROWS][4]) {
  const int channel = threadIdx.x % 4 * 2, width = pair.thin_extent[2];
  if (channel >= pair.thin_channels) return;
  const bool both = channel + 1 < pair.thin_channels;
  float bias[2] = {result.bias ? result.bias[channel] : 0,
                   result.bias && both ? result.bias[channel + 1] : 0};
  int64_t voxel = ((int64_t)d * pair.thin_extent[1] + h) * width + w;
  S *first = static_cast<S *>(result.data) + sample * result.strides.sample +
             voxel * result.strides.voxel + channel * result.strides.channel;
#pragma unroll
  for (int i = 0; i < ROWS * 4; i++) {
    int row = i / 4, right = i / 2 % 2 * 8, next = i % 2;
    if (h + row >= pair.thin_extent[1] || w + right >= width || (next && !both)) continue;
    S *to = first + (int64_t)(row * width + right) * result.strides.voxel +
            next * result.strides.channel;
    float value = sum[row][i % 4] + bias[next];
    value = value > 0 ? value : value * result.slope;
    *to = from_float<S>(result.add ? to_float(*to) + value : value);
  }
}

/* Writes plane d of the thin side if it is `inside`, and sets the sums to 0. */
template <typename T>
static __device__ void finish_plane(const struct thin_pair &pair, const struct thin_result &result,
                                    int sample, int d, int h, int w, bool inside,
                                    float (&sum)[ROWS][4]) {
  w += threadIdx.x % 32 / 4;
  if (inside && result.wide)
    write_rows<float>(pair, result, sample, d, h, w, sum);
  else if (inside)
    write_rows<T>(pair, result, sample, d, h, w, sum);
#pragma unroll
  for (int i = 0; i < ROWS * 4; i++) sum[i / 4][i % 4] = 0;
}

/* What stays the same while a block goes along d. */
struct gather_walk {
  int sample, start[3], planes; /* planes: of the wide side */
  const int *table;
  unsigned char *buffers;
  const uint2 *packed;
};

/* Plane number `plane` of a walk, where plane % DEPTH is SLOT. */
template <typename T, int DEPTH, int SIDE, int SLOT>
static __device__ __forceinline__ void walk_plane(const struct thin_pair &pair,
                                                  const struct gather_plan &plan,
                                                  const struct gather_walk &walk,
                                                  const struct thin_result &result, int plane,
                                                  float (&sum)[DEPTH][ROWS][4]) {
  int warp = threadIdx.x / 32, row = warp / SEGMENTS * ROWS, column = warp % SEGMENTS * 16;
  int bytes = plane_bytes(plan), depth = walk.start[0] + pair.first[0];
  if (plane >= walk.planes) return;
  for (int chunk = 0; chunk < plan.chunks; chunk++) {
    int turn = plane * plan.chunks + chunk;
    cuda_copy_wait<0>();
    __syncthreads();
    bool last = chunk + 1 == plan.chunks;
    if (turn + 1 < walk.planes * plan.chunks)
      load_plane<T>(pair, plan, walk.table, walk.sample, depth + plane + last, last ? 0 : chunk + 1,
                    walk.buffers + (turn + 1) % 2 * bytes);
    cuda_copy_close();
    add_plane<T, DEPTH, SIDE, SLOT>(
        walk.buffers + turn % 2 * bytes + (row * plan.columns + column) * CHUNK, plan.columns,
        walk.packed + chunk * pair.taps * 32, sum);
  }
  int d = walk.start[0] + plane - (DEPTH - 1);
  finish_plane<T>(pair, result, walk.sample, d, walk.start[1] + row, walk.start[2] + column,
                  plane >= DEPTH - 1, sum[(SLOT + 1) % DEPTH]);
}

template <typename T, int DEPTH, int SIDE>
static __global__ void __launch_bounds__(THIN_THREADS, sizeof(T) == 4 ? 1 : 2)
    gather(const struct thin_pair pair, const struct gather_plan plan, const float *weights,
           const struct thin_result result) {
  CUDA_DYNAMIC_SHARED(unsigned char, shared);
  unsigned *packed = reinterpret_cast<unsigned *>(shared + 2 * plane_bytes(plan));
  int *table = reinterpret_cast<int *>(packed + plan.chunks * pair.taps * 64);
  struct gather_walk walk;
  int tile = blockIdx.x;
  walk.start[2] = tile % plan.tiles[2] * WIDTH;
  tile /= plan.tiles[2];
  walk.start[1] = tile % plan.tiles[1] * HEIGHT;
  tile /= plan.tiles[1];
  walk.start[0] = tile % plan.tiles[0] * plan.planes;
  walk.sample = tile / plan.tiles[0];
  int rest = pair.thin_extent[0] - walk.start[0];
  walk.planes = (rest < plan.planes ? rest : plan.planes) + DEPTH - 1;
  walk.table = table;
  walk.buffers = shared;
  walk.packed = reinterpret_cast<const uint2 *>(packed);
  make_table(pair, plan, walk.start, table);
  pack_weights<T>(pair, plan, weights, packed);
  load_plane<T>(pair, plan, table, walk.sample, walk.start[0] + pair.first[0], 0, shared);
  cuda_copy_close();
  float sum[DEPTH][ROWS][4] = {};
  for (int plane = 0; plane < walk.planes; plane += DEPTH) {
    walk_plane<T, DEPTH, SIDE, 0>(pair, plan, walk, result, plane, sum);
    if (DEPTH < 3) continue;
    walk_plane<T, DEPTH, SIDE, 1 % DEPTH>(pair, plan, walk, result, plane + 1, sum);
    walk_plane<T, DEPTH, SIDE, 2 % DEPTH>(pair, plan, walk, result, plane + 2, sum);
  }
}

static bool is_kernel(const struct thin_pair *pair, int depth, int side) {
  return pair->kernel[0] == depth && pair->kernel[1] == side && pair->kernel[2] == side;
}

bool thin_gather_fits(const struct thin_pair *pair, enum dtype type) {
  if (!is_kernel(pair, 3, 3) && !is_kernel(pair, 1, 3) && !is_kernel(pair, 1, 1)) return false;
  if (pair->wide_channels * dtype_bytes(type) % 16 != 0) return false;
  if ((int64_t)pair->wide_extent[1] * pair->wide_extent[2] > INT32_MAX / 2) return false;
  /* sources may each fill their last chunk by half */
  struct thin_source most = {NULL, pair->wide_channels + OP_MAX_INPUTS * 8, 0};
  return gather_shared(*pair, gather_plan_of(*pair, type, &most, 1)) <= MOST_SHARED;
}

template <typename T, int DEPTH, int SIDE>
static void launch(const struct thin_pair &pair, const struct gather_plan &plan,
                   const float *weights, const struct thin_result &result, struct stream *stream) {
  size_t shared = gather_shared(pair, plan);
  unsigned blocks = (unsigned)(pair.samples * plan.tiles[0] * plan.tiles[1] * plan.tiles[2]);
  cudaFuncSetAttribute(gather<T, DEPTH, SIDE>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       (int)shared);
  CUDA_LAUNCH((gather<T, DEPTH, SIDE>), blocks, THIN_THREADS, shared, stream, pair, plan, weights,
              result);
}

template <typename T>
static void launch_kernel(const struct thin_pair &pair, const struct gather_plan &plan,
                          const float *weights, const struct thin_result &result,
                          struct stream *stream) {
  if (is_kernel(&pair, 3, 3)) launch<T, 3, 3>(pair, plan, weights, result, stream);
  if (is_kernel(&pair, 1, 3)) launch<T, 1, 3>(pair, plan, weights, result, stream);
  if (is_kernel(&pair, 1, 1)) launch<T, 1, 1>(pair, plan, weights, result, stream);
}

void thin_gather(const struct thin_pair *pair, enum dtype type, const struct thin_source *sources,
                 int count, const float *weights, const struct thin_result *result,
                 struct stream *stream) {
  struct gather_plan plan = gather_plan_of(*pair, type, sources, count);
  if (type == DTYPE_F32) launch_kernel<float>(*pair, plan, weights, *result, stream);
  if (type == DTYPE_BF16) launch_kernel<__nv_bfloat16>(*pair, plan, weights, *result, stream);
  if (type == DTYPE_F16) launch_kernel<__half>(*pair, plan, weights, *result, stream);
}
