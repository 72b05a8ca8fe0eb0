/* Convolution between a thin side (1 to 4 channels: images, displacements) and a wide one, on
 * tensor cores. Three kinds of product, each of which is a part of forward or of backward: spread
 * wide voxel v := the sum of weights * thin voxel v + first + tap     (first layer's y, the data
 * gradient of a head) gather  thin voxel v := the sum of weights * wide voxel v + first + tap (a
 * head's y, the data gradient of a first layer) outer   weight gradient := the sum of thin voxel v
 * + first + tap times wide voxel v Stride 1, nothing upsampled. */
#pragma once
#include "kernels/conv/conv_cuda.h"

enum { THIN_MOST_CHANNELS = 4, THIN_WARPS = 8, THIN_THREADS = 32 * THIN_WARPS };

/* A channel of the thin side, wherever it is stored. Distances in elements. */
struct thin_channel {
  const void *data;
  int64_t sample;
  int voxel;
  bool wide; /* float32 although matrices are computed in 16 bits */
};

/* The geometry of a product, and where weight [thin channel][wide channel][tap] is:
 * offset + thin * thin_stride + wide * wide_stride + tap, or the last tap - tap where mirrored. */
struct thin_pair {
  struct thin_channel thin[THIN_MOST_CHANNELS];
  int thin_channels, wide_channels, samples;
  int thin_extent[3], wide_extent[3], first[3], kernel[3], taps;
  bool mirrored;
  int64_t offset, thin_stride, wide_stride;
};

static inline __host__ __device__ int64_t thin_weight_at(const struct thin_pair &pair, int thin,
                                                         int wide, int tap) {
  return pair.offset + thin * pair.thin_stride + wide * pair.wide_stride +
         (pair.mirrored ? pair.taps - 1 - tap : tap);
}

/* What is written by spread and gather: leaky(bias + sum), or sum (added to what is there). */
struct thin_result {
  void *data;
  struct cuda_strides strides;
  bool wide; /* float32 although matrices are computed in 16 bits */
  bool add;
  const float *bias; /* NULL: none */
  float slope;
};

/* What gather reads: the wide side, from one or several tensors of the type of matrices. */
struct thin_source {
  const void *data;
  int channels;
  int64_t offset; /* of its weights */
};

/* --- conv_cuda_thin_spread.cu, _gather.cu, _outer.cu; `type` is that of matrices --- */

bool thin_spread_fits(const struct thin_pair *pair, enum dtype type);
void thin_spread(const struct thin_pair *pair, enum dtype type, const float *weights,
                 const struct thin_result *result, struct stream *stream);

bool thin_gather_fits(const struct thin_pair *pair, enum dtype type);
void thin_gather(const struct thin_pair *pair, enum dtype type, const struct thin_source *sources,
                 int count, const float *weights, const struct thin_result *result,
                 struct stream *stream);

bool thin_outer_fits(const struct thin_pair *pair, enum dtype type);
size_t thin_outer_bytes(const struct thin_pair *pair, enum dtype type);
/* wide: channels last, of the type of matrices. */
void thin_outer(const struct thin_pair *pair, enum dtype type, const void *wide, float *dw,
                float *partial, struct stream *stream);
