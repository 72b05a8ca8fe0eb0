/* Packs weights tap by tap, adding up those that fall together, and takes gradients back. */
#include "kernels/conv/conv_packing.h"
#include <string.h>

enum { LANES = 16 };

static int round_up(int count, int multiple) {
  return (count + multiple - 1) / multiple;
}

/* All phases have the same taps when the source is read at full resolution. */
bool conv_packing_shares_phases(const struct conv_packing *packing) {
  for (int i = 0; i < 3; i++) {
    const struct conv_axis *axis = &packing->axis[i];
    for (int phase = 1; phase < axis->phases; phase++) {
      if (axis->taps[phase] != axis->taps[0]) return false;
      for (int k = 0; k < packing->kernel[i]; k++)
        if (axis->tap[phase][k][0] != axis->tap[0][k][0]) return false;
    }
  }
  return true;
}

int conv_packing_phases(const struct conv_packing *packing) {
  if (conv_packing_shares_phases(packing)) return 1;
  return packing->axis[0].phases * packing->axis[1].phases * packing->axis[2].phases;
}

int conv_packing_lane_blocks(const struct conv_packing *packing) {
  return round_up(packing->lanes, LANES);
}

int conv_packing_groups(const struct conv_packing *packing) {
  return round_up(packing->channels, packing->group);
}

size_t conv_packing_phase_size(const struct conv_packing *packing) {
  size_t size = (size_t)LANES * packing->group;
  for (int i = 0; i < 3; i++) size *= (size_t)conv_axis_most_taps(&packing->axis[i]);
  return size * conv_packing_lane_blocks(packing) * conv_packing_groups(packing);
}

size_t conv_packing_size(const struct conv_packing *packing) {
  return conv_packing_phase_size(packing) * conv_packing_phases(packing);
}

size_t conv_packing_group_size(const struct conv_packing *packing, const int phase[3]) {
  size_t size = (size_t)LANES * packing->group;
  for (int i = 0; i < 3; i++) size *= (size_t)packing->axis[i].taps[phase[i]];
  return size;
}

size_t conv_packing_block_stride(const struct conv_packing *packing, const int phase[3]) {
  return conv_packing_group_size(packing, phase) * conv_packing_groups(packing);
}

size_t conv_packing_at(const struct conv_packing *packing, const int phase[3], int lane_block,
                       int group) {
  int index = (phase[0] * packing->axis[1].phases + phase[1]) * packing->axis[2].phases + phase[2];
  if (conv_packing_shares_phases(packing)) index = 0;
  return conv_packing_phase_size(packing) * index +
         conv_packing_block_stride(packing, phase) * lane_block +
         conv_packing_group_size(packing, phase) * group;
}

/* The up to 8 places of kernel index k in one channel of a group; returns how many. */
static int find_places(const struct conv_packing *packing, const int phase[3], const int k[3],
                       size_t places[8]) {
  const struct conv_axis *axis = packing->axis;
  int count = 0;
  for (int choice = 0; choice < 8; choice++) {
    int d = axis[0].tap[phase[0]][k[0]][choice / 4];
    int h = axis[1].tap[phase[1]][k[1]][choice / 2 % 2];
    int w = axis[2].tap[phase[2]][k[2]][choice % 2];
    if (d < 0 || h < 0 || w < 0) continue;
    int64_t tap = ((int64_t)d * axis[1].taps[phase[1]] + h) * axis[2].taps[phase[2]] + w;
    places[count++] = (size_t)tap * packing->group * LANES;
  }
  return count;
}

static int at_most(int value, int limit) {
  return value < limit ? value : limit;
}

static int kernel_size(const struct conv_packing *packing) {
  return packing->kernel[0] * packing->kernel[1] * packing->kernel[2];
}

static void split_kernel_index(const struct conv_packing *packing, int index, int k[3]) {
  k[0] = index / packing->kernel[2] / packing->kernel[1];
  k[1] = index / packing->kernel[2] % packing->kernel[1];
  k[2] = index % packing->kernel[2];
}

void conv_packing_split_phase(const struct conv_packing *packing, int index, int phase[3]) {
  int h = packing->axis[1].phases, w = packing->axis[2].phases;
  phase[0] = index / w / h;
  phase[1] = index / w % h;
  phase[2] = index % w;
}

static void pack_group(const struct conv_packing *packing, const float *w, float *packed,
                       const int phase[3], int lanes) {
  size_t places[8];
  for (int index = 0; index < kernel_size(packing); index++) {
    int k[3];
    split_kernel_index(packing, index, k);
    int count = find_places(packing, phase, k, places);
    for (int i = 0; i < count; i++)
      for (int lane = 0; lane < lanes; lane++)
        packed[places[i] + lane] += w[packing->lane_stride * lane + index];
  }
}

void conv_pack(const struct conv_packing *packing, const float *w, float *packed) {
  int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
  int units = conv_packing_phases(packing) * blocks * groups;
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < units; unit++) {
    int phase[3], group = unit % groups, block = unit / groups % blocks;
    conv_packing_split_phase(packing, unit / groups / blocks, phase);
    float *to = packed + conv_packing_at(packing, phase, block, group);
    memset(to, 0, sizeof(float) * conv_packing_group_size(packing, phase));
    int channels = at_most(packing->channels - group * packing->group, packing->group);
    for (int c = 0; c < channels; c++)
      pack_group(packing,
                 w + packing->lane_stride * block * LANES +
                     packing->channel_stride * (group * packing->group + c),
                 to + c * LANES, phase, at_most(packing->lanes - block * LANES, LANES));
  }
}

static void unpack_group(const struct conv_packing *packing, const float *packed, float *dw,
                         const int phase[3], int lanes) {
  size_t places[8];
  for (int index = 0; index < kernel_size(packing); index++) {
    int k[3];
    split_kernel_index(packing, index, k);
    int count = find_places(packing, phase, k, places);
    for (int i = 0; i < count; i++)
      for (int lane = 0; lane < lanes; lane++)
        dw[packing->lane_stride * lane + index] += packed[places[i] + lane];
  }
}

static void unpack_channel(const struct conv_packing *packing, const float *packed, float *dw,
                           int block, int channel) {
  int lanes = at_most(packing->lanes - block * LANES, LANES);
  for (int lane = 0; lane < lanes; lane++)
    memset(dw + packing->lane_stride * lane, 0, sizeof(float) * kernel_size(packing));
  for (int index = 0; index < conv_packing_phases(packing); index++) {
    int phase[3];
    conv_packing_split_phase(packing, index, phase);
    size_t at = conv_packing_at(packing, phase, block, channel / packing->group);
    unpack_group(packing, packed + at + channel % packing->group * LANES, dw, phase, lanes);
  }
}

void conv_unpack(const struct conv_packing *packing, const float *packed, float *dw) {
  int blocks = conv_packing_lane_blocks(packing);
#pragma omp parallel for schedule(static) collapse(2)
  for (int block = 0; block < blocks; block++)
    for (int channel = 0; channel < packing->channels; channel++)
      unpack_channel(packing, packed,
                     dw + packing->lane_stride * block * LANES + packing->channel_stride * channel,
                     block, channel);
}
