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

template <typename T>
static __device__ inline float thin_read(const struct thin_pair &pair, int channel, int sample,
                                         int d, int h, int w) {
  if (channel >= pair.thin_channels || (unsigned)d >= (unsigned)pair.thin_extent[0] ||
      (unsigned)h >= (unsigned)pair.thin_extent[1] || (unsigned)w >= (unsigned)pair.thin_extent[2])
    return 0;
  const struct thin_channel &from = pair.thin[channel];
  int64_t voxel = ((int64_t)d * pair.thin_extent[1] + h) * pair.thin_extent[2] + w;
  int64_t at = sample * from.sample + voxel * from.voxel;
  return from.wide ? static_cast<const float *>(from.data)[at]
                   : to_float(static_cast<const T *>(from.data)[at]);
}

/* Two numbers as a register of matrices of 16 bits has them. */
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

/* Words of channels that lie side by side: 2 of 16 bits, or 1 float; plane i has channels from i
 * times as many on. */
template <typename T>
struct thin_channel_words {
  enum { EACH = 4 / sizeof(T) };
  static __device__ unsigned word(const struct thin_pair &pair, int plane, int sample, int d, int h,
                                  int w) {
    float low = thin_read<T>(pair, plane * EACH, sample, d, h, w);
    float high = EACH == 2 ? thin_read<T>(pair, plane * EACH + 1, sample, d, h, w) : 0;
    return thin_pack<T>(low, high);
  }
};

/* Words of voxels that lie side by side along w: this one and (16 bits) the next. */
template <typename T>
struct thin_voxel_words {
  static __device__ unsigned word(const struct thin_pair &pair, int plane, int sample, int d, int h,
                                  int w) {
    float low = thin_read<T>(pair, plane, sample, d, h, w);
    float high = sizeof(T) == 2 ? thin_read<T>(pair, plane, sample, d, h, w + 1) : 0;
    return thin_pack<T>(low, high);
  }
};

/* Fills `planes` planes of words for the tile that begins at `start` (d h w). A warp takes row
 * after row; the margins along w come last. */
template <typename T, class Words>
static __device__ inline void thin_fill(const struct thin_pair &pair, const struct thin_box &box,
                                        int planes, int sample, const int (&start)[3],
                                        unsigned *words) {
  const int rows = planes * box.depth * box.height, margin = pair.kernel[2] - 1;
  auto fill = [&](int row, int column) {
    int h = row % box.height, rest = row / box.height;
    int d = rest % box.depth, plane = rest / box.depth;
    words[row * THIN_PITCH + column] =
        Words::word(pair, plane, sample, start[0] + pair.first[0] + d, start[1] + pair.first[1] + h,
                    start[2] + pair.first[2] + column);
  };
#pragma unroll 4
  for (int row = threadIdx.x / 32; row < rows; row += THIN_WARPS) fill(row, threadIdx.x % 32);
  for (int i = threadIdx.x; i < rows * margin; i += THIN_THREADS)
    fill(i / margin, THIN_WIDTH + i % margin);
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
