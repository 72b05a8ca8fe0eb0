/* What the passes on tiles share: reach, and weights as tiles. */
#include "kernels/conv/conv_amx.h"

struct conv_amx_reach conv_amx_reach_of(const struct conv_axis *axis) {
  struct conv_amx_reach reach = {0, 0};
  for (int phase = 0; phase < axis->phases; phase++) {
    if (axis->taps[phase] == 0) continue;
    int low = axis->first[phase], high = low + axis->taps[phase];
    if (reach.span > 0 && reach.low < low) low = reach.low;
    if (reach.span > 0 && reach.low + reach.span > high) high = reach.low + reach.span;
    reach = (struct conv_amx_reach){low, high - low};
  }
  return reach;
}

enum { LEAST_HEIGHT = 4, LEAST_WIDTH = 64 };

bool conv_amx_next_box(const int length[3], int *height, int *width) {
  do {
    if (*height == 0) {
      *height = length[1], *width = length[2];
    } else if (*height > 1) {
      *height = conv_divide_up(*height, 2);
    } else {
      if (*width == 1) return false;
      *height = length[1], *width = conv_divide_up(*width, 2);
    }
  } while (*height < LEAST_HEIGHT && *height < length[1] && *width > LEAST_WIDTH);
  return true;
}

/* --- weights --- */

int conv_amx_tiles(const struct conv_packing *packing, const int phase[3]) {
  const int channels = conv_packing_groups(packing) * packing->group;
  return conv_divide_up(packing->axis[2].taps[phase[2]] * channels, CONV_AMX_DEPTH);
}

size_t conv_amx_block_size(const struct conv_packing *packing, const int phase[3]) {
  const struct conv_axis *a = packing->axis;
  return (size_t)CONV_AMX_WORDS * (size_t)conv_amx_tiles(packing, phase) *
         (size_t)(a[0].taps[phase[0]] * a[1].taps[phase[1]]);
}

static size_t copies_size(const struct conv_packing *packing, int copies) {
  size_t size = 0;
  for (int copy = 0; copy < copies; copy++) {
    int phase[3];
    conv_packing_split_phase(packing, copy, phase);
    size += conv_amx_block_size(packing, phase) * (size_t)conv_packing_lane_blocks(packing);
  }
  return size;
}

size_t conv_amx_size(const struct conv_packing *packing) {
  return copies_size(packing, conv_packing_phases(packing));
}

size_t conv_amx_at(const struct conv_packing *packing, const int phase[3]) {
  const struct conv_axis *a = packing->axis;
  if (conv_packing_shares_phases(packing)) return 0;
  return copies_size(packing, (phase[0] * a[1].phases + phase[1]) * a[2].phases + phase[2]);
}
