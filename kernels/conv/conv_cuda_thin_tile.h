/* The thin side of a convolution in shared memory: planes of 32-bit words, one for each voxel of a
 * box with margins. What a word holds differs: see the functors. */
#pragma once
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_thin.h"

enum {
  THIN_WIDTH = 32, /* voxels of a tile along w */
  THIN_HEIGHT = 8, /* along h */
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

/* value / divisor for small numbers; inverse = 65536 / divisor + 1. */
static __device__ inline int thin_divide(int value, int inverse) {
  return value * inverse >> 16;
}

/* Fills the words of a channel, stored as S, from its data for `sample`; the box begins at `first`.
 * Several loads are under way before the first value is stored. */
template <typename S, class Words>
static __device__ inline void thin_fill_channel(const struct thin_pair &pair,
                                                const struct thin_box &box, int channel, int sample,
                                                const int (&first)[3], unsigned *words) {
  constexpr int BATCH = 4;
  const struct thin_channel &source = pair.thin[channel];
  const S *from = static_cast<const S *>(source.data) + sample * source.sample;
  const int rows = box.depth * box.height, margin = pair.kernel[2] - 1;
  const int count = rows * (THIN_WIDTH + margin), by_height = 65536 / box.height + 1;
  const int by_margin = 65536 / (margin + !margin) + 1;
  for (int start = threadIdx.x; start < count; start += BATCH * THIN_THREADS) {
    float value[BATCH];
    int row[BATCH], column[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      int i = start + b * THIN_THREADS, behind = i - rows * THIN_WIDTH;
      row[b] = behind < 0 ? i / THIN_WIDTH : thin_divide(behind, by_margin);
      column[b] = behind < 0 ? i % THIN_WIDTH : THIN_WIDTH + behind - row[b] * margin;
      int down = thin_divide(row[b], by_height), d = first[0] + down;
      int h = first[1] + row[b] - down * box.height, w = first[2] + column[b];
      bool inside = i < count && (unsigned)d < (unsigned)pair.thin_extent[0] &&
                    (unsigned)h < (unsigned)pair.thin_extent[1] &&
                    (unsigned)w < (unsigned)pair.thin_extent[2];
      int voxel = (d * pair.thin_extent[1] + h) * pair.thin_extent[2] + w;
      value[b] = inside ? to_float(from[(int64_t)voxel * source.voxel]) : 0;
    }
#pragma unroll
    for (int b = 0; b < BATCH; b++)
      if (start + b * THIN_THREADS < count)
        Words::put(words, box, channel, row[b] * THIN_PITCH + column[b], column[b], value[b]);
  }
}

/* Fills the words of `channels` channels (those that are not there with zeros) for the tile that
 * begins at `start` (d h w). */
template <typename T, class Words>
static __device__ inline void thin_fill(const struct thin_pair &pair, const struct thin_box &box,
                                        int channels, int sample, const int (&start)[3],
                                        unsigned *words) {
  const int first[3] = {start[0] + pair.first[0], start[1] + pair.first[1],
                        start[2] + pair.first[2]};
  for (int channel = 0; channel < channels; channel++)
    if (channel >= pair.thin_channels)
      for (int at = threadIdx.x; at < box.plane; at += THIN_THREADS)
        Words::put(words, box, channel, at, 0, 0);
    else if (pair.thin[channel].wide)
      thin_fill_channel<float, Words>(pair, box, channel, sample, first, words);
    else
      thin_fill_channel<T, Words>(pair, box, channel, sample, first, words);
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
