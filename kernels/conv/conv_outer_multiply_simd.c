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
 * `values`, `blocks`, `several` (rows) and whether there is an `ahead` are constants to the
 * compiler. */
static inline __attribute__((always_inline)) void multiply(
    float *sums, size_t sums_pitch, const struct conv_sweep *sweep, const float *x, const float *dy,
    const struct ahead *ahead, bool add, const bool several, const int values, const int blocks) {
  const size_t step = sweep->step, lanes_pitch = sweep->lanes_pitch;
  simd sum[MOST_BLOCKS][VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
  const ptrdiff_t x_ahead = ahead ? ahead->values : 0, dy_ahead = ahead ? ahead->lanes : 0;
  const int places = sweep->places;
  const ptrdiff_t x_skip = (ptrdiff_t)(sweep->values_row - step * (size_t)places);
  const ptrdiff_t dy_skip = (ptrdiff_t)(sweep->lanes_row - CHANNEL_BLOCK * (size_t)places);
  int left = several ? sweep->rows * places : places;
  for (int end = left - places; left > 0; left--, x += step, dy += CHANNEL_BLOCK) {
    if (several && left == end) x += x_skip, dy += dy_skip, end -= places;
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

typedef void multiply_function(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                               const float *x, const float *dy, const struct ahead *ahead,
                               bool add);

#define DEFINE(name, ahead_, several, values, blocks)                                              \
  static void name(float *sums, size_t sums_pitch, const struct conv_sweep *sweep, const float *x, \
                   const float *dy, const struct ahead *ahead, bool add) {                         \
    (void)ahead;                                                                                   \
    multiply(sums, sums_pitch, sweep, x, dy, ahead_, add, several, values, blocks);                \
  }
DEFINE(one_row_of_one, NULL, false, VALUES_OF_ONE, 1)
DEFINE(one_row_of_all, NULL, false, VALUES_OF_ALL, MOST_BLOCKS)
DEFINE(rows_of_one, NULL, true, VALUES_OF_ONE, 1)
DEFINE(rows_of_all, NULL, true, VALUES_OF_ALL, MOST_BLOCKS)
DEFINE(ask_row_of_one, ahead, false, VALUES_OF_ONE, 1)
DEFINE(ask_row_of_all, ahead, false, VALUES_OF_ALL, MOST_BLOCKS)
DEFINE(ask_rows_of_one, ahead, true, VALUES_OF_ONE, 1)
DEFINE(ask_rows_of_all, ahead, true, VALUES_OF_ALL, MOST_BLOCKS)

/* By whether it asks for anything, of several rows, of all blocks. */
static multiply_function *const functions[2][2][2] = {
    {{one_row_of_one, one_row_of_all}, {rows_of_one, rows_of_all}},
    {{ask_row_of_one, ask_row_of_all}, {ask_rows_of_one, ask_rows_of_all}},
};

/* What part `part` of the values of `together` blocks from block `block` on asks for. */
static struct ahead find_ahead(const struct conv_sweep *sweep, int block, int part, int together) {
  struct ahead ahead = {0};
  if (block == 0 && part == 0) ahead.values = sweep->values_ahead;
  if (part < together && sweep->lanes_ahead)
    ahead.lanes = sweep->lanes_ahead + (ptrdiff_t)sweep->lanes_pitch * part;
  return ahead;
}

void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                                    int values, int blocks, bool add) {
  const bool asks = sweep->values_ahead || sweep->lanes_ahead;
  for (int block = 0, together; block < blocks; block += together) {
    together = blocks - block < MOST_BLOCKS ? 1 : MOST_BLOCKS;
    const float *dy = sweep->lanes + sweep->lanes_pitch * (size_t)block;
    float *to = sums + sums_pitch * (size_t)block;
    const int step = together > 1 ? VALUES_OF_ALL : VALUES_OF_ONE;
    for (int i = 0; i < values; i += step) {
      struct ahead ahead = {0};
      if (asks) ahead = find_ahead(sweep, block, i / step, together);
      bool ask = ahead.values || ahead.lanes;
      functions[ask][sweep->rows > 1][together > 1](to + i * CHANNEL_BLOCK, sums_pitch, sweep,
                                                    sweep->values + i, dy, &ahead, add);
    }
  }
}
