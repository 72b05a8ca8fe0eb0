/* The sums of some values and of one or two blocks of 16 lanes stay in registers. */
#include "kernels/conv/conv_outer_multiply.h"

/* Blocks in registers; values whose sums fit besides, of one block and of MOST_BLOCKS. */
#if defined SIMD_ISA_AVX512
enum { MOST_BLOCKS = 2, VALUES_OF_ONE = 16, VALUES_OF_ALL = 8 };
#elif defined SIMD_ISA_AVX2
enum { MOST_BLOCKS = 1, VALUES_OF_ONE = 4, VALUES_OF_ALL = 4 };
#else
enum { MOST_BLOCKS = 1, VALUES_OF_ONE = 2, VALUES_OF_ALL = 2 };
#endif

/* What is asked for: see struct conv_sweep. */
struct ahead {
  ptrdiff_t values, lanes;
};

/* From values `x` and lanes `dy` on; asks for lines behind them where there is an `ahead`.
 * `values`, `blocks` and whether there is one are constants to the compiler. */
static inline __attribute__((always_inline)) void multiply(float *sums, size_t sums_pitch,
                                                           const struct conv_sweep *sweep,
                                                           const float *x, const float *dy,
                                                           const struct ahead *ahead, bool add,
                                                           const int values, const int blocks) {
  const size_t step = sweep->step, lanes_pitch = sweep->lanes_pitch;
  simd sum[MOST_BLOCKS][VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
  const ptrdiff_t x_skip = (ptrdiff_t)(sweep->values_row - step * (size_t)sweep->places);
  const ptrdiff_t dy_skip = (ptrdiff_t)(sweep->lanes_row - CHANNEL_BLOCK * (size_t)sweep->places);
  const ptrdiff_t x_ahead = ahead ? ahead->values : 0, dy_ahead = ahead ? ahead->lanes : 0;
  for (int left = sweep->rows * sweep->places, end = left - sweep->places; left > 0;) {
    if (ahead) {
      __builtin_prefetch(x + x_ahead);
      __builtin_prefetch(dy + dy_ahead);
    }
    simd vector[MOST_BLOCKS][SIMD_PER_BLOCK];
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        vector[b][p] = simd_load(dy + lanes_pitch * (size_t)b + p * SIMD_WIDTH);
    }
    SIMD_UNROLL
    for (int i = 0; i < values; i++) {
      simd value = simd_all(x[i]);
      SIMD_UNROLL
      for (int b = 0; b < blocks; b++) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][i][p] += value * vector[b][p];
      }
    }
    x += step, dy += CHANNEL_BLOCK;
    if (--left == end) x += x_skip, dy += dy_skip, end -= sweep->places;
  }
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int i = 0; i < values; i++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        float *to = sums + sums_pitch * (size_t)b + i * CHANNEL_BLOCK + p * SIMD_WIDTH;
        if (add) sum[b][i][p] += simd_load(to);
        simd_store(to, sum[b][i][p]);
      }
    }
  }
}

static void multiply_one(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                         const float *x, const float *dy, const struct ahead *ahead, bool add) {
  if (ahead->values || ahead->lanes)
    multiply(sums, sums_pitch, sweep, x, dy, ahead, add, VALUES_OF_ONE, 1);
  else
    multiply(sums, sums_pitch, sweep, x, dy, NULL, add, VALUES_OF_ONE, 1);
}

static void multiply_all(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                         const float *x, const float *dy, const struct ahead *ahead, bool add) {
  if (ahead->values || ahead->lanes)
    multiply(sums, sums_pitch, sweep, x, dy, ahead, add, VALUES_OF_ALL, MOST_BLOCKS);
  else
    multiply(sums, sums_pitch, sweep, x, dy, NULL, add, VALUES_OF_ALL, MOST_BLOCKS);
}

void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                                    int values, int blocks, bool add) {
  for (int block = 0, together; block < blocks; block += together) {
    together = blocks - block < MOST_BLOCKS ? 1 : MOST_BLOCKS;
    float *to = sums + sums_pitch * (size_t)block;
    const float *dy = sweep->lanes + sweep->lanes_pitch * (size_t)block;
    int step = together > 1 ? VALUES_OF_ALL : VALUES_OF_ONE;
    for (int i = 0, part = 0; i < values; i += step, part++) {
      struct ahead ahead = {0};
      if (block == 0 && part == 0) ahead.values = sweep->values_ahead;
      if (part < together && sweep->lanes_ahead)
        ahead.lanes = sweep->lanes_ahead + (ptrdiff_t)sweep->lanes_pitch * part;
      (together > 1 ? multiply_all : multiply_one)(to + i * CHANNEL_BLOCK, sums_pitch, sweep,
                                                   sweep->values + i, dy, &ahead, add);
    }
  }
}
