/* The order in which direct kernels read weights and write weight gradients:
 * [phase][lane block][group][tap d][tap h][tap w][channel of the group][16 lanes]. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "kernels/conv/conv_axis.h"

struct conv_packing {
  struct conv_axis axis[3];
  int kernel[3];
  int lanes, channels;                 /* lanes: channels that lie side by side in a vector */
  int group;                           /* channels are stored in groups of so many */
  int64_t lane_stride, channel_stride; /* in the weights as PyTorch stores them */
};

/* How many of `value` things left fit into `limit`. */
static inline int conv_at_most(int value, int limit) {
  return value < limit ? value : limit;
}

static inline int conv_divide_up(int count, int by) {
  return (count + by - 1) / by;
}

/* Sizes in floats. Phases without own taps (all alike) share one copy. */
bool conv_packing_shares_phases(const struct conv_packing *packing);
int conv_packing_phases(const struct conv_packing *packing); /* copies */
int conv_packing_lane_blocks(const struct conv_packing *packing);
int conv_packing_groups(const struct conv_packing *packing);
size_t conv_packing_size(const struct conv_packing *packing);

/* Where the taps of one phase (d h w), lane block and group begin. */
size_t conv_packing_at(const struct conv_packing *packing, const int phase[3], int lane_block,
                       int group);

/* The floats of one phase, lane block and group. */
size_t conv_packing_group_size(const struct conv_packing *packing, const int phase[3]);

/* The phases of copy `index`. */
void conv_packing_split_phase(const struct conv_packing *packing, int index, int phase[3]);

/* The distance of two lane blocks within a phase. */
size_t conv_packing_block_stride(const struct conv_packing *packing, const int phase[3]);

/* packed := the weights; w points at the first channel of the input in question. */
void conv_pack(const struct conv_packing *packing, const float *w, float *packed);

/* The same of one lane block and group: copies[phase] := its taps of each copy. */
enum { CONV_MOST_COPIES = CONV_MOST_PHASES * CONV_MOST_PHASES * CONV_MOST_PHASES };
void conv_pack_group(const struct conv_packing *packing, const float *w, int block, int group,
                     float *const *copies);

/* The adjoint: dw := for each weight the sum of all places that conv_pack would have added it to.
 */
void conv_unpack(const struct conv_packing *packing, const float *packed, float *dw);
