/* The weight gradient of planar sources: the outer products of 16 lanes of the target's gradient
 * with the values of several rows of taps, so that each vector is loaded once for all of them. The
 * derivative of the target's activation can be taken on the way. */
#include "kernels/conv/conv_image.h"

enum {
  MOST_CHUNKS = 16,
  MOST_VOXELS = 512, /* vectors that stay in the first cache while the rows of taps go by */
#if defined SIMD_ISA_AVX512
  MOST_SUMS = 28,
  MOST_ROWS = 9,
#elif defined SIMD_ISA_AVX2
  MOST_SUMS = 7,
  MOST_ROWS = 6,
#else
  MOST_SUMS = 7,
  MOST_ROWS = 3,
#endif
};

/* Target rows whose outer products are summed; distances in floats. */
struct sweep {
  const float *vectors, *x; /* x: of the first voxel in the slab */
  int rows, voxels;
  int64_t pitch; /* of x from target row to target row */
};

typedef void outer_function(float *sums, const struct sweep *sweep,
                            const struct conv_image_row *taps, int count);

/* sums[r][k][16] += vector[16] * x[r][k] over all voxels for `count` rows of taps, at most
 * `together`, which is a constant to the compiler as are taps and step. */
static inline __attribute__((always_inline)) void outer(float *sums, const struct sweep *sweep,
                                                        const struct conv_image_row *row, int count,
                                                        const int together, const int taps,
                                                        const int step) {
  const float *x[MOST_ROWS], *vector = sweep->vectors;
  simd sum[MOST_SUMS][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int r = 0; r < together; r++) x[r] = sweep->x + row[r < count ? r : 0].at;
  SIMD_UNROLL
  for (int i = 0; i < together * taps; i++) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[i][p] = (simd){0};
  for (int h = 0; h < sweep->rows; h++) {
    int64_t at = h * sweep->pitch, end = at + (int64_t)step * sweep->voxels;
    for (; at < end; at += step, vector += CHANNEL_BLOCK) {
      simd lanes[SIMD_PER_BLOCK];
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) lanes[p] = simd_load(vector + p * SIMD_WIDTH);
      SIMD_UNROLL
      for (int r = 0; r < together; r++) SIMD_UNROLL
      for (int k = 0; k < taps; k++) SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[r * taps + k][p] += lanes[p] * simd_all(x[r][at + k]);
    }
  }
  SIMD_UNROLL
  for (int i = 0; i < together * taps; i++)
    if (i < count * taps) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    float *to = sums + i * CHANNEL_BLOCK + p * SIMD_WIDTH;
    simd_store(to, simd_load(to) + sum[i][p]);
  }
}

// clang-format off
#define DEFINE(k, r)                                                                              \
  static void outer_##k##_1_##r(float *sums, const struct sweep *sweep,                           \
                                const struct conv_image_row *taps, int count) {                   \
    outer(sums, sweep, taps, count, r, k, 1);                                                     \
  }                                                                                               \
  static void outer_##k##_2_##r(float *sums, const struct sweep *sweep,                           \
                                const struct conv_image_row *taps, int count) {                   \
    outer(sums, sweep, taps, count, r, k, 2);                                                     \
  }
#define NAME(k, r) {k, r, {outer_##k##_1_##r, outer_##k##_2_##r}},
/* Taps and rows of taps: many rows first. */
#if defined SIMD_ISA_AVX512
#define ALL(DO)                                                                                   \
  DO(1, 9) DO(1, 3) DO(2, 9) DO(2, 4) DO(3, 9) DO(3, 3) DO(4, 7) DO(5, 5) DO(6, 4) DO(7, 4)       \
  DO(7, 1)
#elif defined SIMD_ISA_AVX2
#define ALL(DO) DO(1, 6) DO(1, 1) DO(2, 3) DO(2, 1) DO(3, 2) DO(3, 1) DO(4, 1) DO(5, 1) DO(6, 1)  \
  DO(7, 1)
#else
#define ALL(DO) DO(1, 3) DO(1, 1) DO(2, 1) DO(3, 1) DO(4, 1) DO(5, 1) DO(6, 1) DO(7, 1)
#endif
ALL(DEFINE)
static const struct kind {
  int taps, rows;
  outer_function *step[2];
} kinds[] = {ALL(NAME)};
// clang-format on

/* The kind that wastes least: of those that take all rows of taps left the smallest, or else the
 * largest. */
static const struct kind *find_kind(int taps, int rows) {
  const struct kind *found = NULL;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].taps == taps && (!found || kinds[i].rows >= rows)) found = &kinds[i];
  return found;
}

/* What all chunks of a pass have in common. */
struct pass {
  const struct tensor *target;
  const float *data;
  const struct conv_image_activation *activation;
  struct conv_image image;
  int blocks, chunks;
  size_t size; /* of a chunk's sums */
};

/* Vectors of some target rows: in place, or where there is an activation with its derivative taken
 * at `copy`. Adds their sum to the bias's gradient. */
static const float *find_vectors(const struct pass *pass, int n, int block, int d, int h, int rows,
                                 float *copy) {
  const struct conv_image_activation *activation = pass->activation;
  int64_t at = tensor_at(pass->target, n, block * CHANNEL_BLOCK, d, h, 0);
  int64_t length = (int64_t)rows * pass->target->shape.w * CHANNEL_BLOCK;
  const float *dy = pass->data + at, *y = activation->y ? activation->y + at : NULL;
  if (!y && !activation->bias_partial) return dy;
  simd total[SIMD_PER_BLOCK] = {0};
  for (int64_t i = 0; i < length; i += CHANNEL_BLOCK)
    for (int p = 0; p < SIMD_PER_BLOCK; p++) {
      simd gradient = simd_load(dy + i + p * SIMD_WIDTH);
      if (y) {
        simd_int above = simd_load(y + i + p * SIMD_WIDTH) > 0;
        gradient = (simd)((above & (simd_int)gradient) |
                          (~above & (simd_int)(gradient * activation->slope)));
        simd_store(copy + i + p * SIMD_WIDTH, gradient);
      }
      total[p] += gradient;
    }
  if (activation->bias_partial) {
    float *sums = activation->bias_partial +
                  (((int64_t)n * pass->blocks + block) * pass->target->shape.d + d) * CHANNEL_BLOCK;
    for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH)
      simd_store(sums + p, simd_load(sums + p) + total[p / SIMD_WIDTH]);
  }
  return y ? copy : dy;
}

/* All rows of taps for some target rows of a block. */
static void add_rows(const struct pass *pass, const struct conv_image_row *rows,
                     const struct sweep *sweep, int block, float *sums) {
  static const int phase[3] = {0, 0, 0};
  const struct conv_image *image = &pass->image;
  for (int i = 0; i < image->count; i++) {
    const struct conv_packing *packing = &image->sources[i].packing;
    float *to = sums + conv_packing_at(packing, phase, block, 0);
    int left = packing->channels * image->taps[0] * image->taps[1];
    for (int count; left > 0; left -= count, rows += count) {
      const struct kind *kind = find_kind(image->taps[2], left);
      count = left < kind->rows ? left : kind->rows;
      kind->step[image->step[2] - 1](to, sweep, rows, count);
      to += count * image->taps[2] * CHANNEL_BLOCK;
    }
    sums += conv_packing_size(packing);
  }
}

/* One band of plane d of sample n. */
static void add_band(const struct pass *pass, const float *slab, int n, int d, int band,
                     float *sums) {
  const struct conv_image *image = &pass->image;
  struct conv_image_row rows[CONV_IMAGE_ROWS];
  float copy[MOST_VOXELS * CHANNEL_BLOCK];
  int extent = pass->target->shape.w, most = MOST_VOXELS / extent > 1 ? MOST_VOXELS / extent : 1;
  conv_image_find_rows(image, d, rows);
  for (int h = 0; h < conv_image_band_rows(image, band); h += most) {
    int left = conv_image_band_rows(image, band) - h;
    struct sweep sweep = {.rows = left < most ? left : most,
                          .voxels = extent,
                          .pitch = (int64_t)image->step[1] * image->width};
    sweep.x = slab + h * sweep.pitch;
    for (int block = 0; block < pass->blocks; block++) {
      sweep.vectors = find_vectors(pass, n, block, d, band * image->band + h, sweep.rows, copy);
      add_rows(pass, rows, &sweep, block, sums);
    }
  }
}

/* The planes of a chunk, band by band: within a band each source plane is copied once. */
static void add_chunk(const struct pass *pass, int chunk, float *slab, float *partial) {
  int depth = pass->target->shape.d, planes = pass->target->shape.n * depth;
  int first = (int)((int64_t)planes * chunk / pass->chunks);
  int last = (int)((int64_t)planes * (chunk + 1) / pass->chunks);
  float *sums = partial + pass->size * (size_t)chunk;
  memset(sums, 0, sizeof(float) * pass->size);
  for (int band = 0; band < pass->image.bands; band++)
    for (int plane = first; plane < last; plane++) {
      int n = plane / depth, d = plane % depth;
      conv_image_fill(&pass->image, slab, n, d, band, plane == first || d == 0);
      add_band(pass, slab, n, d, band, sums);
    }
}

static size_t sums_size(const struct conv_source *sources, int count) {
  size_t size = 0;
  for (int i = 0; i < count; i++) size += conv_packing_size(&sources[i].packing);
  return size;
}

static int count_chunks(const struct tensor *target) {
  int planes = target->shape.n * target->shape.d;
  return planes < MOST_CHUNKS ? planes : MOST_CHUNKS;
}

size_t SIMD_NAME(conv_image_size)(const struct tensor *target, const struct conv_source *sources,
                                  int count) {
  return sums_size(sources, count) * (size_t)count_chunks(target);
}

/* partial[0] += partial[1] + ... */
static void fold_chunks(float *partial, size_t size, int chunks) {
  for (size_t i = 0; i < size; i += SIMD_WIDTH) {
    simd sum = simd_load(partial + i);
    for (int chunk = 1; chunk < chunks; chunk++)
      sum += simd_load(partial + size * (size_t)chunk + i);
    simd_store(partial + i, sum);
  }
}

void SIMD_NAME(conv_image_weights)(const struct tensor *target, const float *data,
                                   const struct conv_image_activation *activation,
                                   const struct conv_source *sources, int count, float *partial) {
  struct pass pass = {.target = target,
                      .data = data,
                      .activation = activation,
                      .image = conv_image_open(target, sources, count),
                      .blocks = tensor_stored_channels(target) / CHANNEL_BLOCK,
                      .chunks = count_chunks(target),
                      .size = sums_size(sources, count)};
  if (activation->bias_partial)
    memset(activation->bias_partial, 0,
           sizeof(float) * (size_t)target->shape.n * pass.blocks * target->shape.d * CHANNEL_BLOCK);
#pragma omp parallel
  {
    float slab[CONV_IMAGE_FLOATS];
#pragma omp for schedule(static)
    for (int chunk = 0; chunk < pass.chunks; chunk++) add_chunk(&pass, chunk, slab, partial);
  }
  fold_chunks(partial, pass.size, pass.chunks);
}
