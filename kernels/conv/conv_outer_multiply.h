/* Sums of outer products over places (tiles of a transform, voxels): the innermost loops of weight
 * gradients. */
#pragma once
#include <stddef.h>
#include "kernels/common/simd.h"

/* What is multiplied, distances in floats: at each of `places` places of each of `rows` rows, some
 * values of a block of 16, `step` from place to place, with the 16 lanes of some blocks, which lie
 * side by side. */
struct conv_sweep {
  const float *values, *lanes;
  size_t step, values_row, lanes_row; /* rows: from row to row */
  size_t lanes_pitch;                 /* from block to block */
  int places, rows;
  /* meanwhile asks for what lies so far behind values and lanes; 0: for nothing */
  ptrdiff_t values_ahead, lanes_ahead;
};

/* sums[block][value][16] = (add: +=) the sum of value * lanes over all places; `values` up to 16 of
 * them, rounded up to a multiple of 8; `sums_pitch` floats from block to block. */
void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, const struct conv_sweep *sweep,
                                    int values, int blocks, bool add);
