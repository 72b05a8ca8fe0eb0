/* What passes over planar sources share: images of few channels forward, or the gradient of a
 * head backward. Bands of source rows are copied with zeros around them, so that the innermost
 * loops know no borders; they lie in a ring of planes, and each is copied once per band. */
#pragma once
#include "kernels/conv/conv_direct.h"

enum {
  CONV_IMAGE_ROWS = 512,
  CONV_IMAGE_FLOATS = 1 << 15,
  CONV_IMAGE_TAPS = CONV_MOST_KERNEL,
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
