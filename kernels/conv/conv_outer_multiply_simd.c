/* The sums of some values and of one or two blocks of 16 lanes stay in registers. What is read next
 * is asked for meanwhile, as evenly as can be: asking for many lines at once waits for memory. */
#include "kernels/conv/conv_outer_multiply.h"

/* What a tile asks for: a line at each place, from float `at` behind a row on and `step` further
 * each time, so that most are asked for several times. */
struct lines {
  ptrdiff_t at;
  size_t step;
};

struct tile {
  const struct conv_sweep *sweep;
  const float *values, *lanes;
  float *sums, *value_sums;
  size_t sums_pitch;
  bool add;
  struct lines next_values, next_lanes;
};

#define INLINE static inline __attribute__((always_inline))

/* `sums` (of values), `values` and `blocks` are constants to the compiler. */
INLINE void multiply(const struct tile *tile, const bool sums, const int values, const int blocks) {
  const struct conv_sweep *sweep = tile->sweep;
  const size_t step = sweep->step, pitch = sweep->lanes_pitch;
  const size_t values_step = tile->next_values.step, lanes_step = tile->next_lanes.step;
  simd sum[OUTER_BLOCKS][OUTER_VALUES_OF_ONE][SIMD_PER_BLOCK] = {0};
  simd value_sum[SIMD_PER_BLOCK] = {0};
  for (int row = 0; row < sweep->rows; row++) {
    const float *x = tile->values + sweep->values_row * (size_t)row;
    const float *dy = tile->lanes + sweep->lanes_row * (size_t)row;
    const float *next_x = x + tile->next_values.at, *next_dy = dy + tile->next_lanes.at;
    for (int left = sweep->places; left > 0; left--) {
      __builtin_prefetch(next_x);
      __builtin_prefetch(next_dy);
      conv_outer_add(sum, x, dy, pitch, values, blocks);
      if (sums) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++) value_sum[p] += simd_load(x + p * SIMD_WIDTH);
      }
      x += step, dy += CHANNEL_BLOCK;
      next_x += values_step, next_dy += lanes_step;
    }
  }
  conv_outer_store(tile->sums, tile->sums_pitch, sum, tile->add, values, blocks);
  if (!sums) return;
  SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    float *to = tile->value_sums + p * SIMD_WIDTH;
    simd_store(to, simd_load(to) + value_sum[p]);
  }
}

typedef void multiply_function(const struct tile *tile);

#define DEFINE(name, sums, values, blocks)    \
  static void name(const struct tile *tile) { \
    multiply(tile, sums, values, blocks);     \
  }
DEFINE(of_one, false, OUTER_VALUES_OF_ONE, 1)
DEFINE(few_of_all, false, OUTER_FEW_VALUES, OUTER_BLOCKS)
DEFINE(of_all, false, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)
DEFINE(sums_of_one, true, OUTER_VALUES_OF_ONE, 1)
DEFINE(sums_few_of_all, true, OUTER_FEW_VALUES, OUTER_BLOCKS)
DEFINE(sums_of_all, true, OUTER_VALUES_OF_ALL, OUTER_BLOCKS)

/* By whether it sums values, and: of one block, few values of all, all values of all. */
static multiply_function *const functions[2][3] = {{of_one, few_of_all, of_all},
                                                   {sums_of_one, sums_few_of_all, sums_of_all}};

static int divide_up(int count, int by) {
  return (count + by - 1) / by;
}

/* How many tiles share out what is behind the values, and behind a block of lanes. */
struct shares {
  int values, lanes, first; /* first: tiles in front of the sweep's */
};

static struct shares find_shares(const struct conv_sweep *sweep, int blocks, int tiles) {
  return (struct shares){tiles, divide_up(sweep->parts * tiles, blocks), sweep->part * tiles};
}

/* Share `index` of `count` of the lines of a row of places. */
static struct lines find_lines(int places, size_t step, int index, int count) {
  return (struct lines){(ptrdiff_t)step * (places * index / count),
                        (step + (size_t)count - 1) / (size_t)count};
}

static void find_next(struct tile *tile, const struct shares *shares, int index) {
  const struct conv_sweep *sweep = tile->sweep;
  int of_lanes = shares->first + index, block = of_lanes / shares->lanes;
  tile->next_values = find_lines(sweep->places, sweep->step, index, shares->values);
  tile->next_values.at += sweep->values_ahead + (sweep->values - tile->values);
  tile->next_lanes =
      find_lines(sweep->places, CHANNEL_BLOCK, of_lanes % shares->lanes, shares->lanes);
  tile->next_lanes.at +=
      sweep->lanes_ahead + (ptrdiff_t)sweep->lanes_pitch * block + (sweep->lanes - tile->lanes);
}

static int values_of(int together) {
  return together > 1 ? OUTER_VALUES_OF_ALL : OUTER_VALUES_OF_ONE;
}

static int count_tiles(int values, int blocks) {
  int whole = blocks / OUTER_BLOCKS, rest = blocks % OUTER_BLOCKS;
  return whole * divide_up(values, values_of(OUTER_BLOCKS)) +
         rest * divide_up(values, values_of(1));
}

/* Where there are fewer tiles than blocks of lanes: what no tile asks for. Inlined by force: gcc 12
 * removes calls of functions that do nothing but prefetch. */
INLINE void ask_rest(const struct conv_sweep *sweep, int blocks, int tiles) {
  for (int block = tiles; block < blocks; block++)
    for (int row = 0; row < sweep->rows; row++) {
      const float *from = sweep->lanes + sweep->lanes_ahead + sweep->lanes_row * (size_t)row +
                          sweep->lanes_pitch * (size_t)block;
      for (int i = 0; i < sweep->places; i++) __builtin_prefetch(from + i * CHANNEL_BLOCK);
    }
}

void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                                    int values, int blocks, bool add) {
  struct tile tile = {.sweep = sweep, .sums_pitch = sums_pitch, .add = add};
  const struct shares shares = find_shares(sweep, blocks, count_tiles(values, blocks));
  int index = 0;
  if (sweep->part == 0) ask_rest(sweep, blocks, sweep->parts * shares.values);
  for (int block = 0, together; block < blocks; block += together) {
    together = blocks - block < OUTER_BLOCKS ? 1 : OUTER_BLOCKS;
    for (int i = 0; i < values; i += values_of(together), index++) {
      tile.values = sweep->values + i;
      tile.lanes = sweep->lanes + sweep->lanes_pitch * (size_t)block;
      tile.sums = sums + sums_pitch * (size_t)block + i * CHANNEL_BLOCK;
      tile.value_sums = index == 0 ? sweep->value_sums : NULL;
      find_next(&tile, &shares, index);
      int kind = together == 1 ? 0 : values - i <= OUTER_FEW_VALUES ? 1 : 2;
      functions[tile.value_sums != NULL][kind](&tile);
    }
  }
}
