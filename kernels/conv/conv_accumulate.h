/* What conv_rows gathers and its innermost loops consume. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "kernels/common/simd.h"

/* Voxels of a tile at most: so many that the sums, a value and the weights fit the registers. */
#if defined SIMD_ISA_AVX512
enum { CONV_TILE = 26 };
#elif defined SIMD_ISA_AVX2
enum { CONV_TILE = 6 };
#else
enum { CONV_TILE = 3 };
#endif
enum { CONV_TAPS_TOGETHER = 4 };

/* Some taps along w of one source row. The source's first and last voxel that they see are given
 * apart: outside the source they are zeros. w: [tap][channel of the group][16]. */
struct conv_taps {
  const float *x, *first, *last, *w;
};

/* The sums of a block of 16 target channels. */
enum { CONV_BLOCK_SUMS = CONV_TILE * CHANNEL_BLOCK };

/* sums[block][voxel][16] += x[step * voxel + tap] * w[offset + stride * block + tap] over all taps,
 * channels of the group and `count` rows. */
typedef void conv_accumulate(float *sums, const struct conv_taps *rows, int count, size_t offset,
                             size_t stride);

/* taps: as many as conv_taps_together says; blocked: groups of 16 channels, else of 1; step: 1 or 2
 * source voxels per target voxel; width: as conv_tile_width says; blocks: as conv_blocks_together
 * says. */
typedef conv_accumulate *conv_accumulator(int taps, bool blocked, int step, int width, int blocks);
conv_accumulator SIMD_NAME(conv_accumulator);

/* How many of `taps` taps to multiply together. */
int SIMD_NAME(conv_taps_together)(int taps, bool blocked, int step);

/* How many of `blocks` blocks to multiply together: several where a tile is so narrow that the sums
 * of one would wait for each other. */
int SIMD_NAME(conv_blocks_together)(int width, int blocks);

/* The width of the first tile of a row of `voxels` voxels; at most CONV_TILE. */
int SIMD_NAME(conv_tile_width)(int voxels);
