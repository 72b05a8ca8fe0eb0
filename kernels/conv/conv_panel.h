/* Matrix products over the channels that voxels of a batch see, read and stored where they lie: the
 * innermost loops of convolutions whose target voxels share no source voxel. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "kernels/common/simd.h"

/* Blocks of 16 target channels that are computed together, voxels at most, taps of a source. */
#if defined SIMD_ISA_AVX512
enum { CONV_PANEL_BLOCKS = 2 };
#else
enum { CONV_PANEL_BLOCKS = 1 };
#endif
enum { CONV_PANEL_PLACES = 384, CONV_PANEL_TAPS = 8 };

/* What the voxels see of one source, distances in floats: channel block `group` at tap `tap` of
 * the voxel at place w of row r lies at x + group_pitch * group + tap_at[tap] + row * r + 16 * step
 * * w, its weights at w + block_pitch * block, [group][tap][16 channels][16]. */
struct conv_panel_source {
  const float *x, *w;
  size_t group_pitch, block_pitch, row;
  ptrdiff_t tap_at[CONV_PANEL_TAPS];
  int taps, channels;
  ptrdiff_t ahead; /* from x to what is asked for meanwhile */
};

/* `rows` rows of `width` voxels, of which target channel block `block` lies at y + pitch * block +
 * row * r + step * w. They become leaky(bias + sum), or what is there grows by the sum (slope 1).
 */
struct conv_panel {
  const struct conv_panel_source *sources;
  int count, rows, width, blocks;
  int step;         /* of all sources: 1 or 2 */
  int pass, passes; /* of so many over what the sources hold, each of which asks for its share */
  float *y;
  size_t pitch, row, step_y;
  const float *bias; /* [block][16]; NULL: none */
  float slope;
  bool add, stream; /* stream: past the caches */
};

enum { CONV_PANEL_LINES = 12 * CONV_PANEL_BLOCKS };

/* Sums that wait to be stored, a few at a time while the next are computed: storing many at once
 * would hold up the multipliers. */
struct conv_panel_waiting {
  _Alignas(64) float sums[CONV_PANEL_LINES][CHANNEL_BLOCK];
  float *to[CONV_PANEL_LINES];
  int lines;
  bool add, stream;
};

/* Some sums may be left waiting: conv_panel_store_rest stores those. */
void SIMD_NAME(conv_panel_start)(struct conv_panel_waiting *waiting);
void SIMD_NAME(conv_panel_multiply)(const struct conv_panel *panel,
                                    struct conv_panel_waiting *waiting);
void SIMD_NAME(conv_panel_store_rest)(struct conv_panel_waiting *waiting);
