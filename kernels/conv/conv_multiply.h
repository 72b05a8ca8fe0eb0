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
typedef void conv_multiplier(float *m, size_t m_pitch, const struct conv_product *products,
                             int count, int places, int blocks, bool add);
conv_multiplier SIMD_NAME(conv_multiply);

/* The same on the processor's tiles (common/tiles.h), up to a multiple of 16 places; weights are in
 * pieces, w[block][two groups][piece][16 rows][16 pairs], and groups of a product come in twos, the
 * last one may lack its second. */
enum { CONV_PIECES = 3 };
conv_multiplier SIMD_NAME(conv_multiply_amx);

/* pieces[piece][row][16 pairs] of two groups' rows [16][16]; odd NULL: it is lacking. stream: past
 * the caches. */
void SIMD_NAME(conv_split)(const float *even, const float *odd, float *pieces, bool stream);

/* Which of both; around a thread's use of it. */
conv_multiplier *SIMD_NAME(conv_multiplier_of)(bool amx);
void SIMD_NAME(conv_multiply_begin)(bool amx);
void SIMD_NAME(conv_multiply_end)(bool amx);
