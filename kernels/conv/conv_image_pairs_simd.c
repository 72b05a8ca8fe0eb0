/* Two target rows of 3 taps along h are made of 4 products instead of 6: F(2, 3) of Lavin and Gray,
 * "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. Of the 4 source rows that a pair
 * of target rows sees the slab holds r0 - r2, r1 + r2, r2 - r1 and r3 - r1; of the products with
 * them the target rows are m0 + m1 + m2 and m1 - m2 + m3. */
#include "kernels/conv/conv_image.h"

/* A source row from its first voxel inside, or zeros. */
struct line {
  const float *x;
  int step; /* 1; 0: zeros */
};

/* count <= SIMD_WIDTH is a constant to the compiler where it is SIMD_WIDTH. */
static inline __attribute__((always_inline)) void combine(float *to, int pitch,
                                                          const struct line line[4], int at,
                                                          int count) {
  simd r[4] = {0}, product[CONV_IMAGE_PRODUCTS];
  for (int i = 0; i < 4; i++)
    memcpy(&r[i], line[i].x + line[i].step * at, sizeof(float) * (size_t)count);
  product[0] = r[0] - r[2], product[1] = r[1] + r[2];
  product[2] = r[2] - r[1], product[3] = r[3] - r[1];
  for (int i = 0; i < CONV_IMAGE_PRODUCTS; i++)
    memcpy(to + i * pitch + at, &product[i], sizeof(float) * (size_t)count);
}

/* The last vector overlaps the one before it. */
static void combine_rows(float *to, int pitch, const struct line line[4], int count) {
  if (count < SIMD_WIDTH) {
    combine(to, pitch, line, 0, count);
    return;
  }
  for (int at = 0; at < count - SIMD_WIDTH; at += SIMD_WIDTH)
    combine(to, pitch, line, at, SIMD_WIDTH);
  combine(to, pitch, line, count - SIMD_WIDTH, SIMD_WIDTH);
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
  int h = band * image->band + image->first[1];
  bool out = d < 0 || d >= s.d;
  const float *plane = source->data + tensor_at(source->tensor, n, channel, out ? 0 : d, 0, 0);
  for (int row = 0; row < conv_image_band_rows(image, band); row += 2, h += 2) {
    struct line line[4];
    for (int i = 0; i < 4; i++) {
      line[i] = (struct line){zeros, 0};
      if (out || h + i < 0 || h + i >= s.h) continue;
      line[i] = (struct line){plane + (int64_t)(h + i) * s.w + inside.from, 1};
      if (ahead && i >= 2) prefetch_row(line[i].x + ahead, inside.count);
    }
    combine_rows(to + inside.low, image->width, line, inside.count);
    to += CONV_IMAGE_PRODUCTS * image->width;
  }
}

void SIMD_NAME(conv_image_fill_pairs)(const struct conv_image *image, float *slab, int n, int d,
                                      int band, bool all) {
  int known = all ? 0 : image->taps[0] - image->step[0];
  if (all)
    memset(slab, 0,
           sizeof(float) * (size_t)image->channels * image->taps[0] * image->height * image->width);
  for (int i = 0, channel = 0; i < image->count; i++)
    for (int c = 0; c < image->sources[i].tensor->shape.c; c++, channel++)
      for (int tap = known > 0 ? known : 0; tap < image->taps[0]; tap++)
        fill_plane(image, slab + conv_image_plane_at(image, channel, d, tap), &image->sources[i], n,
                   c, image->step[0] * d + image->first[0] + tap, band);
}

/* w: 3 taps along h of `size` floats; to: the 4 products, `stride` floats apart. */
static void transform_taps(float *to, size_t stride, const float *w, int size) {
  for (int i = 0; i < size; i += SIMD_WIDTH) {
    simd first = simd_load(w + i), last = simd_load(w + 2 * size + i);
    simd even = (first + last) * 0.5f, odd = simd_load(w + size + i) * 0.5f;
    simd_store(to + i, first);
    simd_store(to + stride + i, even + odd);
    simd_store(to + 2 * stride + i, even - odd);
    simd_store(to + 3 * stride + i, last);
  }
}

void SIMD_NAME(conv_image_transform)(const struct conv_image *image, int blocks, float *weights) {
  static const int phase[3] = {0, 0, 0};
  int size = image->taps[2] * CHANNEL_BLOCK;
  size_t stride = (size_t)image->row_count * size;
  for (int block = 0; block < blocks; block++, weights += (CONV_IMAGE_PRODUCTS - 1) * stride)
    for (int i = 0; i < image->count; i++) {
      const struct conv_source *source = &image->sources[i];
      const float *w = source->packed + block * conv_packing_block_stride(&source->packing, phase);
      int rows = source->tensor->shape.c * image->taps[0];
      for (int row = 0; row < rows; row++, w += 3 * size, weights += size)
        transform_taps(weights, stride, w, size);
    }
}
