/* Convolution of kernel 1 from so few source channels that sums are soon done: what is done but
 * once for each of them then counts. */
#pragma once
#include "kernels/conv/conv_direct.h"

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

/* What voxels that lie side by side see: a block of 16 source channels of voxel t lies at x +
 * group_pitch * group + 16 * t, its weights at w + block_pitch * block, [group][16 channels][16].
 */
struct conv_few_source {
  const float *x, *w;
  size_t group_pitch, block_pitch;
  ptrdiff_t ahead; /* from x to what is asked for meanwhile; 0: nothing new */
  int groups;
};

/* What they become, leaky(bias + sum): block `block` of voxel t lies at y + pitch * block + 16 * t.
 */
struct conv_few_target {
  float *y;
  size_t pitch;
  const float *bias; /* [block][16]; NULL: none */
  float slope;
  bool stream; /* past the caches */
};

/* The last of `blocks` is the one of a few channels if `ends`. */
void SIMD_NAME(conv_point_few)(const struct conv_few *few, const struct conv_few_target *target,
                               const struct conv_few_source *source, int places, int blocks,
                               bool ends);
