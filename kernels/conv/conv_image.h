/* What passes over planar sources share: images of few channels forward, or the gradient of a
 * head backward. Bands of source rows are copied with zeros around them, so that the innermost
 * loops know no borders; they lie in a ring of planes, and each is copied once per band. */
#pragma once
#include "kernels/conv/conv_direct.h"

enum {
  CONV_IMAGE_ROWS = 512,
  CONV_IMAGE_FLOATS = 1 << 15,
  CONV_IMAGE_TAPS = CONV_MOST_KERNEL,
  CONV_IMAGE_PRODUCTS = 4, /* that two target rows are made of */
  CONV_IMAGE_WEIGHTS = 1 << 14,
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
  int band, bands, height, width; /* height and width of a padded plane of the slab */
  bool pairs; /* of target rows: the slab holds 4 rows for each, see conv_image_pairs_simd.c */
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
struct conv_image_inside conv_image_find_inside(const struct conv_image *image, int extent);

/* Whether target rows are better computed in pairs; and the image cut anew for that. */
bool conv_image_pairs_pay(const struct conv_image *image, int blocks);
void conv_image_cut_pairs(struct conv_image *image);

/* The same as conv_image_fill for pairs. */
void SIMD_NAME(conv_image_fill_pairs)(const struct conv_image *image, float *slab, int n, int d,
                                      int band, bool all);

/* The weights of the 4 products; at most CONV_IMAGE_WEIGHTS. */
void SIMD_NAME(conv_image_transform)(const struct conv_image *image, int blocks, float *weights);

/* The same as conv_image_find_rows for pairs: `row_count` rows for each of the products in the
 * order in which they are computed: m1, m2, m0, m3. */
void conv_image_find_products(const struct conv_image *image, int d, const float *weights,
                              struct conv_image_row *rows);

/* The target rows of a band. */
static inline int conv_image_band_rows(const struct conv_image *image, int band) {
  int left = image->target.h - band * image->band;
  return left < image->band ? left : image->band;
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
