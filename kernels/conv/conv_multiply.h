/* Matrix products over channels of a batch of places (tiles of a transform, voxels seen by a tap),
 * whose values lie [place][16 channels]. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "kernels/common/simd.h"

/* Products to be added up: `groups` blocks of source channels of a batch, x[group][place][16], with
 * weights w[block][group][16 channels][16]. Pitches in floats. What is computed next has weights
 * `ahead` of these, which are asked for. */
struct conv_product {
  const float *x, *w;
  size_t group_pitch, block_pitch, ahead;
  int groups;
  /* for conv_multiply_voxels alone, which asks for no weights */
  size_t skip;    /* floats between the weights of two groups */
  size_t x_ahead; /* floats from x to what is asked for meanwhile; 0: nothing new */
  size_t x_row;   /* floats from x to the next row of voxels: the caller's */
  int idle;       /* the last group's last channels that count nothing */
};

/* m[block][place][16] = (add: +=) the sum of `count` products over their channels. Places
 * behind `places`, up to a multiple of 24 in all, may be read and written. */
void SIMD_NAME(conv_multiply)(float *m, size_t m_pitch, const struct conv_product *products,
                              int count, int places, int blocks, bool add);

/* Where the sums of voxels go: leaky(bias + sum), or added to what is there (slope 1). Block
 * `block` of voxel t lies at y + pitch * block + step * t. */
struct conv_voxels {
  float *y;
  size_t pitch, step;
  const float *bias; /* [block][16]; NULL: none */
  float slope;
  bool add, stream; /* stream: past the caches */
};

/* The same for places that are voxels of tensors, `step` (1 or 2) times 16 floats apart in x: no
 * others are read or written. */
void SIMD_NAME(conv_multiply_voxels)(const struct conv_voxels *voxels,
                                     const struct conv_product *products, int count, int places,
                                     int blocks, int step);
