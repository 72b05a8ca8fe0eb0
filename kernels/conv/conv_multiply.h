/* Matrix products over channels of a batch of places (tiles of a transform), whose values lie
 * [place][16 channels]. */
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
};

/* m[block][place][16] = (add: +=) the sum of `count` products over their channels. Places
 * behind `places`, up to a multiple of 24 in all, may be read and written. */
void SIMD_NAME(conv_multiply)(float *m, size_t m_pitch, const struct conv_product *products,
                              int count, int places, int blocks, bool add);
