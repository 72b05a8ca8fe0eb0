/* Convolution passes on tensor cores. Nothing is gathered into a matrix: the window of source
 * voxels that a tile reads lies in shared memory, and each tap is a shift of the addresses that
 * fragments are loaded from. Rows of a warp lie along h, so a fragment of source voxels serves up
 * to three taps. */
#include "kernels/common/cuda_matrix.h"
#include "kernels/conv/conv_cuda_matrix.h"

/* Which part of the pass a block is at work on. */
struct cursor {
  int tile, source, chunk, tap;
  int window; /* of the places in shared memory */
};

__device__ static inline struct cursor cursor_next_chunk(const struct matrix_pass &pass,
                                                         struct cursor at) {
  at.tap = 0;
  at.window = pass.stages - 1 - at.window;
  if (++at.chunk < pass.source[at.source].chunks) return at;
  at.chunk = 0;
  if (++at.source < pass.count) return at;
  at.source = 0;
  at.tile += gridDim.x;
  return at;
}

__device__ static inline struct cursor cursor_next(const struct matrix_pass &pass,
                                                   struct cursor at) {
  if (++at.tap < pass.source[at.source].most_taps[0]) return at;
  return cursor_next_chunk(pass, at);
}

/* A tile's first voxel. */
struct place {
  int sample, channel_tile, at[3];
};

__device__ static inline struct place find_place(const struct matrix_pass &pass, int tile) {
  struct place place;
  unsigned index = (unsigned)tile;
  place.channel_tile = (int)(index % pass.channel_tiles), index /= pass.channel_tiles;
  for (int i = 2; i >= 0; i--) {
    place.at[i] = (int)(index % pass.tiles[i]) * pass.tile[i];
    index /= pass.tiles[i];
  }
  place.sample = (int)index;
  return place;
}

/* A warp's first voxel in the tile, its phase and its part of the channels. */
struct share {
  int d, h, phase_w, warp_n;
};

__device__ static inline struct share find_share(const struct matrix_pass &pass) {
  struct share share;
  int warp = threadIdx.x / 32;
  share.warp_n = warp % pass.warps_n, warp /= pass.warps_n;
  share.phase_w = warp % pass.strip, warp /= pass.strip;
  share.h = warp % pass.warps_h * pass.rows;
  share.d = warp / pass.warps_h;
  return share;
}

/* Whether a warp has any voxel of the target. */
__device__ static inline bool is_inside(const struct matrix_pass &pass, const struct place &place,
                                        const struct share &share) {
  return place.at[0] + share.d < pass.extent[0] && place.at[1] + share.h < pass.extent[1];
}

/* --- loading --- */

/* Where a voxel's row in shared memory keeps its first half: every second four voxels have them
 * swapped, so that fragments meet no bank twice. */
__device__ static inline int swapped(int position, int half) {
  return (position >> 2 & 1) ^ half;
}

/* Starts to copy the window of a chunk: each thread takes pieces of a plane through all planes. */
__device__ static void load_window(const struct matrix_pass &pass, struct cursor at,
                                   cuda_shared windows) {
  const struct place tile = find_place(pass, at.tile);
  const struct matrix_source &source = pass.source[at.source];
  int origin[3];
  for (int i = 0; i < 3; i++)
    origin[i] =
        (source.phases[i] == 2 ? tile.at[i] / 2 : tile.at[i] * source.step[i]) + source.origin[i];
  const int half = threadIdx.x & 1, byte = at.chunk * MATRIX_CHUNK + MATRIX_PIECE * half;
  const int shift = source.lane_step - 1; /* of 1 or 2 */
  const int64_t plane = (int64_t)source.extent[1] * source.extent[2] * source.voxel;
  const int plane_to = source.window[1] * source.pitch * MATRIX_CHUNK;
  const unsigned char *data = source.data + tile.sample * source.sample + origin[0] * plane + byte;
  for (int v = threadIdx.x >> 1; v < source.window[1] * source.window[2]; v += blockDim.x >> 1) {
    int v_h = (int)((uint64_t)v * source.reciprocal >> 32), v_w = v - v_h * source.window[2];
    int h = origin[1] + v_h, w = origin[2] + v_w;
    bool inside = byte < source.voxel && (unsigned)h < (unsigned)source.extent[1] &&
                  (unsigned)w < (unsigned)source.extent[2];
    const unsigned char *from = data + ((int64_t)h * source.extent[2] + w) * source.voxel;
    int position = (v_w & shift) * source.part + (v_w >> shift);
    cuda_shared row = windows + at.window * pass.window_bytes +
                      (v_h * source.pitch + position) * MATRIX_CHUNK +
                      MATRIX_PIECE * swapped(position, half);
    for (int d = 0; d < source.window[0]; d++) {
      cuda_copy_start(row, from, inside && (unsigned)(origin[0] + d) < (unsigned)source.extent[0]);
      row += plane_to;
      from += plane;
    }
  }
}

/* Starts to copy the weights of a tap along d. */
__device__ static void load_slice(const struct matrix_pass &pass, struct cursor at,
                                  cuda_shared to) {
  const struct matrix_source &source = pass.source[at.source];
  int64_t slice =
      ((int64_t)(at.tile % pass.channel_tiles) * source.chunks + at.chunk) * source.most_taps[0] +
      at.tap;
  const unsigned char *from = source.packed + slice * source.slice;
  for (int i = threadIdx.x * MATRIX_PIECE; i < source.slice; i += blockDim.x * MATRIX_PIECE)
    cuda_copy_start(to + i, from + i, true);
}

/* --- multiplying --- */

/* A fragment of COUNT registers. float32 is the sum of two TF32 values. */
template <typename T, int COUNT>
struct operand {
  unsigned value[COUNT];
};
template <int COUNT>
struct operand<float, COUNT> {
  unsigned value[COUNT], rest[COUNT];
};

template <typename T, int COUNT>
__device__ static inline void set_operand(struct operand<T, COUNT> &to, const unsigned *from) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) to.value[i] = from[i];
}
template <int COUNT>
__device__ static inline void set_operand(struct operand<float, COUNT> &to, const unsigned *from) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    float value = cuda_matrix_tf32_float(from[i]);
    to.value[i] = cuda_matrix_tf32(value);
    to.rest[i] = cuda_matrix_tf32(value - cuda_matrix_tf32_float(to.value[i]));
  }
}

template <typename T>
__device__ static inline void multiply(float (&c)[4], const struct operand<T, 4> &a,
                                       const struct operand<T, 2> &b) {
  cuda_matrix_multiply<T>(c, a.value, b.value);
}
__device__ static inline void multiply(float (&c)[4], const struct operand<float, 4> &a,
                                       const struct operand<float, 2> &b) {
  cuda_matrix_multiply<float>(c, a.rest, b.value);
  cuda_matrix_multiply<float>(c, a.value, b.rest);
  cuda_matrix_multiply<float>(c, a.value, b.value);
}

/* TAPS taps along h for every STRIDE-th of a warp's rows from FIRST on: row j of them reads source
 * row j + tap. `a` and `b` are the lane's addresses of the first, and the steps to the next.
 * float32 sums start anew here, since tensor cores truncate theirs: the error stays that of few
 * terms. */
template <typename T, int ROWS, int GROUPS, int TAPS, int FIRST, int STRIDE>
__device__ static inline void accumulate(float (&sums)[ROWS][GROUPS][4], cuda_shared a, int a_step,
                                         cuda_shared b, int b_step) {
  constexpr int USED = (ROWS - FIRST + STRIDE - 1) / STRIDE;
  constexpr bool ANEW = sizeof(T) == 4;
  struct operand<T, 2> weights[TAPS][GROUPS];
  float anew[USED][GROUPS][4];
#pragma unroll
  for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
    for (int pair = 0; pair < GROUPS / 2; pair++) {
      unsigned loaded[4];
      cuda_matrix_load(loaded, b + tap * b_step + pair * 16 * MATRIX_CHUNK);
      set_operand(weights[tap][2 * pair], loaded);
      set_operand(weights[tap][2 * pair + 1], loaded + 2);
    }
#pragma unroll
  for (int i = 0; i < USED + TAPS - 1; i++) {
    struct operand<T, 4> voxels;
    unsigned loaded[4];
    cuda_matrix_load(loaded, a + i * a_step);
    set_operand(voxels, loaded);
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
      const int row = i - tap;
      if (row < 0 || row >= USED) continue;
#pragma unroll
      for (int group = 0; group < GROUPS; group++) {
        float(&sum)[4] = sums[FIRST + row * STRIDE][group];
        if (!ANEW) {
          multiply(sum, voxels, weights[tap][group]);
          continue;
        }
        float(&fresh)[4] = anew[row][group];
#pragma unroll
        for (int k = 0; k < 4 && tap == 0; k++) fresh[k] = 0;
        multiply(fresh, voxels, weights[tap][group]);
#pragma unroll
        for (int k = 0; k < 4 && tap == TAPS - 1; k++) sum[k] += fresh[k];
      }
    }
  }
}

/* Addresses of a lane for one tap along w, and the steps of rows and of taps along h. */
struct lane {
  cuda_shared a, b;
  int row, tap;
};

/* All taps along h where the source has one phase there: voxel h reads rows step*h + tap, so taps
 * of the same remainder by step share rows. */
template <typename T, int ROWS, int GROUPS>
__device__ static inline void accumulate_rows(float (&sums)[ROWS][GROUPS][4],
                                              const struct matrix_source &source,
                                              const struct lane &lane) {
  int step = source.step[1], taps = source.taps[1][0];
  for (int first = 0; first < step && first < taps; first++)
    for (int tap = first; tap < taps; tap += 3 * step) {
      cuda_shared a = lane.a + tap * lane.row, b = lane.b + tap * lane.tap;
      int left = (taps - tap + step - 1) / step, row = step * lane.row, next = step * lane.tap;
      if (left >= 3)
        accumulate<T, ROWS, GROUPS, 3, 0, 1>(sums, a, row, b, next);
      else if (left == 2)
        accumulate<T, ROWS, GROUPS, 2, 0, 1>(sums, a, row, b, next);
      else
        accumulate<T, ROWS, GROUPS, 1, 0, 1>(sums, a, row, b, next);
    }
}

/* The same for one of two phases. */
template <typename T, int ROWS, int GROUPS, int PHASE>
__device__ static inline void accumulate_phase(float (&sums)[ROWS][GROUPS][4],
                                               const struct matrix_source &source,
                                               const struct lane &lane) {
  int taps = source.taps[1][PHASE], phase = source.most_taps[1] * source.phases[2] * lane.tap;
  cuda_shared a = lane.a + source.offset[1][PHASE] * lane.row, b = lane.b + PHASE * phase;
  for (int tap = 0; tap < taps; tap += 2)
    if (taps - tap >= 2)
      accumulate<T, ROWS, GROUPS, 2, PHASE, 2>(sums, a + tap * lane.row, lane.row,
                                               b + tap * lane.tap, lane.tap);
    else
      accumulate<T, ROWS, GROUPS, 1, PHASE, 2>(sums, a + tap * lane.row, lane.row,
                                               b + tap * lane.tap, lane.tap);
}

/* Adds all taps of a tap along d to a warp's sums. */
template <typename T, int ROWS, int GROUPS, bool PHASED>
__device__ static inline void accumulate_slice(float (&sums)[ROWS][GROUPS][4],
                                               const struct matrix_pass &pass,
                                               const struct share &share, struct cursor at,
                                               cuda_shared window, cuda_shared slice) {
  const struct matrix_source &source = pass.source[at.source];
  const int thread = threadIdx.x % 32, tap_bytes = pass.block_channels * MATRIX_CHUNK;
  bool phased[3];
  for (int i = 0; i < 3; i++) phased[i] = PHASED && source.phases[i] == 2;
  int phase_d = phased[0] ? share.d & 1 : 0, phase_w = phased[2] ? share.phase_w : 0;
  if (at.tap >= source.taps[0][phase_d]) return;
  int d = (phased[0] ? share.d / 2 + source.offset[0][phase_d] : share.d * source.step[0]) + at.tap;
  int h = phased[1] ? share.h / 2 : share.h * source.step[1];
  int w = phased[2] ? source.offset[2][phase_w] : share.phase_w * source.step[2];
  struct lane lane;
  lane.row = source.pitch * MATRIX_CHUNK;
  lane.tap = source.most_taps[2] * tap_bytes;
  int phase = phase_d * source.phases[1] * source.phases[2] + phase_w;
  int column = (thread >> 4) * 8 + (thread & 7);
  cuda_shared weights = slice + phase * source.most_taps[1] * lane.tap +
                        (share.warp_n * 8 * GROUPS + column) * MATRIX_CHUNK +
                        16 * swapped(column, thread >> 3 & 1);
  cuda_shared rows = window + (d * source.window[1] + h) * lane.row;
  int shift = source.lane_step - 1;
  for (int tap = 0; tap < source.taps[2][phase_w]; tap++) {
    int first = w + tap;
    int position = (first & shift) * source.part + (first >> shift) + (thread & 15);
    lane.a = rows + position * MATRIX_CHUNK + 16 * swapped(position, thread >> 4);
    lane.b = weights + tap * tap_bytes;
    if (phased[1]) {
      accumulate_phase<T, ROWS, GROUPS, 0>(sums, source, lane);
      accumulate_phase<T, ROWS, GROUPS, 1>(sums, source, lane);
    } else {
      accumulate_rows<T, ROWS, GROUPS>(sums, source, lane);
    }
  }
}

/* --- storing --- */

/* COUNT elements that lie side by side, moved as up to 16 bytes at once. */
template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT > 16 ? 16 : sizeof(T) * COUNT) together {
  T value[COUNT];
};

/* ALIGNED: a voxel's channels are a multiple of COUNT. */
template <typename T, bool ALIGNED, int COUNT>
__device__ static inline void store_voxel(T *to, float (&values)[COUNT], int count, bool add) {
  if (ALIGNED) {
    struct together<T, COUNT> result;
    if (add) {
      result = *(const struct together<T, COUNT> *)to;
#pragma unroll
      for (int i = 0; i < COUNT; i++) values[i] += to_float(result.value[i]);
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) result.value[i] = from_float<T>(values[i]);
    *(struct together<T, COUNT> *)to = result;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (i < count) to[i] = from_float<T>(add ? values[i] + to_float(to[i]) : values[i]);
  }
}

/* Finishes and stores a warp's sums: a lane has channels side by side. */
template <typename T, bool ALIGNED, int ROWS, int GROUPS>
__device__ static inline void store_rows(float (&sums)[ROWS][GROUPS][4],
                                         const struct matrix_pass &pass, const struct place &place,
                                         const struct share &share) {
  const int thread = threadIdx.x % 32, COUNT = 2 * GROUPS;
  int channel = place.channel_tile * pass.block_channels + (share.warp_n * 4 + thread % 4) * COUNT;
  int d = place.at[0] + share.d, h = place.at[1] + share.h, count = pass.channels - channel;
  float bias[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) bias[i] = pass.bias && i < count ? pass.bias[channel + i] : 0;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    int w = place.at[2] + share.phase_w + (thread / 4 + 8 * part) * pass.strip;
    int64_t line = ((int64_t)place.sample * pass.extent[0] + d) * pass.extent[1] + h;
    T *to = (T *)pass.target + (line * pass.extent[2] + w) * pass.channels + channel;
    if (count <= 0 || w >= pass.extent[2]) continue;
#pragma unroll
    for (int row = 0; row < ROWS; row++, to += (int64_t)pass.extent[2] * pass.channels) {
      float values[COUNT];
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        values[i] = sums[row][i / 2][2 * part + i % 2] + bias[i];
        values[i] = values[i] > 0 ? values[i] : pass.slope * values[i];
      }
      if (h + row < pass.extent[1]) store_voxel<T, ALIGNED>(to, values, count, pass.add);
    }
  }
}

/* Leaves the sums 0. */
template <typename T, int ROWS, int GROUPS>
__device__ static inline void store_sums(float (&sums)[ROWS][GROUPS][4],
                                         const struct matrix_pass &pass, const struct place &place,
                                         const struct share &share) {
  bool aligned = pass.channels % (2 * GROUPS) == 0;
  if (sizeof(T) == 4 || pass.wide) {
    if (aligned)
      store_rows<float, true>(sums, pass, place, share);
    else
      store_rows<float, false>(sums, pass, place, share);
  } else {
    if (aligned)
      store_rows<T, true>(sums, pass, place, share);
    else
      store_rows<T, false>(sums, pass, place, share);
  }
#pragma unroll
  for (int row = 0; row < ROWS; row++)
#pragma unroll
    for (int group = 0; group < GROUPS; group++)
#pragma unroll
      for (int k = 0; k < 4; k++) sums[row][group][k] = 0;
}

/* --- the kernel --- */

/* What the registers of a multiprocessor are cut for: nothing is kept in local memory. */
template <typename T>
constexpr int most_threads(int rows, int groups, bool phased) {
  return rows == 8 && groups == 2 && sizeof(T) == 2 && !phased ? 128 : 32 * MATRIX_MOST_WARPS;
}
template <typename T>
constexpr int least_blocks(int rows, int groups, bool phased) {
  if (most_threads<T>(rows, groups, phased) == 128) return 3;
  return rows == 4 && sizeof(T) == 2 ? 2 : 1;
}

/* While a slice is multiplied, the next one arrives, and where there are two places for windows the
 * window of the next chunk, for which all but the last slice of this one need not wait. */
/* A block takes tile after tile. While a slice is multiplied, the next one arrives, and where there
 * are two places for windows the window of the next chunk (of the next tile after the last one),
 * for which all but the last slice of this chunk need not wait. */
template <typename T, int ROWS, int GROUPS, bool PHASED>
__global__ void __launch_bounds__(most_threads<T>(ROWS, GROUPS, PHASED),
                                  least_blocks<T>(ROWS, GROUPS, PHASED))
    compute_pass(const __grid_constant__ struct matrix_pass pass) {
  CUDA_DYNAMIC_SHARED(unsigned char, shared);
  const cuda_shared windows = cuda_shared_of(shared);
  const cuda_shared slices = windows + pass.stages * pass.window_bytes;
  const struct share share = find_share(pass);
  float sums[ROWS][GROUPS][4] = {};
  struct cursor at = {(int)blockIdx.x, 0, 0, 0, 0};
  load_window(pass, at, windows);
  load_slice(pass, at, slices);
  cuda_copy_close();
  bool inside = is_inside(pass, find_place(pass, at.tile), share);
  bool later = false; /* the last group need not have arrived yet */
  for (int slice = 0; at.tile < pass.tile_count; slice = 1 - slice) {
    if (later)
      cuda_copy_wait<1>();
    else
      cuda_copy_wait<0>();
    __syncthreads();
    const struct cursor next = cursor_next(pass, at);
    if (next.tile < pass.tile_count)
      load_slice(pass, next, slices + (1 - slice) * pass.slice_bytes);
    cuda_copy_close();
    later = pass.stages == 2 && at.tap == 0;
    if (later) {
      const struct cursor chunk = cursor_next_chunk(pass, at);
      if (chunk.tile < pass.tile_count) load_window(pass, chunk, windows);
      cuda_copy_close();
      later = next.tap > 0;
    }
    if (inside)
      accumulate_slice<T, ROWS, GROUPS, PHASED>(sums, pass, share, at,
                                                windows + at.window * pass.window_bytes,
                                                slices + slice * pass.slice_bytes);
    if (pass.stages == 1 && next.tap == 0 && next.tile < pass.tile_count) {
      __syncthreads();
      load_window(pass, next, windows);
      cuda_copy_close();
    }
    if (next.tile != at.tile) {
      if (inside) store_sums<T>(sums, pass, find_place(pass, at.tile), share);
      inside = is_inside(pass, find_place(pass, next.tile), share);
    }
    at = next;
  }
}

/* --- launching --- */

template <typename T, int ROWS, int GROUPS, bool PHASED>
static void launch_as(const struct matrix_pass *pass, struct stream *stream) {
  int blocks = pass->tile_count < pass->blocks ? pass->tile_count : pass->blocks;
  size_t bytes = conv_cuda_matrix_shared(pass);
  cudaFuncSetAttribute(compute_pass<T, ROWS, GROUPS, PHASED>,
                       cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  CUDA_LAUNCH((compute_pass<T, ROWS, GROUPS, PHASED>), (unsigned)blocks,
              (unsigned)conv_cuda_matrix_threads(pass), bytes, stream, *pass);
}

/* The cuts that conv_cuda_matrix_plan makes. */
template <typename T>
static void launch(const struct matrix_pass *pass, struct stream *stream) {
  bool phased = pass->phases[0] * pass->phases[1] * pass->phases[2] > 1;
  bool wide = pass->warp_channels == 32;
  if (pass->rows == 4) return launch_as<T, 4, 2, false>(pass, stream);
  if constexpr (sizeof(T) == 2) {
    if (wide && phased) return launch_as<T, 8, 4, true>(pass, stream);
    if (wide) return launch_as<T, 8, 4, false>(pass, stream);
  }
  if (phased) return launch_as<T, 8, 2, true>(pass, stream);
  launch_as<T, 8, 2, false>(pass, stream);
}

static void compute(const struct node *node, const struct io *io, bool forward, int input,
                    struct matrix_pass *pass, void *workspace, struct stream *stream) {
  conv_cuda_matrix_pack(node, io, forward, input, pass, workspace, stream);
  if (node->activation == DTYPE_F32)
    launch<float>(pass, stream);
  else if (node->activation == DTYPE_BF16)
    launch<__nv_bfloat16>(pass, stream);
  else
    launch<__half>(pass, stream);
}

/* --- the parts of the conv kernel --- */

static bool forward_applies(const struct node *node, int input) {
  struct matrix_pass pass;
  (void)input;
  return conv_cuda_matrix_plan(node, true, 0, &pass);
}

static bool data_applies(const struct node *node, int input) {
  struct matrix_pass pass;
  return conv_cuda_matrix_plan(node, false, input, &pass);
}

static size_t workspace_of(const struct node *node, bool forward, int input) {
  struct matrix_pass pass;
  size_t bytes = 0;
  if (!conv_cuda_matrix_plan(node, forward, input, &pass)) return 0;
  for (int i = 0; i < pass.count; i++) bytes += conv_cuda_round(conv_cuda_matrix_packed(&pass, i));
  return bytes;
}

static size_t forward_workspace(const struct node *node, int input) {
  return workspace_of(node, true, input);
}

static size_t data_workspace(const struct node *node, int input) {
  return workspace_of(node, false, input);
}

static void forward_run(const struct node *node, const struct io *io, int input, void *workspace,
                        struct stream *stream) {
  const struct conv_arguments *a = conv_arguments_of(node);
  struct matrix_pass pass;
  if (!conv_cuda_matrix_plan(node, true, input, &pass)) return;
  for (int i = 0; i < pass.count; i++) pass.source[i].data = (const unsigned char *)io->x[i];
  pass.target = io->y;
  pass.bias = a->bias ? (const float *)io->w[CONV_BIAS] : NULL;
  pass.slope = a->slope;
  compute(node, io, true, input, &pass, workspace, stream);
}

static void data_run(const struct node *node, const struct io *io, int input, void *workspace,
                     struct stream *stream) {
  struct matrix_pass pass;
  if (!conv_cuda_matrix_plan(node, false, input, &pass)) return;
  pass.source[0].data = (const unsigned char *)io->dy;
  pass.target = io->dx[input];
  pass.slope = 1;
  pass.add = io->dx_add[input];
  compute(node, io, false, input, &pass, workspace, stream);
}

const struct conv_cuda_part conv_cuda_matrix_forward = {forward_applies, forward_workspace,
                                                        forward_run};
const struct conv_cuda_part conv_cuda_matrix_data = {data_applies, data_workspace, data_run};
