/* The thin side of a convolution in shared memory: planes of 32-bit words, one for each voxel of a
 * box with margins. What a word holds differs: see the functors. */
#pragma once
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_thin.h"

enum {
  THIN_WIDTH = 32, /* voxels of a tile along w */
  THIN_HEIGHT = 8, /* along h; no fewer than warps */
  THIN_PITCH = 44, /* words of a row: neighbouring rows begin in distant banks */
};

/* The box of words for a tile of so many planes. */
struct thin_box {
  int depth, height; /* rows along d, h */
  int plane;         /* words of one plane of words */
};
static inline __host__ __device__ struct thin_box thin_box_of(const struct thin_pair &pair,
                                                              int planes) {
  struct thin_box box;
  box.depth = planes + pair.kernel[0] - 1;
  box.height = THIN_HEIGHT + pair.kernel[1] - 1;
  box.plane = box.depth * box.height * THIN_PITCH;
  return box;
}

/* Words from a voxel's own place to where its tap lies. */
static inline __device__ int thin_tap_words(const struct thin_pair &pair,
                                            const struct thin_box &box, int tap) {
  int w = tap % pair.kernel[2], row = tap / pair.kernel[2];
  return (row / pair.kernel[1] * box.height + row % pair.kernel[1]) * THIN_PITCH + w;
}

/* What words hold: put(words, box, channel, at, value) stores a channel's value for the voxel of
 * word `at` of a plane. */

/* Channels that lie side by side: 2 of 16 bits, or 1 float. */
template <typename T>
struct thin_channel_words {
  static __device__ void put(unsigned *words, const struct thin_box &box, int channel, int at,
                             int column, float value) {
    (void)column;
    T *halves = reinterpret_cast<T *>(words + channel / 2 * box.plane + at);
    halves[channel % 2] = from_float<T>(value);
  }
};
template <>
struct thin_channel_words<float> {
  static __device__ void put(unsigned *words, const struct thin_box &box, int channel, int at,
                             int column, float value) {
    (void)column;
    words[channel * box.plane + at] = __float_as_uint(value);
  }
};

/* Of one channel voxels that lie side by side along w: this one and, of 16 bits, the next. */
template <typename T>
struct thin_voxel_words {
  static __device__ void put(unsigned *words, const struct thin_box &box, int channel, int at,
                             int column, float value) {
    T *halves = reinterpret_cast<T *>(words + channel * box.plane + at);
    halves[0] = from_float<T>(value);
    if (column > 0) halves[-1] = from_float<T>(value);
  }
};
template <>
struct thin_voxel_words<float> : thin_channel_words<float> {};

/* COUNT voxels of a sample that a thread fills the words of: -1 where there is none. */
template <int COUNT>
struct thin_voxels {
  int voxel[COUNT], at[COUNT], column[COUNT];
  bool written[COUNT];
};

static __device__ inline int thin_voxel(const struct thin_pair &pair, int d, int h, int w) {
  bool inside = (unsigned)d < (unsigned)pair.thin_extent[0] &&
                (unsigned)h < (unsigned)pair.thin_extent[1] &&
                (unsigned)w < (unsigned)pair.thin_extent[2];
  return inside ? (d * pair.thin_extent[1] + h) * pair.thin_extent[2] + w : -1;
}

/* All loads of a channel are under way before the first value is stored. Channels that are not
 * there are zeros. */
template <typename T, class Words, int COUNT>
static __device__ inline void thin_put(const struct thin_pair &pair, const struct thin_box &box,
                                       int channels, int sample, const thin_voxels<COUNT> &own,
                                       unsigned *words) {
#pragma unroll 1
  for (int c = 0; c < channels; c++) {
    float value[COUNT] = {};
    const struct thin_channel &source = pair.thin[c < pair.thin_channels ? c : 0];
    if (c >= pair.thin_channels) {
    } else if (source.wide) {
      const float *from = static_cast<const float *>(source.data) + sample * source.sample;
#pragma unroll
      for (int i = 0; i < COUNT; i++)
        if (own.voxel[i] >= 0) value[i] = from[(int64_t)own.voxel[i] * source.voxel];
    } else {
      const T *from = static_cast<const T *>(source.data) + sample * source.sample;
#pragma unroll
      for (int i = 0; i < COUNT; i++)
        if (own.voxel[i] >= 0) value[i] = to_float(from[(int64_t)own.voxel[i] * source.voxel]);
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (own.written[i]) Words::put(words, box, c, own.at[i], own.column[i], value[i]);
  }
}

/* Fills the words of `channels` channels for the tile that begins at `start` (d h w). A warp takes
 * row after row, BATCH at once; the margins along w come last. */
template <typename T, class Words, int BATCH>
static __device__ inline void thin_fill(const struct thin_pair &pair, const struct thin_box &box,
                                        int channels, int sample, const int (&start)[3],
                                        unsigned *words) {
  const int rows = box.depth * box.height, margin = pair.kernel[2] - 1;
  const int d = start[0] + pair.first[0], h = start[1] + pair.first[1];
  const int w = start[2] + pair.first[2], column = threadIdx.x % 32;
  int down = 0,
      right = threadIdx.x / 32; /* along d, h: there are no more warps than rows of a plane */
  for (int row = threadIdx.x / 32; row < rows; row += BATCH * THIN_WARPS) {
    thin_voxels<BATCH> own;
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      own.column[b] = column;
      own.at[b] = (row + b * THIN_WARPS) * THIN_PITCH + column;
      own.written[b] = row + b * THIN_WARPS < rows;
      own.voxel[b] = own.written[b] ? thin_voxel(pair, d + down, h + right, w + column) : -1;
      right += THIN_WARPS;
      if (right >= box.height) right -= box.height, down++;
    }
    thin_put<T, Words, BATCH>(pair, box, channels, sample, own, words);
  }
#pragma unroll 1
  for (int i = threadIdx.x; i < rows * margin; i += THIN_THREADS) {
    int row = i / margin;
    thin_voxels<1> own;
    own.column[0] = THIN_WIDTH + i - row * margin;
    own.at[0] = row * THIN_PITCH + own.column[0];
    own.written[0] = true;
    own.voxel[0] = thin_voxel(pair, d + row / box.height, h + row % box.height, w + own.column[0]);
    thin_put<T, Words, 1>(pair, box, channels, sample, own, words);
  }
}

/* Two numbers as a register of matrices of 16 bits has them; of floats the first. */
template <typename T>
static __device__ inline unsigned thin_pack(float low, float high) {
  const T halves[2] = {from_float<T>(low), from_float<T>(high)};
  unsigned word;
  memcpy(&word, halves, sizeof word);
  return word;
}
template <>
__device__ inline unsigned thin_pack<float>(float low, float) {
  return __float_as_uint(low);
}

/* Where a block's tile begins; tiles are numbered w fastest, then h, d, sample. */
struct thin_tiles {
  int count[3]; /* d h w */
};
static inline struct thin_tiles thin_tiles_of(const struct thin_pair &pair, int planes) {
  struct thin_tiles tiles = {{(int)cuda_blocks(pair.wide_extent[0], planes),
                              (int)cuda_blocks(pair.wide_extent[1], THIN_HEIGHT),
                              (int)cuda_blocks(pair.wide_extent[2], THIN_WIDTH)}};
  return tiles;
}
static inline int64_t thin_tile_count(const struct thin_pair &pair, int planes) {
  struct thin_tiles tiles = thin_tiles_of(pair, planes);
  return (int64_t)pair.samples * tiles.count[0] * tiles.count[1] * tiles.count[2];
}
static __device__ inline int thin_tile_find(const struct thin_tiles &tiles, int planes, int tile,
                                            int (&start)[3]) {
  start[2] = tile % tiles.count[2] * THIN_WIDTH;
  tile /= tiles.count[2];
  start[1] = tile % tiles.count[1] * THIN_HEIGHT;
  tile /= tiles.count[1];
  start[0] = tile % tiles.count[0] * planes;
  return tile / tiles.count[0];
}
