/* Convolution to a blocked target: for a tile of voxels along w and 16 channels, all sums stay in
 * registers while each tap multiplies one vector of weights by one value per voxel. */
#include "kernels/conv/conv_direct.h"

#if defined SIMD_ISA_AVX512
enum { TILE = 28 };
#elif defined SIMD_ISA_AVX2
enum { TILE = 6 };
#else
enum { TILE = 3 };
#endif

enum {
  MOST_ROWS = 18,      /* rows of taps that are gathered before they are multiplied */
  BLOCKS_TOGETHER = 4, /* blocks of target channels that share gathered rows */
  EDGE_VOXELS = 2 * TILE + CONV_MOST_TAPS,
};

/* One row of taps: values x[i] that each voxel multiplies by weights w[16 i]. */
struct taps {
  const float *x, *w;
};

/* Which i: [0, low) not for the first voxel of the tile, [low, high) for all, [high, count) not for
 * the last: where a tap lies outside the source. */
struct reach {
  int low, high, count;
};

/* A tile of target voxels: where it is and its sums so far. */
struct tile {
  int n, block, blocks, phase[3], at[3], width;
  float sums[BLOCKS_TOGETHER][TILE * CHANNEL_BLOCK];
};

/* Taps on their way to the sums. */
struct gathered {
  int rows;
  bool in_place;
  struct reach reach; /* of all rows */
  struct taps taps[MOST_ROWS];
  float edges[MOST_ROWS][EDGE_VOXELS * CHANNEL_BLOCK];
};

typedef void accumulate_function(float *sums, const struct taps *taps, int rows, struct reach reach,
                                 size_t offset);

static inline __attribute__((always_inline)) void multiply(simd sum[TILE][SIMD_PER_BLOCK],
                                                           const float *x, const float *w,
                                                           int count, const int spacing,
                                                           const int from, const int to) {
  for (int i = 0; i < count; i++, x++, w += CHANNEL_BLOCK)
#pragma GCC unroll 32
    for (int t = from; t < to; t++)
#pragma GCC unroll 4
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[t][p] += simd_all(x[t * spacing]) * simd_load(w + p * SIMD_WIDTH);
}

/* sums[voxel] += x[i + spacing * voxel] * w[i] for all i and rows; width and spacing are constants
 * to the compiler. */
static inline __attribute__((always_inline)) void accumulate(float *sums, const struct taps *taps,
                                                             int rows, struct reach reach,
                                                             size_t offset, const int spacing,
                                                             const int width) {
  simd sum[TILE][SIMD_PER_BLOCK];
#pragma GCC unroll 32
  for (int t = 0; t < width; t++)
#pragma GCC unroll 4
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      sum[t][p] = simd_load(sums + t * CHANNEL_BLOCK + p * SIMD_WIDTH);
  for (int row = 0; row < rows; row++) {
    const float *x = taps[row].x, *w = taps[row].w + offset;
    multiply(sum, x, w, reach.low, spacing, 1, width);
    x += reach.low, w += reach.low * CHANNEL_BLOCK;
    multiply(sum, x, w, reach.high - reach.low, spacing, 0, width);
    x += reach.high - reach.low, w += (reach.high - reach.low) * CHANNEL_BLOCK;
    multiply(sum, x, w, reach.count - reach.high, spacing, 0, width - 1);
  }
#pragma GCC unroll 32
  for (int t = 0; t < width; t++)
#pragma GCC unroll 4
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      simd_store(sums + t * CHANNEL_BLOCK + p * SIMD_WIDTH, sum[t][p]);
}

#define DEFINE(spacing, width)                                                               \
  static void accumulate_##spacing##_##width(float *sums, const struct taps *taps, int rows, \
                                             struct reach reach, size_t offset) {            \
    accumulate(sums, taps, rows, reach, offset, spacing, width);                             \
  }
#define NAME(spacing, width) accumulate_##spacing##_##width,
#if defined SIMD_ISA_AVX512
#define WIDTHS(DO, s)                                                                           \
  DO(s, 1)                                                                                      \
  DO(s, 2)                                                                                      \
  DO(s, 3)                                                                                      \
  DO(s, 4) DO(s, 5) DO(s, 6) DO(s, 7) DO(s, 8) DO(s, 9) DO(s, 10) DO(s, 11) DO(s, 12) DO(s, 13) \
      DO(s, 14) DO(s, 15) DO(s, 16) DO(s, 17) DO(s, 18) DO(s, 19) DO(s, 20) DO(s, 21) DO(s, 22) \
          DO(s, 23) DO(s, 24) DO(s, 25) DO(s, 26) DO(s, 27) DO(s, 28)
#elif defined SIMD_ISA_AVX2
#define WIDTHS(DO, s) DO(s, 1) DO(s, 2) DO(s, 3) DO(s, 4) DO(s, 5) DO(s, 6)
#else
#define WIDTHS(DO, s) DO(s, 1) DO(s, 2) DO(s, 3)
#endif
WIDTHS(DEFINE, 1)
WIDTHS(DEFINE, 2)
WIDTHS(DEFINE, 16)
WIDTHS(DEFINE, 32)

/* [blocked][step - 1][width - 1] */
static accumulate_function *const accumulators[2][2][TILE] = {
    {{WIDTHS(NAME, 1)}, {WIDTHS(NAME, 2)}}, {{WIDTHS(NAME, 16)}, {WIDTHS(NAME, 32)}}};

/* The source's position along an axis of tap 0. */
static int source_at(const struct conv_packing *packing, const struct tile *tile, int axis) {
  const struct conv_axis *a = &packing->axis[axis];
  return a->step * tile->at[axis] + a->first[tile->phase[axis]];
}

/* How a tile reaches into rows of `extent` source voxels: as they lie in memory, where no tap
 * leaves the row by more than one voxel of the tile; else (false) rows have to be copied with zeros
 * around. */
static bool find_reach(const struct conv_packing *packing, const struct tile *tile, int extent,
                       struct reach *reach) {
  const struct conv_axis *a = &packing->axis[2];
  int taps = a->taps[tile->phase[2]], from = source_at(packing, tile, 2);
  int last = from + a->step * (tile->width - 1), beyond = last + taps - extent;
  int low = from < 0 ? -from : 0, high = beyond > 0 ? taps - beyond : taps;
  *reach = (struct reach){low * packing->group, high * packing->group, taps * packing->group};
  return tile->width > 1 && low <= a->step && beyond <= a->step && low <= high;
}

static void flush(struct tile *tile, struct gathered *gathered, const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  int step = packing->axis[2].step;
  accumulate_function *add = accumulators[packing->group > 1][step - 1][tile->width - 1];
  size_t stride = conv_packing_block_stride(packing, tile->phase);
  for (int b = 0; b < tile->blocks; b++)
    add(tile->sums[b], gathered->taps, gathered->rows, gathered->reach, stride * b);
  gathered->rows = 0;
}

/* Adds a row of taps of source row (d, h). */
static void gather(struct tile *tile, struct gathered *gathered, const struct conv_source *source,
                   const float *row, const float *w) {
  const struct conv_packing *packing = &source->packing;
  const struct conv_axis *a = &packing->axis[2];
  if (gathered->rows == MOST_ROWS) flush(tile, gathered, source);
  int from = source_at(packing, tile, 2), index = gathered->rows++;
  int length = a->step * (tile->width - 1) + a->taps[tile->phase[2]];
  if (gathered->in_place)
    gathered->taps[index].x = row + (int64_t)from * packing->group;
  else
    gathered->taps[index].x = conv_window(row, source->tensor->shape.w, packing->group, from,
                                          length, gathered->edges[index]);
  gathered->taps[index].w = w;
}

static void add_group(struct tile *tile, struct gathered *gathered,
                      const struct conv_source *source, int group, const float *w) {
  const struct conv_packing *packing = &source->packing;
  struct shape s = source->tensor->shape;
  const struct conv_axis *a = packing->axis;
  const int *phase = tile->phase;
  int first_d = source_at(packing, tile, 0), first_h = source_at(packing, tile, 1);
  int row_size = a[2].taps[phase[2]] * packing->group * CHANNEL_BLOCK;
  for (int d = first_d; d < first_d + a[0].taps[phase[0]]; d++)
    for (int h = first_h; h < first_h + a[1].taps[phase[1]]; h++, w += row_size)
      if (d >= 0 && d < s.d && h >= 0 && h < s.h)
        gather(tile, gathered, source, conv_row(source->tensor, source->data, tile->n, group, d, h),
               w);
}

static void add_source(struct tile *tile, struct gathered *gathered,
                       const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  int count = packing->axis[2].taps[tile->phase[2]] * packing->group;
  if (count == 0) return;
  int groups = conv_packing_groups(packing);
  const float *w = source->packed + conv_packing_at(packing, tile->phase, tile->block, 0);
  size_t group_stride = conv_packing_block_stride(packing, tile->phase) / groups;
  gathered->in_place = find_reach(packing, tile, source->tensor->shape.w, &gathered->reach);
  if (!gathered->in_place) gathered->reach = (struct reach){0, count, count};
  for (int group = 0; group < groups; group++)
    add_group(tile, gathered, source, group, w + group_stride * group);
  if (gathered->rows > 0) flush(tile, gathered, source);
}

static void start_sums(const struct conv_target *target, struct tile *tile) {
  for (int b = 0; b < tile->blocks; b++)
    for (int t = 0; t < tile->width; t++) {
      float *sums = tile->sums[b] + t * CHANNEL_BLOCK;
      if (target->bias)
        memcpy(sums, target->bias + (tile->block + b) * CHANNEL_BLOCK,
               sizeof(float[CHANNEL_BLOCK]));
      else
        memset(sums, 0, sizeof(float[CHANNEL_BLOCK]));
    }
}

static inline simd leaky(simd value, float slope) {
  simd_int above = value > 0;
  return (simd)((above & (simd_int)value) | (~above & (simd_int)(value * slope)));
}

static void store_sums(const struct conv_target *target, const struct tile *tile,
                       const int phases[3]) {
  const int *at = tile->at, *phase = tile->phase;
  for (int b = 0; b < tile->blocks; b++) {
    float *to = target->data + tensor_at(target->tensor, tile->n, (tile->block + b) * CHANNEL_BLOCK,
                                         phases[0] * at[0] + phase[0], phases[1] * at[1] + phase[1],
                                         phases[2] * at[2] + phase[2]);
    for (int t = 0; t < tile->width; t++, to += phases[2] * CHANNEL_BLOCK)
      for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH) {
        simd value = leaky(simd_load(tile->sums[b] + t * CHANNEL_BLOCK + p), target->slope);
        if (target->add) value += simd_load(to + p);
        simd_store(to + p, value);
      }
  }
}

/* Computes one row (along w) of one phase. */
static void compute_row(const struct conv_target *target, const struct conv_source *sources,
                        int count, struct tile *tile, struct gathered *gathered) {
  const struct conv_axis *axis = sources[0].packing.axis;
  const int phases[] = {axis[0].phases, axis[1].phases, axis[2].phases};
  int width = conv_axis_length(target->tensor->shape.w, phases[2], tile->phase[2]);
  int tiles = (width + TILE - 1) / TILE;
  for (int i = 0; i < tiles; i++) {
    tile->at[2] = (int)((int64_t)width * i / tiles);
    tile->width = (int)((int64_t)width * (i + 1) / tiles) - tile->at[2];
    start_sums(target, tile);
    for (int s = 0; s < count; s++) add_source(tile, gathered, &sources[s]);
    store_sums(target, tile, phases);
  }
}

/* Rows in the order n, d, group of blocks, phase, h. */
struct rows {
  int n, d, h, groups, phases[3], blocks;
};

static struct rows count_rows(const struct conv_target *target, const struct conv_axis axis[3]) {
  struct shape s = target->tensor->shape;
  int blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK;
  return (struct rows){.n = s.n,
                       .d = conv_axis_length(s.d, axis[0].phases, 0),
                       .h = conv_axis_length(s.h, axis[1].phases, 0),
                       .groups = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER,
                       .phases = {axis[0].phases, axis[1].phases, axis[2].phases},
                       .blocks = blocks};
}

/* Returns false where a later phase has no such row. */
static bool find_row(const struct rows *rows, struct shape s, int64_t index, struct tile *tile) {
  const int *phases = rows->phases;
  tile->at[1] = (int)(index % rows->h), index /= rows->h;
  tile->phase[2] = (int)(index % phases[2]), index /= phases[2];
  tile->phase[1] = (int)(index % phases[1]), index /= phases[1];
  tile->phase[0] = (int)(index % phases[0]), index /= phases[0];
  tile->block = (int)(index % rows->groups) * BLOCKS_TOGETHER, index /= rows->groups;
  tile->at[0] = (int)(index % rows->d), index /= rows->d;
  tile->n = (int)index;
  int left = rows->blocks - tile->block;
  tile->blocks = left < BLOCKS_TOGETHER ? left : BLOCKS_TOGETHER;
  return tile->at[0] < conv_axis_length(s.d, phases[0], tile->phase[0]) &&
         tile->at[1] < conv_axis_length(s.h, phases[1], tile->phase[1]);
}

void SIMD_NAME(conv_rows)(const struct conv_target *target, const struct conv_source *sources,
                          int count) {
  struct rows rows = count_rows(target, sources[0].packing.axis);
  int64_t total = (int64_t)rows.n * rows.d * rows.groups * rows.phases[0] * rows.phases[1] *
                  rows.phases[2] * rows.h;
#pragma omp parallel
  {
    struct tile tile;
    struct gathered gathered;
    gathered.rows = 0;
#pragma omp for schedule(static)
    for (int64_t index = 0; index < total; index++)
      if (find_row(&rows, target->tensor->shape, index, &tile))
        compute_row(target, sources, count, &tile, &gathered);
  }
}
