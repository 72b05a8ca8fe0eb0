/* The innermost loops of conv_rows for sources of floats. */
#include "kernels/conv/conv_accumulate.h"

typedef simd factor;
#define FACTOR_TARGET

static inline factor factor_load(const float *from) {
  return simd_load(from);
}

static inline factor factor_all(const float *from) {
  return simd_all(*from);
}

static inline void multiply_add(simd *sum, factor a, factor b) {
  *sum += a * b;
}

// clang-format off
#define ALL(DO)                                                                                   \
  WIDTHS(DO, 1, 1, 1) WIDTHS(DO, 1, 3, 1) WIDTHS(DO, 1, 1, 2) WIDTHS(DO, 1, 3, 2)                 \
  WIDTHS(DO, 16, 1, 1) WIDTHS(DO, 16, 2, 1) WIDTHS(DO, 16, 3, 1)                                  \
  WIDTHS(DO, 16, 1, 2) WIDTHS(DO, 16, 3, 2) WIDTHS(DO, 16, 4, 2)
// clang-format on
#include "kernels/conv/conv_accumulate_loops.h"

conv_accumulate *SIMD_NAME(conv_accumulator)(int taps, bool blocked, int step, int width,
                                             int blocks) {
  return functions.with[blocks / 2][taps - 1][blocked][step - 1][width - 1];
}

int SIMD_NAME(conv_taps_together)(int taps, bool blocked, int step) {
  int together = taps < CONV_TAPS_TOGETHER ? taps : CONV_TAPS_TOGETHER;
  while (!functions.with[0][together - 1][blocked][step - 1][0]) together--;
  return together;
}

int SIMD_NAME(conv_blocks_together)(int width, int blocks) {
  if (width <= WIDTH_OF_FOURS && blocks >= 4) return 4;
  return width <= WIDTH_OF_PAIRS && blocks >= 2 ? 2 : 1;
}

int SIMD_NAME(conv_tile_width)(int voxels) {
  int tiles = (voxels + CONV_TILE - 1) / CONV_TILE, width = (voxels + tiles - 1) / tiles;
  if (width <= ANY_WIDTH || width % 2 == 0) return width;
  return tiles > 1 ? width + 1 : width - (ANY_WIDTH - 1);
}
