/* The sums of some values and of one or two blocks of 16 lanes stay in registers. */
#include "kernels/conv/conv_outer_multiply.h"

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
  simd sum[OUTER_BLOCKS][OUTER_VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
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
    conv_outer_add(sum, x, dy, lanes_pitch, values, blocks);
  }
  conv_outer_store(sums, sums_pitch, sum, add, values, blocks);
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
DEFINE(one_row_of_one, NULL, false, OUTER_VALUES_OF_ONE, 1)
DEFINE(one_row_of_all, NULL, false, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)
DEFINE(rows_of_one, NULL, true, OUTER_VALUES_OF_ONE, 1)
DEFINE(rows_of_all, NULL, true, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)
DEFINE(ask_row_of_one, ahead, false, OUTER_VALUES_OF_ONE, 1)
DEFINE(ask_row_of_all, ahead, false, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)
DEFINE(ask_rows_of_one, ahead, true, OUTER_VALUES_OF_ONE, 1)
DEFINE(ask_rows_of_all, ahead, true, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)

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
    together = blocks - block < OUTER_BLOCKS ? 1 : OUTER_BLOCKS;
    const float *dy = sweep->lanes + sweep->lanes_pitch * (size_t)block;
    float *to = sums + sums_pitch * (size_t)block;
    const int step = together > 1 ? OUTER_VALUES_OF_ALL : OUTER_VALUES_OF_ONE;
    for (int i = 0; i < values; i += step) {
      struct ahead ahead = {0};
      if (asks) ahead = find_ahead(sweep, block, i / step, together);
      bool ask = ahead.values || ahead.lanes;
      functions[ask][sweep->rows > 1][together > 1](to + i * CHANNEL_BLOCK, sums_pitch, sweep,
                                                    sweep->values + i, dy, &ahead, add);
    }
  }
}
