/* What passes over planar sources share: images of few channels forward, or the gradient of a
 * head backward. Bands of source rows are copied with zeros around them, so that the innermost
 * loops know no borders; they lie in a ring of planes, and each is copied once per band. */
#pragma once
#include "kernels/conv/conv_direct.h"

enum {
  CONV_IMAGE_ROWS = 512,
  CONV_IMAGE_FLOATS = 1 << 16,
  CONV_IMAGE_TAPS = CONV_MOST_KERNEL,
  CONV_IMAGE_WEIGHTS = 1 << 16,
};

/* What a product counts in where target rows come in pairs: the first of both; both; the first, and
 * with the other sign the second; the second. */
enum conv_image_part {
  CONV_IMAGE_FIRST,
  CONV_IMAGE_SUM,
  CONV_IMAGE_DIFFERENCE,
  CONV_IMAGE_SECOND,
  CONV_IMAGE_PARTS
};

/* The taps along w of one channel and tap along d and h: where they are in the slab for the first
 * voxel of a band, and their weights for lane block 0. */
struct conv_image_row {
  int64_t at;
  const float *w;
  size_t block_stride;
};

/* A band of target rows of all planes: `band` rows of `width` target voxels. */
struct conv_image {
  const struct conv_source *sources;
  int count, channels, row_count; /* channels of all sources; rows of taps of all of them */
  struct shape target;
  int first[3], taps[3], step[3];
  int band, bands, width; /* width: of a source row with the zeros around it */
  int pitch;              /* floats from row to row of the slab: whole lines of memory */
  int64_t plane;          /* and from plane to plane */
  /* Target rows come in pairs, for each of which the slab holds `products` rows in the order of
   * their parts, see conv_image_pairs_simd.c: some for triples of taps along h, `step` apart, and
   * behind those some for single ones. They are known by their first tap. */
  bool pairs;
  int products, triples, singles;
  int triple[CONV_IMAGE_TAPS / 3], single[CONV_IMAGE_TAPS];
};

/* Whether the sources are planar, have one phase and fit the slab. */
bool conv_image_fits(const struct tensor *target, const struct conv_source *sources, int count);

struct conv_image conv_image_open(const struct tensor *target, const struct conv_source *sources,
                                  int count);

/* Copies the planes that target plane d of band `band` of sample n sees; those that plane d - 1
 * saw are there already unless `all` are wanted. */
void conv_image_fill(const struct conv_image *image, float *slab, int n, int d, int band, bool all);

/* Where the rows of taps are while the slab is filled for plane d: `row_count` rows in the order
 * source, channel, tap d, tap h. w is left alone where the sources are not packed. */
void conv_image_find_rows(const struct conv_image *image, int d, struct conv_image_row *rows);

/* Where the plane of a channel that target plane d sees at a tap along d is in the slab. */
int64_t conv_image_plane_at(const struct conv_image *image, int channel, int d, int tap);

/* Target rows start at source voxel `from`: `count` voxels of each are inside a source row, from
 * voxel `low` of the row on. */
struct conv_image_inside {
  int from, low, count;
};
static inline struct conv_image_inside conv_image_find_inside(const struct conv_image *image,
                                                              int extent) {
  int from = image->first[2], low = from < 0 ? -from : 0;
  int high = extent - from < image->width ? extent - from : image->width;
  return (struct conv_image_inside){from + low, low, high > low ? high - low : 0};
}

/* Whether target rows are better computed in pairs; and the image cut anew for that. */
bool conv_image_pairs_pay(const struct conv_image *image, int blocks);
void conv_image_cut_pairs(struct conv_image *image);

/* The same as conv_image_fill for pairs. */
void SIMD_NAME(conv_image_fill_pairs)(const struct conv_image *image, float *slab, int n, int d,
                                      int band, bool all);

/* The weights of the products; at most CONV_IMAGE_WEIGHTS. */
void SIMD_NAME(conv_image_transform)(const struct conv_image *image, int blocks, float *weights);

/* The same as conv_image_find_rows for pairs: `row_count` rows for each of the products, in the
 * order of the products. */
void conv_image_find_products(const struct conv_image *image, int d, const float *weights,
                              struct conv_image_row *rows);

/* The slab in memory that begins with a line: its rows' first voxels inside begin lines, too. What
 * that moves a row's last zeros by are the first ones of the next. */
static inline float *conv_image_slab(const struct conv_image *image, float *line) {
  int low = image->first[2] < 0 ? -image->first[2] : 0;
  return line + (CHANNEL_BLOCK - low % CHANNEL_BLOCK) % CHANNEL_BLOCK;
}

/* The target rows of a band. */
static inline int conv_image_band_rows(const struct conv_image *image, int band) {
  int left = image->target.h - band * image->band;
  return left < image->band ? left : image->band;
}

/* The first product of a part, and how many it has: those of triples first. */
static inline int conv_image_part_first(const struct conv_image *image, enum conv_image_part part) {
  return (int)part * image->triples + (part > CONV_IMAGE_FIRST ? image->singles : 0);
}
static inline int conv_image_part_count(const struct conv_image *image, enum conv_image_part part) {
  bool both = part == CONV_IMAGE_SUM || part == CONV_IMAGE_DIFFERENCE;
  return image->triples + (both ? 0 : image->singles);
}

/* A blocked target from planar sources that fit. */
void SIMD_NAME(conv_image)(const struct conv_target *target, const struct conv_source *sources,
                           int count);

/* The activation that a weight gradient undoes on its way; y NULL: none. */
struct conv_image_activation {
  const float *y;
  float slope;
  float
      *bias_partial; /* the sums of each plane as conv_bias_gradient takes them; NULL: not wanted */
};

/* The weight gradients of planar sources that fit, as conv_outer's: that of source i is at
 * partial + the packing sizes of the sources in front of it. partial: conv_image_size() floats. */
size_t SIMD_NAME(conv_image_size)(const struct tensor *target, const struct conv_source *sources,
                                  int count);
void SIMD_NAME(conv_image_weights)(const struct tensor *target, const float *data,
                                   const struct conv_image_activation *activation,
                                   const struct conv_source *sources, int count, float *partial);
