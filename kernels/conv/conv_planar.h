/* What conv_planar multiplies: source rows that are taken apart into rows of single channels. */
#pragma once
#include "kernels/conv/conv_direct.h"

enum {
  CONV_PLANAR_WIDTH = 128, /* target voxels of a strip at most */
  CONV_PLANAR_MARGIN = 16, /* in front of and behind a row of a channel */
  CONV_PLANAR_PITCH = CONV_PLANAR_WIDTH + 2 * CONV_PLANAR_MARGIN,
};

/* The 16 channels of some voxels. */
typedef float conv_planar_rows[CHANNEL_BLOCK][CONV_PLANAR_PITCH];

/* Some rows by number, and what they are multiplied with. */
enum { CONV_PLANAR_TERMS = 4 };
struct conv_planar_terms {
  int count, row[CONV_PLANAR_TERMS];
  float factor[CONV_PLANAR_TERMS];
};

/* to[c][v] := the sum of terms->factor[i] * rows[i][v][c] for `count` voxels, and zeros up to a
 * multiple of 16. `to` is a place in one's rows. */
void SIMD_NAME(conv_planar_take)(float *to, const float *const rows[CONV_PLANAR_TERMS],
                                 const struct conv_planar_terms *terms, int count);
