/* Convolution of kernel 1 from so few source channels that sums are soon done: what is done but
 * once for each of them then counts. */
#pragma once
#include "kernels/conv/conv_direct.h"
#include "kernels/conv/conv_multiply.h"

enum { CONV_FEW_GROUPS = 4, CONV_FEW_LANES = 5 };

/* A target of so many whole blocks, and a last one of so many channels (0: none) whose weights are
 * here with vectors of 16 source channels, so that no lanes are idle. groups 0: not for this. */
struct conv_few {
  _Alignas(64) float w[CONV_FEW_LANES][CONV_FEW_GROUPS][CHANNEL_BLOCK];
  int groups, blocks, lanes;
};

/* Where voxels of both lie alike and see one another's place alone. */
struct conv_few SIMD_NAME(conv_point_find_few)(const struct conv_target *target,
                                               const struct conv_source *source);

/* As conv_multiply_voxels with one product and steps of one block; the last of `blocks` is the one
 * of a few channels if `ends`. */
void SIMD_NAME(conv_point_few)(const struct conv_few *few, const struct conv_voxels *voxels,
                               const struct conv_product *product, int places, int blocks,
                               bool ends);
