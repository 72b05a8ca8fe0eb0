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
  const int places = sweep->places;
  const ptrdiff_t x_skip = (ptrdiff_t)sweep->values_row - (ptrdiff_t)step * places;
  const ptrdiff_t dy_skip = (ptrdiff_t)sweep->lanes_row - CHANNEL_BLOCK * places;
  const ptrdiff_t next_x_skip = (ptrdiff_t)sweep->values_row - (ptrdiff_t)values_step * places;
  const ptrdiff_t next_dy_skip = (ptrdiff_t)sweep->lanes_row - (ptrdiff_t)lanes_step * places;
  const float *x = tile->values, *dy = tile->lanes;
  const float *next_x = x + tile->next_values.at, *next_dy = dy + tile->next_lanes.at;
  int left = sweep->rows * places;
  for (int end = left - places; left > 0; left--) {
    if (left == end) {
      x += x_skip, dy += dy_skip, next_x += next_x_skip, next_dy += next_dy_skip;
      end -= places;
    }
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

/* How the tiles of a sweep of so many share out what is next: once for all sweeps alike. */
static void share_out(struct conv_sweep *sweep, int blocks, int tiles) {
  struct conv_shares *shares = &sweep->shares;
  if (shares->tiles == tiles) return;
  shares->tiles = tiles;
  shares->lanes_tiles = divide_up(sweep->parts * tiles, blocks);
  shares->values_lines = divide_up(sweep->places, tiles);
  shares->lanes_lines = divide_up(sweep->places, shares->lanes_tiles);
  shares->values_step = divide_up((int)sweep->step, tiles);
  shares->lanes_step = divide_up(CHANNEL_BLOCK, shares->lanes_tiles);
}

/* What tile `index` of a sweep asks for, and of the lanes as one of those that ask for a block. */
static void find_next(struct tile *tile, int index, int block, int part) {
  const struct conv_sweep *sweep = tile->sweep;
  const struct conv_shares *shares = &sweep->shares;
  ptrdiff_t values = (ptrdiff_t)sweep->step * (shares->values_lines * index);
  ptrdiff_t lanes = (ptrdiff_t)sweep->lanes_pitch * block +
                    (ptrdiff_t)CHANNEL_BLOCK * (shares->lanes_lines * part);
  tile->next_values.at = values + sweep->values_ahead + (sweep->values - tile->values);
  tile->next_lanes.at = lanes + sweep->lanes_ahead + (sweep->lanes - tile->lanes);
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

void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, struct conv_sweep *sweep,
                                    int values, int blocks, bool add) {
  const int tiles = count_tiles(values, blocks);
  share_out(sweep, blocks, tiles);
  const struct conv_shares *shares = &sweep->shares;
  struct tile tile = {.sweep = sweep, .sums_pitch = sums_pitch, .add = add};
  tile.next_values.step = (size_t)shares->values_step;
  tile.next_lanes.step = (size_t)shares->lanes_step;
  int index = 0, asked = sweep->part * tiles / shares->lanes_tiles;
  int part = sweep->part * tiles - asked * shares->lanes_tiles;
  if (sweep->part == 0) ask_rest(sweep, blocks, sweep->parts * tiles);
  for (int block = 0, together; block < blocks; block += together) {
    together = blocks - block < OUTER_BLOCKS ? 1 : OUTER_BLOCKS;
    for (int i = 0; i < values; i += values_of(together), index++, part++) {
      if (part == shares->lanes_tiles) asked++, part = 0;
      tile.values = sweep->values + i;
      tile.lanes = sweep->lanes + sweep->lanes_pitch * (size_t)block;
      tile.sums = sums + sums_pitch * (size_t)block + i * CHANNEL_BLOCK;
      tile.value_sums = index == 0 ? sweep->value_sums : NULL;
      find_next(&tile, index, asked, part);
      int kind = together == 1 ? 0 : values - i <= OUTER_FEW_VALUES ? 1 : 2;
      functions[tile.value_sums != NULL][kind](&tile);
    }
  }
}
