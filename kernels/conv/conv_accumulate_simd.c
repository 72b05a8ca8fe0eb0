/* The innermost loops of conv_rows: for a tile of voxels along w and 16 channels, all sums stay in
 * registers. Each value of the source is spread over a vector once and multiplied by the weights of
 * all taps along w that see it. */
#include "kernels/conv/conv_accumulate.h"

enum { ANY_WIDTH = 8 }; /* up to which tiles may have odd widths */

/* sums[voxel] += x[step * voxel + tap] * w[tap] over all taps, channels of the group and rows. All
 * from `group` on are constants to the compiler. */
static inline __attribute__((always_inline)) void accumulate(float *sums,
                                                             const struct conv_taps *rows,
                                                             int count, size_t offset,
                                                             const int group, const int taps,
                                                             const int step, const int width) {
  simd sum[CONV_TILE][SIMD_PER_BLOCK], weight[CONV_TAPS_TOGETHER][SIMD_PER_BLOCK];
  const int length = step * (width - 1) + taps;
  SIMD_UNROLL
  for (int t = 0; t < width; t++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      sum[t][p] = simd_load(sums + t * CHANNEL_BLOCK + p * SIMD_WIDTH);
  }
  for (const struct conv_taps *row = rows; row < rows + count; row++) {
    const float *x = row->x, *first = row->first, *last = row->last, *w = row->w + offset;
    for (int i = 0; i < group; i++, w += CHANNEL_BLOCK) {
      SIMD_UNROLL
      for (int k = 0; k < taps; k++) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++)
          weight[k][p] = simd_load(w + k * group * CHANNEL_BLOCK + p * SIMD_WIDTH);
      }
      SIMD_UNROLL
      for (int v = 0; v < length; v++) {
        simd value = simd_all(v == 0 ? first[i] : v == length - 1 ? last[i] : x[v * group + i]);
        SIMD_UNROLL
        for (int k = 0; k < taps; k++) {
          SIMD_UNROLL
          for (int p = 0; p < SIMD_PER_BLOCK; p++)
            if (v >= k && (v - k) % step == 0 && (v - k) / step < width)
              sum[(v - k) / step][p] += value * weight[k][p];
        }
      }
    }
  }
  SIMD_UNROLL
  for (int t = 0; t < width; t++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      simd_store(sums + t * CHANNEL_BLOCK + p * SIMD_WIDTH, sum[t][p]);
  }
}

/* One function for each combination that pays: with step 2, pairs of neighbouring taps share no
 * value; wide tiles have even widths. */
// clang-format off
#define DEFINE(g, k, s, t)                                                                        \
  static void accumulate_##g##_##k##_##s##_##t(float *sums, const struct conv_taps *rows,         \
                                               int count, size_t offset) {                        \
    accumulate(sums, rows, count, offset, g, k, s, t);                                            \
  }
#define NAME(g, k, s, t) [k - 1][g > 1][s - 1][t - 1] = accumulate_##g##_##k##_##s##_##t,
#define WIDTHS_TO_3(DO, g, k, s) DO(g, k, s, 1) DO(g, k, s, 2) DO(g, k, s, 3)
#define WIDTHS_TO_6(DO, g, k, s)                                                                  \
  WIDTHS_TO_3(DO, g, k, s) DO(g, k, s, 4) DO(g, k, s, 5) DO(g, k, s, 6)
#define WIDTHS_TO_26(DO, g, k, s)                                                                 \
  WIDTHS_TO_6(DO, g, k, s) DO(g, k, s, 7) DO(g, k, s, 8) DO(g, k, s, 10) DO(g, k, s, 12)          \
  DO(g, k, s, 14) DO(g, k, s, 16) DO(g, k, s, 18) DO(g, k, s, 20) DO(g, k, s, 22)                 \
  DO(g, k, s, 24) DO(g, k, s, 26)
#if defined SIMD_ISA_AVX512
#define WIDTHS WIDTHS_TO_26
#elif defined SIMD_ISA_AVX2
#define WIDTHS WIDTHS_TO_6
#else
#define WIDTHS WIDTHS_TO_3
#endif
#define ALL(DO)                                                                                   \
  WIDTHS(DO, 1, 1, 1) WIDTHS(DO, 1, 3, 1) WIDTHS(DO, 1, 1, 2) WIDTHS(DO, 1, 3, 2)                 \
  WIDTHS(DO, 16, 1, 1) WIDTHS(DO, 16, 2, 1) WIDTHS(DO, 16, 3, 1)                                  \
  WIDTHS(DO, 16, 1, 2) WIDTHS(DO, 16, 3, 2) WIDTHS(DO, 16, 4, 2)
ALL(DEFINE)
/* [taps - 1][blocked][step - 1][width - 1] */
static conv_accumulate *const functions[CONV_TAPS_TOGETHER][2][2][CONV_TILE] = {ALL(NAME)};
// clang-format on

conv_accumulate *SIMD_NAME(conv_accumulator)(int taps, bool blocked, int step, int width) {
  return functions[taps - 1][blocked][step - 1][width - 1];
}

int SIMD_NAME(conv_taps_together)(int taps, bool blocked, int step) {
  int together = taps < CONV_TAPS_TOGETHER ? taps : CONV_TAPS_TOGETHER;
  while (!functions[together - 1][blocked][step - 1][0]) together--;
  return together;
}

int SIMD_NAME(conv_tile_width)(int voxels) {
  int tiles = (voxels + CONV_TILE - 1) / CONV_TILE, width = (voxels + tiles - 1) / tiles;
  if (width <= ANY_WIDTH || width % 2 == 0) return width;
  return tiles > 1 ? width + 1 : width - (ANY_WIDTH - 1);
}
