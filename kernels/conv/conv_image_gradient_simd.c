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

/* Target rows whose outer products are summed; distances in floats. Meanwhile as many lines from
 * `ahead` on as there are voxels are asked for, if it is not NULL. */
struct sweep {
  const float *vectors, *x; /* x: of the first voxel in the slab */
  int rows, voxels;
  int64_t pitch; /* of x from target row to target row */
  const float *ahead;
};

typedef void outer_function(float *sums, const struct sweep *sweep,
                            const struct conv_image_row *taps, int count);

/* One target row of `outer`. Values are spread once for all vectors that they meet: at place v
 * those of voxels v, v - 1, ... meet the values step * v ... step * v + step - 1. `ring` vectors
 * are kept; at the ends of the row some are not there. */
struct row {
  const float *const *x;
  const float *vector, *ahead;
  int64_t at;
};

/* The products of place `place`, at which vector v - shift is in lanes[(place - shift) % ring], for
 * shifts `from` to before `to`. */
static inline __attribute__((always_inline)) void meet(simd sum[MOST_SUMS][SIMD_PER_BLOCK],
                                                       simd lanes[][SIMD_PER_BLOCK],
                                                       const struct row *row, const int place,
                                                       const int from, const int to,
                                                       const int together, const int taps,
                                                       const int step, const int ring) {
  SIMD_UNROLL
  for (int r = 0; r < together; r++) SIMD_UNROLL
  for (int phase = 0; phase < step; phase++) {
    if (from * step + phase >= taps) continue;
    simd value = simd_all(row->x[r][row->at + place * step + phase]);
    SIMD_UNROLL
    for (int shift = from; shift < to; shift++) {
      if (shift * step + phase >= taps) continue;
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[r * taps + shift * step + phase][p] += lanes[(place - shift + ring) % ring][p] * value;
    }
  }
}

/* The vector of place `place`. */
static inline __attribute__((always_inline)) void take(simd lanes[][SIMD_PER_BLOCK],
                                                       const struct row *row, const int place,
                                                       const int ring, const bool ask) {
  if (ask) __builtin_prefetch(row->ahead + place * CHANNEL_BLOCK, 0, 2);
  SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++)
    lanes[place % ring][p] = simd_load(row->vector + place * CHANNEL_BLOCK + p * SIMD_WIDTH);
}

/* sums[r][k][16] += vector[16] * x[r][k] over all voxels for `count` rows of taps, at most
 * `together`, which is a constant to the compiler as are taps, step and whether lines are asked
 * for. */
static inline __attribute__((always_inline)) void outer(float *sums, const struct sweep *sweep,
                                                        const struct conv_image_row *taps_row,
                                                        int count, const int together,
                                                        const int taps, const int step,
                                                        const bool ask) {
  const int ring = (taps - 1) / step + 1;
  const float *x[MOST_ROWS];
  simd sum[MOST_SUMS][SIMD_PER_BLOCK], lanes[CONV_IMAGE_TAPS][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int r = 0; r < together; r++) x[r] = sweep->x + taps_row[r < count ? r : 0].at;
  SIMD_UNROLL
  for (int i = 0; i < together * taps; i++) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[i][p] = (simd){0};
  struct row row = {x, sweep->vectors, sweep->ahead, 0};
  for (int h = 0; h < sweep->rows; h++) {
    int left = sweep->voxels;
    row.at = h * sweep->pitch;
    if (left >= ring) {
      SIMD_UNROLL
      for (int i = 0; i < ring - 1; i++) {
        take(lanes, &row, i, ring, ask);
        meet(sum, lanes, &row, i, 0, i + 1, together, taps, step, ring);
      }
      for (; left >= 2 * ring - 1; left -= ring) {
        SIMD_UNROLL
        for (int i = 0; i < ring; i++) {
          take(lanes, &row, ring - 1 + i, ring, ask);
          meet(sum, lanes, &row, ring - 1 + i, 0, ring, together, taps, step, ring);
        }
        row.vector += ring * CHANNEL_BLOCK, row.ahead += ring * CHANNEL_BLOCK;
        row.at += ring * step;
      }
      SIMD_UNROLL
      for (int i = 0; i < ring - 1; i++)
        meet(sum, lanes, &row, ring - 1 + i, i + 1, ring, together, taps, step, ring);
      row.vector += (ring - 1) * CHANNEL_BLOCK, row.ahead += (ring - 1) * CHANNEL_BLOCK;
      row.at += (ring - 1) * step;
      left -= ring - 1;
    }
    for (; left > 0; left--) {
      take(lanes, &row, 0, 1, ask);
      SIMD_UNROLL
      for (int r = 0; r < together; r++) SIMD_UNROLL
      for (int k = 0; k < taps; k++) SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        sum[r * taps + k][p] += lanes[0][p] * simd_all(x[r][row.at + k]);
      row.vector += CHANNEL_BLOCK, row.ahead += CHANNEL_BLOCK;
      row.at += step;
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
#define DEFINE_ONE(k, s, r, ask)                                                                  \
  static void outer_##k##_##s##_##r##_##ask(float *sums, const struct sweep *sweep,               \
                                            const struct conv_image_row *taps, int count) {       \
    outer(sums, sweep, taps, count, r, k, s, ask);                                                \
  }
#define DEFINE(k, r)                                                                              \
  DEFINE_ONE(k, 1, r, 0) DEFINE_ONE(k, 1, r, 1) DEFINE_ONE(k, 2, r, 0) DEFINE_ONE(k, 2, r, 1)
#define NAME(k, r)                                                                                \
  {k, r, {{outer_##k##_1_##r##_0, outer_##k##_1_##r##_1},                                         \
          {outer_##k##_2_##r##_0, outer_##k##_2_##r##_1}}},
/* Taps and rows of taps: many rows first. */
#if defined SIMD_ISA_AVX512
#define ALL(DO)                                                                                   \
  DO(1, 9) DO(1, 3) DO(2, 9) DO(2, 4) DO(3, 9) DO(3, 3) DO(4, 6) DO(5, 5) DO(6, 4) DO(7, 3)       \
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
  outer_function *step[2][2]; /* [step - 1][whether lines are asked for] */
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

/* copy := dy times the derivative of the activation, where there is one, and total += the sum, for
 * `count` voxels, a constant to the compiler, whose sums are apart. */
static inline __attribute__((always_inline)) void take_derivative(const float *dy, const float *y,
                                                                  float slope, float *copy,
                                                                  simd total[][SIMD_PER_BLOCK],
                                                                  const int count) {
  SIMD_UNROLL
  for (int i = 0; i < count; i++) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    int at = i * CHANNEL_BLOCK + p * SIMD_WIDTH;
    simd gradient = simd_load(dy + at);
    if (y) {
      simd_int above = simd_load(y + at) > 0;
      gradient = (simd)((above & (simd_int)gradient) | (~above & (simd_int)(gradient * slope)));
      simd_store(copy + at, gradient);
    }
    total[i][p] += gradient;
  }
}

/* `voxels` vectors of the target from float `at` on: in place, or where there is an activation with
 * its derivative taken at `copy`. Adds their sum to the bias's gradient. */
static const float *find_vectors(const struct pass *pass, int n, int block, int d, int64_t at,
                                 int voxels, float *copy) {
  enum { APART = 4 };
  const struct conv_image_activation *activation = pass->activation;
  int i = 0;
  const float *dy = pass->data + at, *y = activation->y ? activation->y + at : NULL;
  if (!y && !activation->bias_partial) return dy;
  simd total[APART][SIMD_PER_BLOCK] = {0};
  for (; i + APART <= voxels; i += APART)
    take_derivative(dy + i * CHANNEL_BLOCK, y ? y + i * CHANNEL_BLOCK : NULL, activation->slope,
                    copy + i * CHANNEL_BLOCK, total, APART);
  for (; i < voxels; i++)
    take_derivative(dy + i * CHANNEL_BLOCK, y ? y + i * CHANNEL_BLOCK : NULL, activation->slope,
                    copy + i * CHANNEL_BLOCK, total, 1);
  if (activation->bias_partial) {
    float *sums = activation->bias_partial +
                  (((int64_t)n * pass->blocks + block) * pass->target->shape.d + d) * CHANNEL_BLOCK;
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      simd_store(sums + p * SIMD_WIDTH,
                 simd_load(sums + p * SIMD_WIDTH) +
                     ((total[0][p] + total[1][p]) + (total[2][p] + total[3][p])));
  }
  return y ? copy : dy;
}

/* All rows of taps for some target rows of a block; what is ahead is asked for by the first sweeps.
 */
static void add_rows(const struct pass *pass, const struct conv_image_row *rows,
                     struct sweep *sweep, int block, const float *const ahead[2], float *sums) {
  static const int phase[3] = {0, 0, 0};
  const struct conv_image *image = &pass->image;
  int sweeps = 0;
  for (int i = 0; i < image->count; i++) {
    const struct conv_packing *packing = &image->sources[i].packing;
    float *to = sums + conv_packing_at(packing, phase, block, 0);
    int left = packing->channels * image->taps[0] * image->taps[1];
    for (int count; left > 0; left -= count, rows += count) {
      const struct kind *kind = find_kind(image->taps[2], left);
      count = left < kind->rows ? left : kind->rows;
      sweep->ahead = sweeps < 2 ? ahead[sweeps++] : NULL;
      kind->step[image->step[2] - 1][sweep->ahead != NULL](to, sweep, rows, count);
      to += count * image->taps[2] * CHANNEL_BLOCK;
    }
    sums += conv_packing_size(packing);
  }
}

/* `rows` rows of plane d from row h on, `voxels` of each from voxel w on: of several rows all. */
struct part {
  int n, d, h, w, rows, voxels;
};

static void add_part(const struct pass *pass, const struct conv_image_row *rows, const float *x,
                     const struct part *part, float *sums) {
  const struct conv_image *image = &pass->image;
  const float *y = pass->activation->y;
  float copy[MOST_VOXELS * CHANNEL_BLOCK];
  int count = part->rows * part->voxels;
  bool follows =
      part->h * image->target.w + part->w + 2 * count <= image->target.h * image->target.w;
  struct sweep sweep = {.x = x,
                        .rows = part->rows,
                        .voxels = part->voxels,
                        .pitch = (int64_t)image->step[1] * image->width};
  for (int block = 0; block < pass->blocks; block++) {
    int64_t at = tensor_at(pass->target, part->n, block * CHANNEL_BLOCK, part->d, part->h, part->w);
    int64_t next = at + (int64_t)count * CHANNEL_BLOCK;
    const float *ahead[2] = {follows ? pass->data + next : NULL, follows && y ? y + next : NULL};
    sweep.vectors = find_vectors(pass, part->n, block, part->d, at, count, copy);
    add_rows(pass, rows, &sweep, block, ahead, sums);
  }
}

/* One band of plane d of sample n: some rows at a time, or parts of long ones. */
static void add_band(const struct pass *pass, const float *slab, int n, int d, int band,
                     float *sums) {
  const struct conv_image *image = &pass->image;
  struct conv_image_row rows[CONV_IMAGE_ROWS];
  int extent = image->target.w, height = conv_image_band_rows(image, band);
  int most = MOST_VOXELS / extent > 1 ? MOST_VOXELS / extent : 1;
  conv_image_find_rows(image, d, rows);
  for (int h = 0; h < height; h += most)
    for (int w = 0; w < extent; w += MOST_VOXELS) {
      struct part part = {n,
                          d,
                          band * image->band + h,
                          w,
                          conv_at_most(height - h, most),
                          conv_at_most(extent - w, MOST_VOXELS)};
      add_part(pass, rows, slab + (int64_t)h * image->step[1] * image->width + w * image->step[2],
               &part, sums);
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
