/* Convolution of planar sources to a blocked target: for a tile of voxels along w all sums stay in
 * registers while the rows of taps go by; each value is spread over a vector once for several taps.
 * Target rows may come in pairs, whose 4 products are rows of taps of their own. */
#include "kernels/conv/conv_image.h"

enum {
  PLANES_TOGETHER = 16,
  MOST_TAPS = 4,
#if defined SIMD_ISA_AVX512
  MOST_WIDTH = 26,
#elif defined SIMD_ISA_AVX2
  MOST_WIDTH = 4,
#else
  MOST_WIDTH = 2,
#endif
};

/* Taps `tap`, `tap` + step, ... of all rows for the voxels of a tile. */
struct tile {
  const struct conv_image_row *rows;
  int count, block, tap;
  const float *x;    /* of the first voxel in the slab */
  const float *from; /* sums so far, or the bias of all voxels */
  int from_step;
  float *between; /* more taps are to come: where the sums go; NULL: these are the last */
  float *to;
  float *difference; /* of the sums in `to` and the new ones, while their sum is put in `to` */
  float slope;
  bool add, stream; /* stream: past the caches */
};

/* Each question is asked once for all voxels, not in between. */
static inline __attribute__((always_inline)) void finish(const struct tile *tile,
                                                         simd sum[MOST_WIDTH][SIMD_PER_BLOCK],
                                                         const int width) {
  const int vectors = width * SIMD_PER_BLOCK;
  float *to = tile->to;
  if (tile->between) {
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++)
      simd_store(tile->between + i * SIMD_WIDTH, sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK]);
    return;
  }
  if (tile->slope != 1) {
    const float slope = tile->slope;
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++)
      sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK] =
          conv_leaky(sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK], slope);
  }
  if (tile->difference) {
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++) {
      simd value = sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK];
      simd before = simd_load(to + i * SIMD_WIDTH);
      simd_store(to + i * SIMD_WIDTH, before + value);
      simd_store(tile->difference + i * SIMD_WIDTH, before - value);
    }
  } else if (tile->stream) {
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++)
      simd_stream(to + i * SIMD_WIDTH, sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK]);
  } else if (tile->add) {
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++)
      simd_store(to + i * SIMD_WIDTH,
                 sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK] + simd_load(to + i * SIMD_WIDTH));
  } else {
    SIMD_UNROLL
    for (int i = 0; i < vectors; i++)
      simd_store(to + i * SIMD_WIDTH, sum[i / SIMD_PER_BLOCK][i % SIMD_PER_BLOCK]);
  }
}

/* taps, step and width are constants to the compiler. */
static inline __attribute__((always_inline)) void accumulate(const struct tile *tile,
                                                             const int taps, const int step,
                                                             const int width) {
  simd sum[MOST_WIDTH][SIMD_PER_BLOCK], weight[MOST_TAPS][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int t = 0; t < width; t++) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++)
    sum[t][p] = simd_load(tile->from + t * tile->from_step + p * SIMD_WIDTH);
  for (const struct conv_image_row *row = tile->rows; row < tile->rows + tile->count; row++) {
    const float *x = tile->x + row->at + tile->tap;
    const float *w = row->w + row->block_stride * tile->block + tile->tap * CHANNEL_BLOCK;
    SIMD_UNROLL
    for (int k = 0; k < taps; k++) SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      weight[k][p] = simd_load(w + k * step * CHANNEL_BLOCK + p * SIMD_WIDTH);
    SIMD_UNROLL
    for (int v = 0; v < width + taps - 1; v++) {
      simd value = simd_all(x[v * step]);
      SIMD_UNROLL
      for (int k = 0; k < taps; k++) SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        if (v >= k && v - k < width) sum[v - k][p] += value * weight[k][p];
    }
  }
  finish(tile, sum, width);
}

// clang-format off
#define DEFINE(k, s, t)                                                                           \
  static void accumulate_##k##_##s##_##t(const struct tile *tile) { accumulate(tile, k, s, t); }
#define NAME(k, s, t) [k - 1][s - 1][t - 1] = accumulate_##k##_##s##_##t,
#define WIDTHS_TO_2(DO, k, s) DO(k, s, 1) DO(k, s, 2)
#define WIDTHS_TO_4(DO, k, s) WIDTHS_TO_2(DO, k, s) DO(k, s, 3) DO(k, s, 4)
#define WIDTHS_TO_26(DO, k, s)                                                                    \
  WIDTHS_TO_4(DO, k, s) DO(k, s, 5) DO(k, s, 6) DO(k, s, 7) DO(k, s, 8) DO(k, s, 10)              \
  DO(k, s, 12) DO(k, s, 14) DO(k, s, 16) DO(k, s, 18) DO(k, s, 20) DO(k, s, 22) DO(k, s, 24)      \
  DO(k, s, 26)
#if defined SIMD_ISA_AVX512
#define WIDTHS(DO, k, s) WIDTHS_TO_26(DO, k, s)
#elif defined SIMD_ISA_AVX2
#define WIDTHS(DO, k, s) WIDTHS_TO_4(DO, k, s)
#else
#define WIDTHS(DO, k, s) WIDTHS_TO_2(DO, k, s)
#endif
#define ALL(DO)                                                                                   \
  WIDTHS(DO, 1, 1) WIDTHS(DO, 2, 1) WIDTHS(DO, 3, 1) WIDTHS(DO, 4, 1)                             \
  WIDTHS(DO, 1, 2) WIDTHS(DO, 2, 2) WIDTHS(DO, 3, 2) WIDTHS(DO, 4, 2)
ALL(DEFINE)
typedef void accumulate_function(const struct tile *tile);
static accumulate_function *const functions[MOST_TAPS][2][MOST_WIDTH] = {ALL(NAME)};
// clang-format on

/* The width of the first tile of so many voxels: above 8 even ones are there. */
static int tile_width(int voxels) {
  int tiles = (voxels + MOST_WIDTH - 1) / MOST_WIDTH, width = (voxels + tiles - 1) / tiles;
  if (width <= 8 || width % 2 == 0) return width;
  return tiles > 1 ? width + 1 : width - 7;
}

/* Runs of taps that share values: neighbours at step 1, every second one at step 2. */
struct runs {
  int count, tap[CONV_IMAGE_TAPS], taps[CONV_IMAGE_TAPS];
};

static struct runs find_runs(int taps, int step) {
  struct runs runs = {0};
  for (int parity = 0; parity < step; parity++)
    for (int left = (taps - parity + step - 1) / step, tap = parity; left > 0;) {
      int most = left > MOST_TAPS && left < 2 * MOST_TAPS ? (left + 1) / 2 : MOST_TAPS;
      int now = left < most ? left : most;
      runs.tap[runs.count] = tap;
      runs.taps[runs.count++] = now;
      tap += now * step;
      left -= now;
    }
  return runs;
}

/* What all tiles of a pass have in common. */
struct pass {
  const struct conv_target *target;
  struct conv_image image;
  struct runs runs;
  int blocks, chunk;    /* chunk: planes that share a ring */
  const float *weights; /* of the products of pairs */
  bool stream;
};

/* All taps along w of the tile's rows. A tile is filled in field by field and handed on by address:
 * a copy of the whole would have to wait until all earlier stores, the tile before among them, are
 * written. */
static void compute_taps(const struct pass *pass, struct tile *tile, int width) {
  float sums[MOST_WIDTH * CHANNEL_BLOCK];
  const struct runs *runs = &pass->runs;
  for (int i = 0; i < runs->count; i++) {
    tile->tap = runs->tap[i];
    tile->between = i < runs->count - 1 ? sums : NULL;
    functions[runs->taps[i] - 1][pass->image.step[2] - 1][width - 1](tile);
    tile->from = sums;
    tile->from_step = CHANNEL_BLOCK;
  }
}

/* The rest of the sums in a target row. */
static void finish_row(const struct pass *pass, struct tile *tile, int width, float *to) {
  tile->to = to;
  tile->slope = pass->target->slope;
  tile->add = pass->target->add;
  tile->stream = pass->stream;
  compute_taps(pass, tile, width);
}

/* The tile's rows of taps are those of a part of the products. */
static void turn_to(const struct pass *pass, struct tile *tile, const struct conv_image_row *rows,
                    enum conv_image_part part) {
  const struct conv_image *image = &pass->image;
  tile->rows = rows + conv_image_part_first(image, part) * image->row_count;
  tile->count = conv_image_part_count(image, part) * image->row_count;
}

/* Two target rows, or the first of them (second NULL). */
static void compute_pair(const struct pass *pass, struct tile *tile, int width, float *first,
                         float *second) {
  static const float zeros[CHANNEL_BLOCK];
  float sums[2][MOST_WIDTH * CHANNEL_BLOCK];
  const struct conv_image_row *rows = tile->rows;
  tile->slope = 1;
  tile->add = tile->stream = false;
  tile->to = sums[0];
  turn_to(pass, tile, rows, CONV_IMAGE_SUM);
  compute_taps(pass, tile, width);
  tile->from = zeros;
  tile->from_step = 0;
  tile->difference = sums[1];
  turn_to(pass, tile, rows, CONV_IMAGE_DIFFERENCE);
  compute_taps(pass, tile, width);
  tile->difference = NULL;
  tile->from_step = CHANNEL_BLOCK;
  for (int i = 0; i < (second ? 2 : 1); i++) {
    tile->from = sums[i];
    turn_to(pass, tile, rows, i == 0 ? CONV_IMAGE_FIRST : CONV_IMAGE_SECOND);
    finish_row(pass, tile, width, i == 0 ? first : second);
  }
  tile->rows = rows;
}

/* A target row, or a pair of them. */
static void compute_row(const struct pass *pass, const struct conv_image_row *rows, const float *x,
                        int n, int d, int h) {
  static const float zeros[CHANNEL_BLOCK];
  const struct conv_target *target = pass->target;
  struct shape s = target->tensor->shape;
  struct tile tile = {.rows = rows, .count = pass->image.row_count};
  for (int w = 0, width; w < s.w; w += width) {
    width = tile_width(s.w - w);
    tile.x = x + w * pass->image.step[2];
    for (tile.block = 0; tile.block < pass->blocks; tile.block++) {
      float *to = target->data + tensor_at(target->tensor, n, tile.block * CHANNEL_BLOCK, d, h, w);
      tile.from = target->bias ? target->bias + tile.block * CHANNEL_BLOCK : zeros;
      tile.from_step = 0;
      if (pass->image.pairs)
        compute_pair(pass, &tile, width, to, h + 1 < s.h ? to + s.w * CHANNEL_BLOCK : NULL);
      else
        finish_row(pass, &tile, width, to);
    }
  }
}

static void compute_plane(const struct pass *pass, const struct conv_image_row *rows,
                          const float *slab, int n, int d, int band) {
  const struct conv_image *image = &pass->image;
  int together = image->pairs ? 2 : 1;
  int height = image->pairs ? image->products : image->step[1];
  for (int h = 0; h < conv_image_band_rows(image, band);
       h += together, slab += (int64_t)height * image->pitch)
    compute_row(pass, rows, slab, n, d, band * image->band + h);
}

/* One band of the planes of a chunk. */
static void compute_band(const struct pass *pass, float *slab, int n, int first, int band) {
  const struct conv_image *image = &pass->image;
  struct conv_image_row rows[CONV_IMAGE_ROWS];
  int last = first + pass->chunk < image->target.d ? first + pass->chunk : image->target.d;
  for (int d = first; d < last; d++) {
    if (image->pairs) {
      SIMD_NAME(conv_image_fill_pairs)(image, slab, n, d, band, d == first);
      conv_image_find_products(image, d, pass->weights, rows);
    } else {
      conv_image_fill(image, slab, n, d, band, d == first);
      conv_image_find_rows(image, d, rows);
    }
    compute_plane(pass, rows, slab, n, d, band);
  }
}

/* Whether the target is far larger than the caches and nothing but written. */
static bool streams(const struct conv_target *target) {
  return !target->add && tensor_bytes(target->tensor) >= SIMD_STREAM_BYTES &&
         (uintptr_t)target->data % sizeof(float[CHANNEL_BLOCK]) == 0;
}

void SIMD_NAME(conv_image)(const struct conv_target *target, const struct conv_source *sources,
                           int count) {
  struct shape s = target->tensor->shape;
  struct pass pass = {.target = target,
                      .image = conv_image_open(target->tensor, sources, count),
                      .blocks = tensor_stored_channels(target->tensor) / CHANNEL_BLOCK,
                      .chunk = PLANES_TOGETHER,
                      .stream = streams(target)};
  float weights[CONV_IMAGE_WEIGHTS];
  pass.runs = find_runs(pass.image.taps[2], pass.image.step[2]);
  if (conv_image_pairs_pay(&pass.image, pass.blocks)) {
    conv_image_cut_pairs(&pass.image);
    SIMD_NAME(conv_image_transform)(&pass.image, pass.blocks, weights);
    pass.weights = weights;
  }
  int chunks = (s.d + pass.chunk - 1) / pass.chunk;
#pragma omp parallel
  {
    float slab[CONV_IMAGE_FLOATS] __attribute__((aligned(64)));
#pragma omp for schedule(static) collapse(3)
    for (int n = 0; n < s.n; n++)
      for (int chunk = 0; chunk < chunks; chunk++)
        for (int band = 0; band < pass.image.bands; band++)
          compute_band(&pass, conv_image_slab(&pass.image, slab), n, chunk * pass.chunk, band);
    if (pass.stream) simd_flush();
  }
}
