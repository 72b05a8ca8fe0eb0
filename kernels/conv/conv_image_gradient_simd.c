/* The weight gradient of planar sources: the outer products of 16 lanes of the target's gradient
 * with the values of several rows of taps, so that each vector is loaded once for all of them. The
 * derivative of the target's activation can be taken on the way. Where there are triples of taps
 * along h, two target rows give the sums of 3 taps by 4 products instead of 6: F(3, 2) of Lavin and
 * Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. */
#include "kernels/conv/conv_image.h"

enum {
  MOST_CHUNKS = 16,
  MOST_VOXELS = 256, /* whose vectors and copies stay in the first cache while taps go by */
  PAIR_VOXELS = 2 * MOST_VOXELS, /* of two rows */
  LEAST_ROWS = 6,                /* of taps that a product pays with */
  ASKING = 4,                    /* products that ask for half a row of each pair */
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

/* Target rows whose outer products are summed; distances in floats. Meanwhile lines from `ahead` on
 * are asked for, if it is not NULL: for each voxel one, `ahead_step` behind the one before. */
struct sweep {
  const float *vectors, *x; /* x: of the first voxel in the slab */
  int rows, voxels;
  int64_t pitch; /* of x from target row to target row */
  int64_t gap;   /* behind each row of vectors */
  int64_t line;  /* of the sums from row of taps to row of taps */
  const float *ahead;
  int ahead_step;
  int64_t ahead_gap; /* behind each row */
};

typedef void outer_function(float *sums, const struct sweep *sweep,
                            const struct conv_image_row *taps, int count);

/* One target row of `outer`. Values are spread once for all vectors that they meet: at place v
 * those of voxels v, v - 1, ... meet the values step * v ... step * v + step - 1. `ring` vectors
 * are kept; at the ends of the row some are not there. */
struct row {
  const float *const *x;
  const float *vector, *ahead;
  int ahead_step;
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
  if (ask) __builtin_prefetch(row->ahead + place * row->ahead_step, 0, 2);
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
  struct row row = {x, sweep->vectors, sweep->ahead, sweep->ahead_step, 0};
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
        row.vector += ring * CHANNEL_BLOCK, row.ahead += ring * row.ahead_step;
        row.at += ring * step;
      }
      SIMD_UNROLL
      for (int i = 0; i < ring - 1; i++)
        meet(sum, lanes, &row, ring - 1 + i, i + 1, ring, together, taps, step, ring);
      row.vector += (ring - 1) * CHANNEL_BLOCK, row.ahead += (ring - 1) * row.ahead_step;
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
      row.vector += CHANNEL_BLOCK, row.ahead += row.ahead_step;
      row.at += step;
    }
    row.vector += sweep->gap, row.ahead += sweep->ahead_gap;
  }
  SIMD_UNROLL
  for (int i = 0; i < together * taps; i++)
    if (i < count * taps) SIMD_UNROLL
  for (int p = 0; p < SIMD_PER_BLOCK; p++) {
    float *to = sums + i / taps * sweep->line + i % taps * CHANNEL_BLOCK + p * SIMD_WIDTH;
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
  DO(7, 2) DO(7, 1)
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
  int lines;   /* of sums of a channel and tap along d: the taps along h, or the products */
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
 * Of a product there is one row of taps per channel and tap along d. */
static void add_rows(const struct pass *pass, const struct conv_image_row *rows,
                     struct sweep *sweep, int block, const float *const ahead[2], float *sums) {
  static const int phase[3] = {0, 0, 0};
  const struct conv_image *image = &pass->image;
  int sweeps = 0, high = pass->image.pairs ? 1 : image->taps[1];
  for (int i = 0; i < image->count; i++) {
    const struct conv_packing *packing = &image->sources[i].packing;
    size_t lines = (size_t)pass->lines, taps = (size_t)image->taps[1];
    float *to = sums + conv_packing_at(packing, phase, block, 0) / taps * lines;
    int left = packing->channels * image->taps[0] * high;
    for (int count; left > 0; left -= count, rows += count) {
      const struct kind *kind = find_kind(image->taps[2], left);
      count = left < kind->rows ? left : kind->rows;
      sweep->ahead = sweeps < 2 ? ahead[sweeps++] : NULL;
      kind->step[image->step[2] - 1][sweep->ahead != NULL](to, sweep, rows, count);
      to += count * sweep->line;
    }
    sums += conv_packing_size(packing) / taps * lines;
  }
}

/* copy := the sums and the differences of pairs of rows of `length` floats, side by side; the row
 * that a last one lacks is zeros. */
static void add_pairs(const float *vectors, int rows, int64_t length, float *copy) {
  for (int row = 0; row < rows; row += 2, vectors += 2 * length, copy += 2 * length)
    for (int64_t i = 0; i < length; i += SIMD_WIDTH) {
      simd even = simd_load(vectors + i);
      simd odd = row + 1 < rows ? simd_load(vectors + length + i) : (simd){0};
      simd_store(copy + i, even + odd);
      simd_store(copy + length + i, even - odd);
    }
}

/* The same as add_rows by products, of sweep->rows target rows. */
static void add_products(const struct pass *pass, const struct conv_image_row *rows,
                         struct sweep *sweep, int block, const float *const ahead[2], float *sums) {
  float copy[PAIR_VOXELS * CHANNEL_BLOCK];
  const struct conv_image *image = &pass->image;
  const struct sweep whole = *sweep;
  const int64_t length = (int64_t)whole.voxels * CHANNEL_BLOCK;
  const float *vectors[CONV_IMAGE_PARTS] = {whole.vectors, copy, copy + length,
                                            whole.vectors + length};
  add_pairs(whole.vectors, whole.rows, length, copy);
  sweep->gap = length;
  sweep->ahead_step = CHANNEL_BLOCK / 2;
  sweep->ahead_gap = 2 * length - length / 2;
  for (int part = 0, product = 0; part < CONV_IMAGE_PARTS; part++)
    for (int i = 0; i < conv_image_part_count(image, part); i++, product++) {
      const float *next[2] = {NULL, NULL};
      int64_t at = product % 2 * length + product / 2 * (length / 2);
      for (int j = 0; product < ASKING && j < 2; j++) next[j] = ahead[j] ? ahead[j] + at : NULL;
      sweep->vectors = vectors[part];
      sweep->x = whole.x + (int64_t)product * image->pitch;
      sweep->rows = (whole.rows + (part != CONV_IMAGE_SECOND)) / 2;
      add_rows(pass, rows, sweep, block, next, sums + product * image->taps[2] * CHANNEL_BLOCK);
    }
  *sweep = whole;
}

/* `rows` rows of plane d from row h on, `voxels` of each from voxel w on: of several rows all. */
struct part {
  int n, d, h, w, rows, voxels;
};

/* How many floats behind a part the next of its sample begins: at the end of a band that is the
 * band's first of the next plane. False: there is none. */
static bool find_behind(const struct pass *pass, const struct part *part, int64_t *floats) {
  const struct conv_image *image = &pass->image;
  const struct shape *s = &image->target;
  int band = part->h / image->band, first = band * image->band;
  bool last = part->h + part->rows == first + conv_image_band_rows(image, band) &&
              part->w + part->voxels == s->w;
  int64_t voxels = (int64_t)part->rows * part->voxels;
  if (last) voxels = ((int64_t)s->h + first - part->h) * s->w - part->w;
  *floats = voxels * CHANNEL_BLOCK;
  return !last || part->d + 1 < s->d;
}

static void add_part(const struct pass *pass, const struct conv_image_row *rows, const float *x,
                     const struct part *part, float *sums) {
  const struct conv_image *image = &pass->image;
  const float *y = pass->activation->y;
  float copy[PAIR_VOXELS * CHANNEL_BLOCK];
  int count = part->rows * part->voxels;
  int64_t behind;
  bool follows = find_behind(pass, part, &behind);
  struct sweep sweep = {.x = x,
                        .rows = part->rows,
                        .voxels = part->voxels,
                        .pitch = (int64_t)image->step[1] * image->pitch,
                        .line = (int64_t)image->taps[2] * CHANNEL_BLOCK,
                        .ahead_step = CHANNEL_BLOCK};
  if (image->pairs) {
    sweep.pitch = (int64_t)image->products * image->pitch;
    sweep.line *= image->products;
  }
  for (int block = 0; block < pass->blocks; block++) {
    int64_t at = tensor_at(pass->target, part->n, block * CHANNEL_BLOCK, part->d, part->h, part->w);
    int64_t next = at + behind;
    const float *ahead[2] = {follows ? pass->data + next : NULL, follows && y ? y + next : NULL};
    sweep.vectors = find_vectors(pass, part->n, block, part->d, at, count, copy);
    if (pass->image.pairs)
      add_products(pass, rows, &sweep, block, ahead, sums);
    else
      add_rows(pass, rows, &sweep, block, ahead, sums);
  }
}

/* Where the rows of taps are, of pairs those of the first product. */
static void find_rows(const struct conv_image *image, int d, struct conv_image_row *rows) {
  if (!image->pairs) {
    conv_image_find_rows(image, d, rows);
    return;
  }
  for (int i = 0; i < image->channels * image->taps[0]; i++)
    rows[i].at = conv_image_plane_at(image, i / image->taps[0], d, i % image->taps[0]);
}

/* One band of plane d of sample n: some rows at a time, or parts of long ones. */
static void add_band(const struct pass *pass, const float *slab, int n, int d, int band,
                     float *sums) {
  const struct conv_image *image = &pass->image;
  struct conv_image_row rows[CONV_IMAGE_ROWS];
  int extent = image->target.w, height = conv_image_band_rows(image, band);
  int most = MOST_VOXELS / extent > 1 ? MOST_VOXELS / extent : 1;
  int height_of_row = image->pairs ? image->products / 2 : image->step[1];
  int64_t pitch = (int64_t)height_of_row * image->pitch;
  if (image->pairs) most = most > 1 ? most - most % 2 : 2;
  find_rows(image, d, rows);
  for (int h = 0; h < height; h += most)
    for (int w = 0; w < extent; w += image->pairs ? extent : MOST_VOXELS) {
      struct part part = {.n = n, .d = d, .h = band * image->band + h, .w = w};
      part.rows = conv_at_most(height - h, most);
      part.voxels = image->pairs ? extent : conv_at_most(extent - w, MOST_VOXELS);
      add_part(pass, rows, slab + h * pitch + w * image->step[2], &part, sums);
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
      bool all = plane == first || d == 0;
      if (pass->image.pairs)
        SIMD_NAME(conv_image_fill_pairs)(&pass->image, slab, n, d, band, all);
      else
        conv_image_fill(&pass->image, slab, n, d, band, all);
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

/* Whether target rows are better taken in pairs. */
static bool pairs_pay(const struct conv_image *image) {
  for (int i = 0; i < image->count; i++)
    if (image->sources[i].packing.channels * image->taps[0] < LEAST_ROWS) return false;
  return 2 * image->target.w <= PAIR_VOXELS && conv_image_pairs_pay(image, 1);
}

static struct pass open_pass(const struct tensor *target, const struct conv_source *sources,
                             int count) {
  struct pass pass = {.target = target,
                      .image = conv_image_open(target, sources, count),
                      .blocks = tensor_stored_channels(target) / CHANNEL_BLOCK,
                      .chunks = count_chunks(target)};
  size_t taps = (size_t)pass.image.taps[1];
  if (pairs_pay(&pass.image)) conv_image_cut_pairs(&pass.image);
  pass.lines = pass.image.pairs ? pass.image.products : pass.image.taps[1];
  pass.size = sums_size(sources, count) / taps * (size_t)pass.lines;
  return pass;
}

size_t SIMD_NAME(conv_image_size)(const struct tensor *target, const struct conv_source *sources,
                                  int count) {
  struct pass pass = open_pass(target, sources, count);
  return pass.size * (size_t)pass.chunks;
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

/* A vector of the sums of all taps along h, `line` floats apart, from those of the products. */
static inline void fold_vector(const struct conv_image *image, float *to, const float *from,
                               size_t line) {
  simd tap[CONV_IMAGE_TAPS] = {0};
  const float *part[CONV_IMAGE_PARTS];
  for (int i = 0; i < CONV_IMAGE_PARTS; i++)
    part[i] = from + (size_t)conv_image_part_first(image, i) * line;
  for (int i = 0; i < image->triples; i++) {
    simd *taps = tap + image->triple[i];
    simd zero = simd_load(part[CONV_IMAGE_FIRST] + i * line);
    simd one = 0.5f * simd_load(part[CONV_IMAGE_SUM] + i * line);
    simd two = 0.5f * simd_load(part[CONV_IMAGE_DIFFERENCE] + i * line);
    simd three = simd_load(part[CONV_IMAGE_SECOND] + i * line);
    taps[0] = zero + (one + two);
    taps[image->step[1]] = one - two;
    taps[2 * image->step[1]] = (one + two) + three;
  }
  part[CONV_IMAGE_FIRST] += image->triples * line;
  part[CONV_IMAGE_SECOND] += image->triples * line;
  for (int i = 0; i < image->singles; i++)
    tap[image->single[i]] = simd_load(part[CONV_IMAGE_FIRST] + i * line) +
                            simd_load(part[CONV_IMAGE_SECOND] + i * line);
  for (int i = 0; i < image->taps[1]; i++) simd_store(to + i * line, tap[i]);
}

/* The sums of the taps from those of the products, in place. */
static void fold_products(const struct conv_image *image, float *sums, size_t size) {
  size_t line = (size_t)image->taps[2] * CHANNEL_BLOCK;
  const float *from = sums, *end = sums + size;
  for (; from < end; from += image->products * line, sums += image->taps[1] * line)
    for (size_t i = 0; i < line; i += SIMD_WIDTH) fold_vector(image, sums + i, from + i, line);
}

void SIMD_NAME(conv_image_weights)(const struct tensor *target, const float *data,
                                   const struct conv_image_activation *activation,
                                   const struct conv_source *sources, int count, float *partial) {
  struct pass pass = open_pass(target, sources, count);
  pass.data = data;
  pass.activation = activation;
  if (activation->bias_partial)
    memset(activation->bias_partial, 0,
           sizeof(float) * (size_t)target->shape.n * pass.blocks * target->shape.d * CHANNEL_BLOCK);
#pragma omp parallel
  {
    float slab[CONV_IMAGE_FLOATS] __attribute__((aligned(64)));
#pragma omp for schedule(static)
    for (int chunk = 0; chunk < pass.chunks; chunk++)
      add_chunk(&pass, chunk, conv_image_slab(&pass.image, slab), partial);
  }
  fold_chunks(partial, pass.size, pass.chunks);
  if (pass.image.pairs) fold_products(&pass.image, partial, pass.size);
}
