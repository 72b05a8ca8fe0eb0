/* The second stage: matrix products over channels, one for each point and batch of tiles. */
#pragma once
#include "kernels/conv/conv_winograd_transform.h"

/* Products to be added up: `groups` blocks of source channels of a batch of tiles at one point,
 * x[group][tile][16], with weights w[block][group][16 channels][16]. Pitches in floats. */
struct winograd_product {
  const float *x, *w;
  size_t group_pitch, block_pitch;
  int groups;
};

/* m[block][tile][16] = (add: +=) the sum of `count` products over their channels. Rows of tiles
 * behind `tiles`, up to a multiple of 24 in all, may be read and written. */
void SIMD_NAME(winograd_multiply)(float *m, size_t m_pitch, const struct winograd_product *products,
                                  int count, int tiles, int blocks, bool add);
