/* Two target rows of 3 taps along h are made of 4 products instead of 6: F(2, 3) of Lavin and Gray,
 * "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. Of the 4 source rows that a pair
 * of target rows sees the slab holds r0 - r2, r1 + r2, r2 - r1 and r3 - r1; of the products with
 * them the target rows are m0 + m1 + m2 and m1 - m2 + m3. Longer kernels are several triples of
 * taps, at a stride of every second tap, and single ones, which are 2 products: one for each row.
 */
#include "kernels/conv/conv_image.h"

enum {
  TRIPLE = 4, /* source rows that a pair of target rows sees through a triple */
  MOST_LINES = CONV_IMAGE_TAPS + 2,
};

/* A source row from its first voxel inside, or zeros. */
struct line {
  const float *x;
  int step; /* 1; 0: zeros */
};

/* The rows of a triple: what goes in and what comes out. */
struct triple {
  const float *in[TRIPLE];
  int step[TRIPLE];
  float *out[CONV_IMAGE_PARTS];
};

/* `count` <= SIMD_WIDTH voxels from voxel `at` on, a constant to the compiler where it is
 * SIMD_WIDTH.
 */
static inline __attribute__((always_inline)) void combine(struct triple rows, int at, int count) {
  simd r[TRIPLE] = {0}, product[CONV_IMAGE_PARTS];
  SIMD_UNROLL
  for (int i = 0; i < TRIPLE; i++)
    memcpy(&r[i], rows.in[i] + rows.step[i] * at, sizeof(float) * (size_t)count);
  product[CONV_IMAGE_FIRST] = r[0] - r[2], product[CONV_IMAGE_SUM] = r[1] + r[2];
  product[CONV_IMAGE_DIFFERENCE] = r[2] - r[1], product[CONV_IMAGE_SECOND] = r[3] - r[1];
  SIMD_UNROLL
  for (int i = 0; i < CONV_IMAGE_PARTS; i++)
    memcpy(rows.out[i] + at, &product[i], sizeof(float) * (size_t)count);
}

/* The last vector overlaps the one before it. */
static void combine_rows(const struct triple *triple, int count) {
  struct triple rows;
  SIMD_UNROLL
  for (int i = 0; i < TRIPLE; i++) rows.in[i] = triple->in[i], rows.step[i] = triple->step[i];
  SIMD_UNROLL
  for (int i = 0; i < CONV_IMAGE_PARTS; i++) rows.out[i] = triple->out[i];
  if (count < SIMD_WIDTH) {
    combine(rows, 0, count);
    return;
  }
  for (int at = 0; at < count - SIMD_WIDTH; at += SIMD_WIDTH) combine(rows, at, SIMD_WIDTH);
  combine(rows, count - SIMD_WIDTH, SIMD_WIDTH);
}

static void copy_line(float *to, const struct line *line, int count) {
  if (line->step)
    memcpy(to, line->x, sizeof(float) * (size_t)count);
  else
    memset(to, 0, sizeof(float) * (size_t)count);
}

/* The rows of the slab of a pair of target rows from the lines that it sees. */
static void fill_pair(const struct conv_image *image, float *to, const struct line *line,
                      int count) {
  int step = image->step[1];
  struct triple rows;
  for (int i = 0; i < CONV_IMAGE_PARTS; i++)
    rows.out[i] = to + conv_image_part_first(image, i) * image->pitch;
  for (int i = 0; i < image->triples; i++) {
    for (int j = 0; j < TRIPLE; j++) {
      const struct line *seen = &line[image->triple[i] + j * step];
      rows.in[j] = seen->x, rows.step[j] = seen->step;
    }
    combine_rows(&rows, count);
    for (int j = 0; j < CONV_IMAGE_PARTS; j++) rows.out[j] += image->pitch;
  }
  for (int i = 0; i < image->singles; i++) {
    const struct line *seen = &line[image->single[i]];
    copy_line(rows.out[CONV_IMAGE_FIRST] + i * image->pitch, seen, count);
    copy_line(rows.out[CONV_IMAGE_SECOND] + i * image->pitch, seen + step, count);
  }
}

/* Asks for voxels of the plane behind. Inlined by force: gcc 12 removes calls of functions that do
 * nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch_row(const float *row, int count) {
  for (int i = 0; i < count; i += CHANNEL_BLOCK) __builtin_prefetch(row + i, 0, 2);
}

static void fill_plane(const struct conv_image *image, float *to, const struct conv_source *source,
                       int n, int channel, int d, int band) {
  static const float zeros[SIMD_WIDTH];
  struct shape s = source->tensor->shape;
  struct conv_image_inside inside = conv_image_find_inside(image, s.w);
  int64_t ahead = d + image->step[0] < s.d ? (int64_t)image->step[0] * s.h * s.w : 0;
  int step = image->step[1], h = step * band * image->band + image->first[1];
  bool out = d < 0 || d >= s.d;
  const float *plane = source->data + tensor_at(source->tensor, n, channel, out ? 0 : d, 0, 0);
  for (int row = 0; row < conv_image_band_rows(image, band); row += 2, h += 2 * step) {
    struct line line[MOST_LINES];
    for (int i = 0; i < image->taps[1] + step; i++) {
      line[i] = (struct line){zeros, 0};
      if (out || h + i < 0 || h + i >= s.h) continue;
      line[i] = (struct line){plane + (int64_t)(h + i) * s.w + inside.from, 1};
      if (ahead && i >= image->taps[1] - step) prefetch_row(line[i].x + ahead, inside.count);
    }
    fill_pair(image, to + inside.low, line, inside.count);
    to += image->products * image->pitch;
  }
}

void SIMD_NAME(conv_image_fill_pairs)(const struct conv_image *image, float *slab, int n, int d,
                                      int band, bool all) {
  int known = all ? 0 : image->taps[0] - image->step[0];
  if (all)
    memset(slab, 0, sizeof(float) * (size_t)(image->channels * image->taps[0] * image->plane));
  for (int i = 0, channel = 0; i < image->count; i++)
    for (int c = 0; c < image->sources[i].tensor->shape.c; c++, channel++)
      for (int tap = known > 0 ? known : 0; tap < image->taps[0]; tap++)
        fill_plane(image, slab + conv_image_plane_at(image, channel, d, tap), &image->sources[i], n,
                   c, image->step[0] * d + image->first[0] + tap, band);
}

/* The weights of the products of a triple, whose taps are `step` floats apart; `size` floats. */
static void transform_triple(float *const to[CONV_IMAGE_PARTS], const float *w, int step,
                             int size) {
  for (int i = 0; i < size; i += SIMD_WIDTH) {
    simd first = simd_load(w + i), last = simd_load(w + 2 * step + i);
    simd even = (first + last) * 0.5f, odd = simd_load(w + step + i) * 0.5f;
    simd_store(to[CONV_IMAGE_FIRST] + i, first);
    simd_store(to[CONV_IMAGE_SUM] + i, even + odd);
    simd_store(to[CONV_IMAGE_DIFFERENCE] + i, even - odd);
    simd_store(to[CONV_IMAGE_SECOND] + i, last);
  }
}

/* The weights of all products from those of all taps along h of a channel and tap along d. */
static void transform_row(const struct conv_image *image, float *to, const float *w) {
  int size = image->taps[2] * CHANNEL_BLOCK, step = image->step[1] * size;
  size_t stride = (size_t)image->row_count * size;
  float *row[CONV_IMAGE_PARTS];
  for (int i = 0; i < CONV_IMAGE_PARTS; i++)
    row[i] = to + (size_t)conv_image_part_first(image, i) * stride;
  for (int i = 0; i < image->triples; i++) {
    transform_triple(row, w + image->triple[i] * size, step, size);
    for (int j = 0; j < CONV_IMAGE_PARTS; j++) row[j] += stride;
  }
  for (int i = 0; i < image->singles; i++) {
    const float *tap = w + image->single[i] * size;
    memcpy(row[CONV_IMAGE_FIRST] + (size_t)i * stride, tap, sizeof(float) * (size_t)size);
    memcpy(row[CONV_IMAGE_SECOND] + (size_t)i * stride, tap, sizeof(float) * (size_t)size);
  }
}

void SIMD_NAME(conv_image_transform)(const struct conv_image *image, int blocks, float *weights) {
  static const int phase[3] = {0, 0, 0};
  int size = image->taps[2] * CHANNEL_BLOCK;
  size_t others = (size_t)(image->products - 1) * image->row_count * size;
  for (int block = 0; block < blocks; block++, weights += others)
    for (int i = 0; i < image->count; i++) {
      const struct conv_source *source = &image->sources[i];
      const float *w = source->packed + block * conv_packing_block_stride(&source->packing, phase);
      int rows = source->tensor->shape.c * image->taps[0];
      for (int row = 0; row < rows; row++, w += image->taps[1] * size, weights += size)
        transform_row(image, weights, w);
    }
}
