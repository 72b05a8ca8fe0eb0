/* The innermost loops of conv_rows: for a tile of voxels along w and one or several blocks of 16
 * channels, all sums stay in registers. Each value of the source is spread over a vector once and
 * multiplied by the weights of all taps along w and all blocks that see it. What a value is, the
 * including file says: `factor`, a vector of 32-bit words, factor_load, factor_all, multiply_add,
 * FACTOR_TARGET, and ALL(DO), the combinations of words per voxel, taps and step that it wants. */
#include "kernels/conv/conv_accumulate.h"

enum {
  ANY_WIDTH = 8, /* up to which tiles may have odd widths */
  MOST_BLOCKS = 4,
};

/* All from `group`, the words of a voxel, on are constants to the compiler. */
static inline __attribute__((always_inline)) FACTOR_TARGET void accumulate(
    float *sums, const struct conv_taps *rows, int count, size_t offset, size_t stride,
    const int group, const int taps, const int step, const int width, const int blocks) {
  simd sum[MOST_BLOCKS][CONV_TILE][SIMD_PER_BLOCK];
  factor weight[MOST_BLOCKS][CONV_TAPS_TOGETHER][SIMD_PER_BLOCK];
  const int length = step * (width - 1) + taps;
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < width; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[b][t][p] = simd_load(sums + b * CONV_BLOCK_SUMS + t * CHANNEL_BLOCK + p * SIMD_WIDTH);
    }
  }
  for (const struct conv_taps *row = rows; row < rows + count; row++) {
    const float *x = row->x, *first = row->first, *last = row->last, *w = row->w + offset;
    for (int i = 0; i < group; i++, w += CHANNEL_BLOCK) {
      SIMD_UNROLL
      for (int b = 0; b < blocks; b++) {
        SIMD_UNROLL
        for (int k = 0; k < taps; k++) {
          SIMD_UNROLL
          for (int p = 0; p < SIMD_PER_BLOCK; p++)
            weight[b][k][p] =
                factor_load(w + stride * b + k * group * CHANNEL_BLOCK + p * SIMD_WIDTH);
        }
      }
      SIMD_UNROLL
      for (int v = 0; v < length; v++) {
        factor value = factor_all(v == 0            ? first + i
                                  : v == length - 1 ? last + i
                                                    : x + v * group + i);
        SIMD_UNROLL
        for (int k = 0; k < taps; k++) {
          SIMD_UNROLL
          for (int b = 0; b < blocks; b++) {
            SIMD_UNROLL
            for (int p = 0; p < SIMD_PER_BLOCK; p++)
              if (v >= k && (v - k) % step == 0 && (v - k) / step < width)
                multiply_add(&sum[b][(v - k) / step][p], value, weight[b][k][p]);
          }
        }
      }
    }
  }
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < width; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        simd_store(sums + b * CONV_BLOCK_SUMS + t * CHANNEL_BLOCK + p * SIMD_WIDTH, sum[b][t][p]);
    }
  }
}

/* One function for each combination that pays: with step 2, pairs of neighbouring taps share no
 * value; wide tiles have even widths; only narrow ones take several blocks. */
// clang-format off
#define DEFINE(g, k, s, t, b)                                                                     \
  static FACTOR_TARGET void accumulate_##g##_##k##_##s##_##t##_##b(                               \
      float *sums, const struct conv_taps *rows, int count, size_t offset, size_t stride) {       \
    accumulate(sums, rows, count, offset, stride, g, k, s, t, b);                                 \
  }
#define NAME(g, k, s, t, b)                                                                       \
  .with[b / 2][k - 1][g > 1][s - 1][t - 1] = accumulate_##g##_##k##_##s##_##t##_##b,
#define WIDTHS_TO_3(DO, g, k, s, b) DO(g, k, s, 1, b) DO(g, k, s, 2, b) DO(g, k, s, 3, b)
#define WIDTHS_TO_6(DO, g, k, s, b)                                                               \
  WIDTHS_TO_3(DO, g, k, s, b) DO(g, k, s, 4, b) DO(g, k, s, 5, b) DO(g, k, s, 6, b)
#define WIDTHS_TO_8(DO, g, k, s, b)                                                               \
  WIDTHS_TO_6(DO, g, k, s, b) DO(g, k, s, 7, b) DO(g, k, s, 8, b)
#define WIDTHS_TO_26(DO, g, k, s, b)                                                              \
  WIDTHS_TO_8(DO, g, k, s, b) DO(g, k, s, 10, b) DO(g, k, s, 12, b) DO(g, k, s, 14, b)            \
  DO(g, k, s, 16, b) DO(g, k, s, 18, b) DO(g, k, s, 20, b) DO(g, k, s, 22, b)                     \
  DO(g, k, s, 24, b) DO(g, k, s, 26, b)
#if defined SIMD_ISA_AVX512
enum { WIDTH_OF_PAIRS = 8, WIDTH_OF_FOURS = 3 };
#define WIDTHS(DO, g, k, s)                                                                       \
  WIDTHS_TO_26(DO, g, k, s, 1) WIDTHS_TO_8(DO, g, k, s, 2) WIDTHS_TO_3(DO, g, k, s, 4)
#elif defined SIMD_ISA_AVX2
enum { WIDTH_OF_PAIRS = 0, WIDTH_OF_FOURS = 0 };
#define WIDTHS(DO, g, k, s) WIDTHS_TO_6(DO, g, k, s, 1)
#else
enum { WIDTH_OF_PAIRS = 0, WIDTH_OF_FOURS = 0 };
#define WIDTHS(DO, g, k, s) WIDTHS_TO_3(DO, g, k, s, 1)
#endif
ALL(DEFINE)
/* [blocks / 2][taps - 1][blocked][step - 1][width - 1] */
static const struct {
  conv_accumulate *with[MOST_BLOCKS / 2 + 1][CONV_TAPS_TOGETHER][2][2][CONV_TILE];
} functions = {ALL(NAME)};
// clang-format on
