/* Convolution of bfloat16 by the processor's tiles. */
#pragma once
#include "kernels/common/tiles.h"
#include "kernels/conv/conv_direct.h"

enum {
  CONV_AMX_ROWS = 16,         /* of a tile: voxels or channels */
  CONV_AMX_DEPTH = 32,        /* values that are summed at once */
  CONV_AMX_WORDS = 256,       /* of 32 bits of a tile */
  CONV_AMX_LINE = 64,         /* bytes of a tile's row */
  CONV_AMX_PLANAR = 4,        /* channels that a voxel of a planar source is padded to */
  CONV_AMX_SCRATCH = 1 << 20, /* bytes of a thread's own memory: half of a second-level cache */
};

/* Along an axis, the source voxels that the taps of any phase see from target position 0: `span`
 * of them from `low` on. */
struct conv_amx_reach {
  int low, span;
};
struct conv_amx_reach conv_amx_reach_of(const struct conv_axis *axis);

/* The box of voxels to try next, from `length` (d h w); height 0: the first, all rows whole. Then
 * half as many rows each time, and after one row all of half the width; few rows only where they
 * are short. false: there is no smaller one. */
bool conv_amx_next_box(const int length[3], int *height, int *width);

/* to[voxel][channel] := `count` voxels of a row, `step` apart, `channels` channels of each, rounded
 * to bfloat16; what the tensor does not have is 0. at: n, the first channel, d, h, and w of the
 * first voxel. tensor: bfloat16 or float32, blocked (whole blocks) or planar. */
void SIMD_NAME(conv_amx_copy)(const struct tensor *tensor, const void *data, const int at[5],
                              int step, int64_t count, int channels, uint16_t *to);

/* target := leaky(sums[voxel][16]), or added to what is there (slope 1), for `count` voxels from
 * element `at` on, `step` elements apart. stream: past the caches, of a blocked target. */
void SIMD_NAME(conv_amx_store)(const struct conv_target *target, int64_t at, int64_t step,
                               const float *sums, int count, bool stream);

/* Channels of a voxel of a source that lie side by side in a pass, padding included; the group of
 * its packing is this many, but at most 16. */
static inline int conv_amx_channels(const struct tensor *tensor) {
  return tensor->layout == LAYOUT_BLOCKED ? tensor_stored_channels(tensor) : CONV_AMX_PLANAR;
}

/* A source's weights as tiles, [copy][lane block][tap d][tap h][tile][16 pairs][16 lanes]: the
 * values that a voxel's taps along w see, [tap w][channel], in tiles of 32 with zeros behind them.
 * Sizes in words. */
int conv_amx_tiles(const struct conv_packing *packing, const int phase[3]); /* along w */
size_t conv_amx_block_size(const struct conv_packing *packing, const int phase[3]);
size_t conv_amx_size(const struct conv_packing *packing);
/* Where those of a phase begin. */
size_t conv_amx_at(const struct conv_packing *packing, const int phase[3]);

/* As conv_rows, for sources whose `packed` are tiles, and planar ones; the target may be planar,
 * too. It fits unless a few voxels' sources alone are too large for a thread's memory. */
bool SIMD_NAME(conv_amx_rows_fits)(const struct conv_target *target,
                                   const struct conv_source *sources, int count);
void SIMD_NAME(conv_amx_rows)(const struct conv_target *target, const struct conv_source *sources,
                              int count);

/* As conv_bf16_outer. */
bool SIMD_NAME(conv_amx_outer_fits)(const struct tensor *target,
                                    const struct conv_packing *packing);
size_t SIMD_NAME(conv_amx_outer_size)(const struct tensor *target,
                                      const struct conv_packing *packing);
void SIMD_NAME(conv_amx_outer)(const struct tensor *target, const float *data,
                               const struct conv_source *source, float *partial);
