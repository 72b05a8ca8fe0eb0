/* Convolution to a blocked target: rows of voxels are cut into tiles; for each, the source rows
 * that its taps see are gathered and handed to the innermost loops. */
#include "kernels/common/simd16.h"
#include "kernels/conv/conv_direct.h"

enum {
  MOST_ROWS = 18,      /* rows of taps that are gathered before they are multiplied */
  BLOCKS_TOGETHER = 4, /* blocks of target channels that share gathered rows */
  CACHE_BYTES = 1 << 19,
  LEAST_BAND = 4,
  EDGE_VOXELS = 2 * CONV_TILE + CONV_MOST_TAPS,
};

/* A tile of target voxels: where it is and its sums so far. */
struct tile {
  int n, block, blocks, phase[3], at[3], width;
  bool stream; /* past the caches */
  float sums[BLOCKS_TOGETHER][CONV_BLOCK_SUMS];
};

/* Taps on their way to the sums: `count` taps from tap `from` on, which see `length` voxels of a
 * row of the source from voxel `first` on: where they lie, but for single ones outside at the ends,
 * or copied with zeros around. */
struct gathered {
  int rows, from, count, first, length;
  bool in_place;
  conv_accumulator *pairs; /* for sources of such words */
  struct conv_taps taps[MOST_ROWS];
  float edges[MOST_ROWS][EDGE_VOXELS * CHANNEL_BLOCK];
};

static const float zeros[CHANNEL_BLOCK];

/* The source's position along an axis of tap 0. */
static int source_at(const struct conv_packing *packing, const struct tile *tile, int axis) {
  const struct conv_axis *a = &packing->axis[axis];
  return a->step * tile->at[axis] + a->first[tile->phase[axis]];
}

static void flush(struct tile *tile, struct gathered *gathered, const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  size_t stride = conv_packing_block_stride(packing, tile->phase);
  bool pairs = source->tensor->dtype == DTYPE_BF16;
  conv_accumulator *choose = pairs ? gathered->pairs : SIMD_NAME(conv_accumulator);
  for (int b = 0, blocks; b < tile->blocks; b += blocks) {
    blocks = SIMD_NAME(conv_blocks_together)(tile->width, tile->blocks - b);
    conv_accumulate *add =
        choose(gathered->count, packing->group > 1, packing->axis[2].step, tile->width, blocks);
    add(tile->sums[b], gathered->taps, gathered->rows, stride * b, stride);
  }
  gathered->rows = 0;
}

/* The voxels of a row that the next gathered->count taps see. */
static void find_voxels(const struct tile *tile, struct gathered *gathered,
                        const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  int extent = source->tensor->shape.w;
  gathered->first = source_at(packing, tile, 2) + gathered->from;
  gathered->length = packing->axis[2].step * (tile->width - 1) + gathered->count;
  gathered->in_place = gathered->first >= -1 && gathered->first + gathered->length <= extent + 1 &&
                       gathered->length > 1;
}

/* Takes the gathered->count taps of one row of `extent` voxels of so many words. Written field by
 * field: a copy of the whole would have to wait until its parts are stored. */
static void gather(struct gathered *gathered, const float *row, int extent, int words,
                   const float *w) {
  int index = gathered->rows++, first = gathered->first, length = gathered->length;
  struct conv_taps *taps = &gathered->taps[index];
  const float *x = row + (int64_t)first * words;
  if (!gathered->in_place)
    x = conv_window(row, extent, words, first, length, gathered->edges[index]);
  taps->x = x;
  taps->first = gathered->in_place && first < 0 ? zeros : x;
  taps->last =
      gathered->in_place && first + length > extent ? zeros : x + (int64_t)(length - 1) * words;
  taps->w = w + (int64_t)gathered->from * words * CHANNEL_BLOCK;
}

/* Asks for the part of source row `row` + step that the tile below this one will be the first to
 * read. Inlined by force: gcc 12 removes calls of functions that do nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch_below(const struct tile *tile,
                                                                 const struct conv_source *source,
                                                                 int h, const float *row) {
  const struct conv_packing *packing = &source->packing;
  const struct conv_axis *a = packing->axis;
  struct shape s = source->tensor->shape;
  int words = conv_words_of(source->tensor);
  if (h + a[1].step >= s.h) return;
  row += (int64_t)a[1].step * s.w * words;
  int64_t from = (int64_t)source_at(packing, tile, 2) * words;
  int64_t to = from + (int64_t)a[2].step * tile->width * words;
  for (int64_t i = from < 0 ? 0 : from; i < to; i += CHANNEL_BLOCK) __builtin_prefetch(row + i);
}

static void add_group(struct tile *tile, struct gathered *gathered,
                      const struct conv_source *source, int group, const float *w) {
  const struct conv_packing *packing = &source->packing;
  struct shape s = source->tensor->shape;
  const struct conv_axis *a = packing->axis;
  const int *phase = tile->phase;
  int first_d = source_at(packing, tile, 0), last_d = first_d + a[0].taps[phase[0]] - 1;
  int first_h = source_at(packing, tile, 1), last_h = first_h + a[1].taps[phase[1]] - 1;
  int words = conv_words_of(source->tensor), row_size = a[2].taps[phase[2]] * words * CHANNEL_BLOCK;
  const float *start = conv_row(source->tensor, source->data, tile->n, group, 0, 0);
  for (int d = first_d; d <= last_d; d++)
    for (int h = first_h; h <= last_h; h++, w += row_size) {
      if (d < 0 || d >= s.d || h < 0 || h >= s.h) continue;
      const float *row = start + ((int64_t)d * s.h + h) * s.w * words;
      if (d == last_d && h > last_h - a[1].step) prefetch_below(tile, source, h, row);
      if (gathered->rows == MOST_ROWS) flush(tile, gathered, source);
      gather(gathered, row, s.w, words, w);
    }
}

static void add_source(struct tile *tile, struct gathered *gathered,
                       const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  int taps = packing->axis[2].taps[tile->phase[2]], groups = conv_packing_groups(packing);
  const float *w = source->packed + conv_packing_at(packing, tile->phase, tile->block, 0);
  size_t group_stride = conv_packing_block_stride(packing, tile->phase) / groups;
  for (int from = 0; from < taps; from += gathered->count) {
    gathered->from = from;
    gathered->count =
        SIMD_NAME(conv_taps_together)(taps - from, packing->group > 1, packing->axis[2].step);
    find_voxels(tile, gathered, source);
    for (int group = 0; group < groups; group++)
      add_group(tile, gathered, source, group, w + group_stride * group);
    if (gathered->rows > 0) flush(tile, gathered, source);
  }
}

static int element_bytes(const struct conv_target *target) {
  return target->tensor->dtype == DTYPE_BF16 ? sizeof(uint16_t) : sizeof(float);
}

/* The first voxel of a tile in block `block`. */
static void *target_at(const struct conv_target *target, const struct tile *tile, int block,
                       const int phases[3]) {
  const int *at = tile->at, *phase = tile->phase;
  int64_t element = tensor_at(target->tensor, tile->n, (tile->block + block) * CHANNEL_BLOCK,
                              phases[0] * at[0] + phase[0], phases[1] * at[1] + phase[1],
                              phases[2] * at[2] + phase[2]);
  return (unsigned char *)target->data + element * element_bytes(target);
}

/* Also asks for the lines that will be written. */
static void start_sums(const struct conv_target *target, struct tile *tile, const int phases[3]) {
  for (int b = 0; b < tile->blocks; b++) {
    const unsigned char *to = target_at(target, tile, b, phases);
    float *sums = tile->sums[b];
    const float *bias = target->bias ? target->bias + (tile->block + b) * CHANNEL_BLOCK : zeros;
    for (int t = 0; t < tile->width; t++) {
      if (!tile->stream)
        __builtin_prefetch(to + t * phases[2] * CHANNEL_BLOCK * element_bytes(target), 1);
      memcpy(sums + t * CHANNEL_BLOCK, bias, sizeof(float[CHANNEL_BLOCK]));
    }
  }
}

/* The voxels of a tile in one block; `dtype` and `stream` are constants to the compiler. */
static inline __attribute__((always_inline)) void store_block(const struct conv_target *target,
                                                              const float *sums, int width,
                                                              int step, enum dtype dtype,
                                                              bool stream, void *to) {
  for (int t = 0; t < width; t++, sums += CHANNEL_BLOCK)
    for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH) {
      int at = t * step * CHANNEL_BLOCK + p;
      simd value = conv_leaky(simd_load(sums + p), target->slope);
      if (target->add) value += simd_get(dtype, to, at);
      simd_put(dtype, to, at, value, stream);
    }
}

static void store_sums(const struct conv_target *target, const struct tile *tile,
                       const int phases[3]) {
  for (int b = 0; b < tile->blocks; b++) {
    void *to = target_at(target, tile, b, phases);
    if (target->tensor->dtype == DTYPE_BF16)
      store_block(target, tile->sums[b], tile->width, phases[2], DTYPE_BF16, false, to);
    else if (tile->stream)
      store_block(target, tile->sums[b], tile->width, phases[2], DTYPE_F32, true, to);
    else
      store_block(target, tile->sums[b], tile->width, phases[2], DTYPE_F32, false, to);
  }
}

/* Computes one row (along w) of one phase. */
static void compute_row(const struct conv_target *target, const struct conv_source *sources,
                        int count, struct tile *tile, struct gathered *gathered) {
  const struct conv_axis *axis = sources[0].packing.axis;
  const int phases[] = {axis[0].phases, axis[1].phases, axis[2].phases};
  int width = conv_axis_length(target->tensor->shape.w, phases[2], tile->phase[2]);
  for (int w = 0; w < width; w += tile->width) {
    tile->at[2] = w;
    tile->width = SIMD_NAME(conv_tile_width)(width - w);
    start_sums(target, tile, phases);
    for (int s = 0; s < count; s++) add_source(tile, gathered, &sources[s]);
    store_sums(target, tile, phases);
  }
}

/* Rows in the order n, band of rows along h, group of blocks, d, phase, h: within a band the planes
 * that the next d reads again are still in the cache. */
struct rows {
  int n, d, h, band, bands, groups, phases[3], blocks;
};

/* Rows along h whose sources fill a good part of a core's second-level cache. */
static int find_band(const struct conv_source *sources, int count, int rows) {
  int64_t bytes = 0;
  for (int i = 0; i < count; i++) {
    const struct conv_axis *axis = sources[i].packing.axis;
    bytes += (int64_t)sizeof(float) * sources[i].tensor->shape.w * axis[1].step *
             conv_packing_groups(&sources[i].packing) * conv_words_of(sources[i].tensor) *
             (conv_axis_most_taps(&axis[0]) + axis[0].step - 1);
  }
  int64_t band = CACHE_BYTES / bytes;
  return band < LEAST_BAND ? LEAST_BAND : band > rows ? rows : (int)band;
}

static struct rows count_rows(const struct conv_target *target, const struct conv_source *sources,
                              int count) {
  struct shape s = target->tensor->shape;
  const struct conv_axis *axis = sources[0].packing.axis;
  int blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK;
  struct rows rows = {.n = s.n,
                      .d = conv_axis_length(s.d, axis[0].phases, 0),
                      .h = conv_axis_length(s.h, axis[1].phases, 0),
                      .groups = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER,
                      .phases = {axis[0].phases, axis[1].phases, axis[2].phases},
                      .blocks = blocks};
  rows.band = find_band(sources, count, rows.h);
  rows.bands = (rows.h + rows.band - 1) / rows.band;
  return rows;
}

/* Returns false where there is no such row: the last band is short, a later phase may be. */
static bool find_row(const struct rows *rows, struct shape s, int64_t index, struct tile *tile) {
  const int *phases = rows->phases;
  tile->at[1] = (int)(index % rows->band), index /= rows->band;
  tile->phase[2] = (int)(index % phases[2]), index /= phases[2];
  tile->phase[1] = (int)(index % phases[1]), index /= phases[1];
  tile->phase[0] = (int)(index % phases[0]), index /= phases[0];
  tile->at[0] = (int)(index % rows->d), index /= rows->d;
  tile->block = (int)(index % rows->groups) * BLOCKS_TOGETHER, index /= rows->groups;
  tile->at[1] += (int)(index % rows->bands) * rows->band, index /= rows->bands;
  tile->n = (int)index;
  int left = rows->blocks - tile->block;
  tile->blocks = left < BLOCKS_TOGETHER ? left : BLOCKS_TOGETHER;
  return tile->at[0] < conv_axis_length(s.d, phases[0], tile->phase[0]) &&
         tile->at[1] < conv_axis_length(s.h, phases[1], tile->phase[1]);
}

/* Whether the target is far larger than the caches and nothing but written. */
static bool streams(const struct conv_target *target) {
  return target->tensor->dtype == DTYPE_F32 && !target->add &&
         tensor_bytes(target->tensor) >= SIMD_STREAM_BYTES &&
         (uintptr_t)target->data % sizeof(float[CHANNEL_BLOCK]) == 0;
}

void SIMD_NAME(conv_rows_of_pairs)(const struct conv_target *target,
                                   const struct conv_source *sources, int count,
                                   conv_accumulator *pairs) {
  struct rows rows = count_rows(target, sources, count);
  int64_t total = (int64_t)rows.n * rows.bands * rows.groups * rows.d * rows.phases[0] *
                  rows.phases[1] * rows.phases[2] * rows.band;
#pragma omp parallel
  {
    struct tile tile;
    struct gathered gathered;
    gathered.rows = 0;
    gathered.pairs = pairs;
    tile.stream = streams(target);
#pragma omp for schedule(static)
    for (int64_t index = 0; index < total; index++)
      if (find_row(&rows, target->tensor->shape, index, &tile))
        compute_row(target, sources, count, &tile, &gathered);
    if (tile.stream) simd_flush();
  }
}

void SIMD_NAME(conv_rows)(const struct conv_target *target, const struct conv_source *sources,
                          int count) {
  SIMD_NAME(conv_rows_of_pairs)(target, sources, count, NULL);
}
