/* Convolution of blocked sources to a planar target of up to 4 channels: the lanes of a vector are
 * 16 source channels, summed across at the end, because 16 target lanes would be mostly empty. */
#include "kernels/conv/conv_direct.h"

enum {
  TILE = SIMD_WIDTH == 16 ? 8 : 4, /* voxels; a power of two, at most SIMD_WIDTH */
  MOST_TILES = 6,                  /* side by side along w, in a strip */
  MOST_CHANNELS = 4,
  MOST_ROWS = 9,
  CACHE_BYTES = 1 << 19,
  LEAST_BAND = 4,
  EDGE_VOXELS = TILE + CONV_MOST_TAPS,
};

/* The taps along w of one row of one block: for each tile of the strip where its first voxel's
 * tap 0 is. */
struct taps {
  const float *x[MOST_TILES], *w;
};

/* A strip of target voxels and their sums so far. */
struct strip {
  int n, d, h, w, tiles;
  float sums[MOST_TILES][MOST_CHANNELS][TILE];
};

/* Taps on their way to the sums. */
struct gathered {
  int rows;
  struct taps taps[MOST_ROWS];
  float edges[MOST_ROWS][MOST_TILES][EDGE_VOXELS * CHANNEL_BLOCK];
};

/* The voxels of a tile. */
typedef float lanes __attribute__((vector_size(4 * TILE), aligned(4), may_alias));
typedef int lane_masks __attribute__((vector_size(4 * TILE), aligned(4), may_alias));

/* [a0 + a1, a2 + a3, ..., b0 + b1, ...] */
static inline simd add_neighbours(simd a, simd b) {
#if defined SIMD_ISA_AVX512
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined SIMD_ISA_AVX2
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

/* sums[t] += the sum of the lanes of sum[t]. */
static inline __attribute__((always_inline)) void add_across(float *sums, simd sum[TILE]) {
  SIMD_UNROLL
  for (int left = TILE / 2; left >= 1; left /= 2) SIMD_UNROLL
  for (int t = 0; t < left; t++) sum[t] = add_neighbours(sum[2 * t], sum[2 * t + 1]);
  SIMD_UNROLL
  for (int width = TILE; width < SIMD_WIDTH; width *= 2) sum[0] = add_neighbours(sum[0], sum[0]);
  float across[SIMD_WIDTH];
  simd_store(across, sum[0]);
  *(lanes *)sums += *(const lanes *)across;
}

/* In a register: gcc would rather load it for each multiplication. */
static inline __attribute__((always_inline)) simd keep(simd value) {
#if defined SIMD_ISA_AVX512
  __asm__("" : "+v"(value));
#endif
  return value;
}

typedef void accumulate_function(struct strip *strip, const struct gathered *gathered, int count);

/* sums[c][t] += x[t + tap] . w[tap][c] over the lanes from `part` on of all taps; `channels` is a
 * constant to the compiler. */
static inline __attribute__((always_inline)) void accumulate(float sums[][TILE],
                                                             const struct gathered *gathered,
                                                             int tile, int count,
                                                             const int channels, const int part) {
  simd sum[MOST_CHANNELS][TILE];
  SIMD_UNROLL
  for (int c = 0; c < channels; c++) SIMD_UNROLL
  for (int t = 0; t < TILE; t++) sum[c][t] = (simd){0};
  for (int row = 0; row < gathered->rows; row++) {
    const float *x = gathered->taps[row].x[tile] + part, *w = gathered->taps[row].w + part;
    for (int i = 0; i < count; i++, x += CHANNEL_BLOCK, w += channels * CHANNEL_BLOCK) {
      SIMD_UNROLL
      for (int t = 0; t < TILE; t++) {
        simd value = keep(simd_load(x + t * CHANNEL_BLOCK));
        SIMD_UNROLL
        for (int c = 0; c < channels; c++) sum[c][t] += value * simd_load(w + c * CHANNEL_BLOCK);
      }
    }
  }
  SIMD_UNROLL
  for (int c = 0; c < channels; c++) add_across(sums[c], sum[c]);
}

#define DEFINE(channels)                                                                  \
  static void accumulate_##channels(struct strip *strip, const struct gathered *gathered, \
                                    int count) {                                          \
    for (int tile = 0; tile < strip->tiles; tile++)                                       \
      for (int part = 0; part < CHANNEL_BLOCK; part += SIMD_WIDTH)                        \
        accumulate(strip->sums[tile], gathered, tile, count, channels, part);             \
  }
DEFINE(1)
DEFINE(2)
DEFINE(3)
DEFINE(4)
static accumulate_function *const accumulators[] = {accumulate_1, accumulate_2, accumulate_3,
                                                    accumulate_4};

static void flush(struct strip *strip, struct gathered *gathered,
                  const struct conv_packing *packing) {
  accumulators[packing->group - 1](strip, gathered, packing->axis[2].taps[0]);
  gathered->rows = 0;
}

/* Tile `tile` of the taps of a row, copied with zeros around; returns whether it reaches outside.
 */
static bool gather_edge(const struct strip *strip, struct gathered *gathered, const float *row,
                        int extent, int first, int length, int tile) {
  int index = gathered->rows, from = strip->w + tile * TILE + first;
  if (from >= 0 && from + length <= extent) return false;
  gathered->taps[index].x[tile] =
      conv_window(row, extent, CHANNEL_BLOCK, from, length, gathered->edges[index][tile]);
  return true;
}

static void gather(const struct strip *strip, struct gathered *gathered,
                   const struct conv_source *source, const float *row, const float *w) {
  const struct conv_axis *axis = &source->packing.axis[2];
  int extent = source->tensor->shape.w, first = axis->first[0], length = TILE - 1 + axis->taps[0];
  struct taps *taps = &gathered->taps[gathered->rows];
  const float *x = row + ((int64_t)strip->w + first) * CHANNEL_BLOCK;
  taps->w = w;
  for (int tile = 0; tile < strip->tiles; tile++) taps->x[tile] = x + tile * TILE * CHANNEL_BLOCK;
  int left = 0, right = strip->tiles - 1;
  while (left <= right && gather_edge(strip, gathered, row, extent, first, length, left)) left++;
  while (right > left && gather_edge(strip, gathered, row, extent, first, length, right)) right--;
  gathered->rows++;
}

/* Asks for the row below `row`, which the strip below will be the first to read. Inlined by force:
 * gcc 12 removes calls of functions that do nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch_below(const struct strip *strip,
                                                                 int extent, const float *row) {
  int end = strip->w + strip->tiles * TILE < extent ? strip->w + strip->tiles * TILE : extent;
  for (int w = strip->w; w < end; w++)
    __builtin_prefetch(row + ((int64_t)extent + w) * CHANNEL_BLOCK);
}

static void add_block(struct strip *strip, struct gathered *gathered,
                      const struct conv_source *source, int block, const float *w) {
  const struct conv_packing *packing = &source->packing;
  const struct conv_axis *a = packing->axis;
  struct shape s = source->tensor->shape;
  int row_size = a[2].taps[0] * packing->group * CHANNEL_BLOCK;
  for (int td = 0; td < a[0].taps[0]; td++)
    for (int th = 0; th < a[1].taps[0]; th++, w += row_size) {
      int d = strip->d + a[0].first[0] + td, h = strip->h + a[1].first[0] + th;
      if (d < 0 || d >= s.d || h < 0 || h >= s.h) continue;
      if (gathered->rows == MOST_ROWS) flush(strip, gathered, packing);
      const float *row = conv_row(source->tensor, source->data, strip->n, block, d, h);
      if (th == a[1].taps[0] - 1 && h + 1 < s.h) prefetch_below(strip, s.w, row);
      gather(strip, gathered, source, row, w);
    }
}

static void add_source(struct strip *strip, struct gathered *gathered,
                       const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  static const int phase[3] = {0, 0, 0};
  for (int block = 0; block < conv_packing_lane_blocks(packing); block++)
    add_block(strip, gathered, source, block,
              source->packed + conv_packing_at(packing, phase, block, 0));
  if (gathered->rows > 0) flush(strip, gathered, packing);
}

/* `width` voxels, a constant to the compiler where it is TILE. */
static inline __attribute__((always_inline)) void store_tile(const struct conv_target *target,
                                                             const float sums[TILE], float bias,
                                                             float *to, int width) {
  lanes value = *(const lanes *)sums + bias, before = {0};
  lane_masks above = value > 0;
  value = (lanes)((above & (lane_masks)value) | (~above & (lane_masks)(value * target->slope)));
  if (target->add) memcpy(&before, to, sizeof(float) * (size_t)width);
  value += before;
  memcpy(to, &value, sizeof(float) * (size_t)width);
}

static void store_sums(const struct conv_target *target, const struct strip *strip) {
  struct shape s = target->tensor->shape;
  for (int c = 0; c < s.c; c++) {
    float *to = target->data + tensor_at(target->tensor, strip->n, c, strip->d, strip->h, strip->w);
    float bias = target->bias ? target->bias[c] : 0;
    for (int tile = 0; tile < strip->tiles; tile++, to += TILE) {
      int left = s.w - strip->w - tile * TILE;
      if (left >= TILE)
        store_tile(target, strip->sums[tile][c], bias, to, TILE);
      else
        store_tile(target, strip->sums[tile][c], bias, to, left);
    }
  }
}

static void compute_row(const struct conv_target *target, const struct conv_source *sources,
                        int count, struct strip *strip, struct gathered *gathered) {
  int tiles = (target->tensor->shape.w + TILE - 1) / TILE;
  for (int first = 0; first < tiles; first += MOST_TILES) {
    strip->w = first * TILE;
    strip->tiles = tiles - first < MOST_TILES ? tiles - first : MOST_TILES;
    for (int tile = 0; tile < strip->tiles; tile++)
      for (int c = 0; c < MOST_CHANNELS; c++) *(lanes *)strip->sums[tile][c] = (lanes){0};
    for (int i = 0; i < count; i++) add_source(strip, gathered, &sources[i]);
    store_sums(target, strip);
  }
}

/* So many rows along h that the planes that the next d reads again are still in the cache. */
static int find_band(const struct conv_source *sources, int count, int height) {
  int64_t row = 0;
  for (int i = 0; i < count; i++)
    row += (int64_t)sources[i].packing.axis[0].taps[0] * sources[i].tensor->shape.w *
           conv_packing_lane_blocks(&sources[i].packing) * CHANNEL_BLOCK * (int64_t)sizeof(float);
  int64_t band = CACHE_BYTES / row;
  if (band < LEAST_BAND) band = LEAST_BAND;
  return band < height ? (int)band : height;
}

void SIMD_NAME(conv_planar)(const struct conv_target *target, const struct conv_source *sources,
                            int count) {
  struct shape s = target->tensor->shape;
  int band = find_band(sources, count, s.h), bands = (s.h + band - 1) / band;
#pragma omp parallel
  {
    struct gathered gathered;
    gathered.rows = 0;
#pragma omp for schedule(static) collapse(4)
    for (int n = 0; n < s.n; n++)
      for (int b = 0; b < bands; b++)
        for (int d = 0; d < s.d; d++)
          for (int row = 0; row < band; row++) {
            struct strip strip = {.n = n, .d = d, .h = b * band + row};
            if (strip.h < s.h) compute_row(target, sources, count, &strip, &gathered);
          }
  }
}
