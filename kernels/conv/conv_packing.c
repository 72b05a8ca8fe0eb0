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

size_t conv_packing_group_size(const struct conv_packing *packing, const int phase[3]) {
  size_t size = (size_t)LANES * packing->group;
  for (int i = 0; i < 3; i++) size *= (size_t)packing->axis[i].taps[phase[i]];
  return size;
}

size_t conv_packing_block_stride(const struct conv_packing *packing, const int phase[3]) {
  return conv_packing_group_size(packing, phase) * conv_packing_groups(packing);
}

/* The floats of all copies before one. */
static size_t copy_start(const struct conv_packing *packing, int copy) {
  size_t start = 0;
  for (int i = 0; i < copy; i++) {
    int phase[3];
    conv_packing_split_phase(packing, i, phase);
    start += conv_packing_block_stride(packing, phase) * conv_packing_lane_blocks(packing);
  }
  return start;
}

size_t conv_packing_size(const struct conv_packing *packing) {
  return copy_start(packing, conv_packing_phases(packing));
}

size_t conv_packing_at(const struct conv_packing *packing, const int phase[3], int lane_block,
                       int group) {
  int index = (phase[0] * packing->axis[1].phases + phase[1]) * packing->axis[2].phases + phase[2];
  if (conv_packing_shares_phases(packing)) index = 0;
  return copy_start(packing, index) + conv_packing_block_stride(packing, phase) * lane_block +
         conv_packing_group_size(packing, phase) * group;
}

/* Where the kernel's values count in one channel of a group: value `index` at float `at` of a copy.
 */
enum { MOST_TAPS = CONV_MOST_KERNEL * CONV_MOST_KERNEL * CONV_MOST_KERNEL };
struct places {
  int count;
  bool once;  /* each tap of each copy is one value's */
  bool alone; /* each value is at one tap */
  struct place {
    int index, at, copy;
  } place[MOST_TAPS * 8];
};

static int kernel_size(const struct conv_packing *packing) {
  return packing->kernel[0] * packing->kernel[1] * packing->kernel[2];
}

/* The kernel indices along an axis that count, and at which tap; returns how many. */
static int find_taps(const struct conv_axis *axis, int kernel, int phase,
                     struct place taps[2 * CONV_MOST_KERNEL]) {
  int count = 0;
  for (int k = 0; k < kernel; k++)
    for (int i = 0; i < 2; i++)
      if (axis->tap[phase][k][i] >= 0) taps[count++] = (struct place){k, axis->tap[phase][k][i], 0};
  return count;
}

static void add_places(const struct conv_packing *packing, int copy, struct places *places) {
  struct place taps[3][2 * CONV_MOST_KERNEL];
  const struct conv_axis *axis = packing->axis;
  const int *kernel = packing->kernel;
  int count[3], phase[3], line = packing->group * LANES;
  conv_packing_split_phase(packing, copy, phase);
  for (int i = 0; i < 3; i++) count[i] = find_taps(&axis[i], kernel[i], phase[i], taps[i]);
  for (int d = 0; d < count[0]; d++)
    for (int h = 0; h < count[1]; h++)
      for (int w = 0; w < count[2]; w++) {
        const struct place *at[] = {&taps[0][d], &taps[1][h], &taps[2][w]};
        int row = at[0]->at * axis[1].taps[phase[1]] + at[1]->at;
        places->place[places->count++] =
            (struct place){(at[0]->index * kernel[1] + at[1]->index) * kernel[2] + at[2]->index,
                           (row * axis[2].taps[phase[2]] + at[2]->at) * line, copy};
      }
}

static void find_places(const struct conv_packing *packing, struct places *places) {
  size_t taps = 0;
  places->count = 0;
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    int phase[3];
    conv_packing_split_phase(packing, copy, phase);
    taps += conv_packing_group_size(packing, phase) / (size_t)(LANES * packing->group);
    add_places(packing, copy, places);
  }
  places->once = taps == (size_t)places->count;
  places->alone = kernel_size(packing) == places->count;
}

void conv_packing_split_phase(const struct conv_packing *packing, int index, int phase[3]) {
  int h = packing->axis[1].phases, w = packing->axis[2].phases;
  phase[0] = index / w / h;
  phase[1] = index / w % h;
  phase[2] = index % w;
}

static int lanes_of(const struct conv_packing *packing, int block) {
  return conv_at_most(packing->lanes - block * LANES, LANES);
}

static int64_t weights_at(const struct conv_packing *packing, int block, int channel) {
  return packing->lane_stride * block * LANES + packing->channel_stride * channel;
}

/* to := from where nothing else falls on it, else added. */
static inline void put_row(float *to, const float *from, bool alone) {
  if (alone)
    memcpy(to, from, sizeof(float) * LANES);
  else
    for (int i = 0; i < LANES; i++) to[i] += from[i];
}

/* to[column][row] = from[row][column], 4 of each. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
static inline void turn_square(const float *from, int64_t from_pitch, float *to, int64_t to_pitch) {
  const four a = *(const four *)from, b = *(const four *)(from + from_pitch);
  const four c = *(const four *)(from + 2 * from_pitch), d = *(const four *)(from + 3 * from_pitch);
  const four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const four ab_end = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const four cd_end = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *(four *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  *(four *)(to + to_pitch) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  *(four *)(to + 2 * to_pitch) = __builtin_shufflevector(ab_end, cd_end, 0, 1, 4, 5);
  *(four *)(to + 3 * to_pitch) = __builtin_shufflevector(ab_end, cd_end, 2, 3, 6, 7);
}

/* to[column][row] = from[row][column]; the last squares overlap those before them. What lies
 * farther apart, from or to, is met once. */
static void turn(const float *from, int64_t from_pitch, int rows, float *to, int64_t to_pitch,
                 int columns) {
  if (columns == 1 && from_pitch == 1) {
    memcpy(to, from, sizeof(float) * (size_t)rows);
    return;
  }
  if (rows == 1 && to_pitch == 1) {
    memcpy(to, from, sizeof(float) * (size_t)columns);
    return;
  }
  if (rows < 4 || columns < 4) {
    for (int row = 0; row < rows; row++)
      for (int column = 0; column < columns; column++)
        to[to_pitch * column + row] = from[from_pitch * row + column];
    return;
  }
  const bool by_row = from_pitch > to_pitch;
  const int outer = by_row ? rows : columns, inner = by_row ? columns : rows;
  for (int i = 0; i < outer; i += 4)
    for (int j = 0; j < inner; j += 4) {
      int row = conv_at_most(by_row ? i : j, rows - 4);
      int column = conv_at_most(by_row ? j : i, columns - 4);
      turn_square(from + from_pitch * row + column, from_pitch, to + to_pitch * column + row,
                  to_pitch);
    }
}

/* How many channels are turned at once: so many that a lane's values fill a line, where they lie
 * side by side. */
static int channels_together(const struct conv_packing *packing) {
  const int kernel = kernel_size(packing);
  return packing->channel_stride == kernel && kernel < LANES ? LANES / kernel : 1;
}

/* Through rows[channel][value of the kernel][lane]: the weights' lines may lie so far apart that
 * they would drive each other out of a cache, so that each is met but once. */
void conv_pack_group(const struct conv_packing *packing, const float *w, int block, int group,
                     float *const *copies) {
  struct places places;
  float rows[MOST_TAPS * LANES];
  const int kernel = kernel_size(packing), lanes = lanes_of(packing, block);
  const int channels = conv_at_most(packing->channels - group * packing->group, packing->group);
  find_places(packing, &places);
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    int phase[3];
    conv_packing_split_phase(packing, copy, phase);
    if (!places.once || channels < packing->group)
      memset(copies[copy], 0, sizeof(float) * conv_packing_group_size(packing, phase));
  }
  const int together = channels_together(packing);
  memset(rows, 0, sizeof(float) * (size_t)(together * kernel * LANES));
  for (int c = 0; c < channels; c++) {
    const float *from = w + weights_at(packing, block, group * packing->group + c);
    if (c % together == 0)
      turn(from, packing->lane_stride, lanes, rows, LANES,
           kernel * conv_at_most(channels - c, together));
    const float *row = rows + c % together * kernel * LANES;
    for (int i = 0; i < places.count; i++) {
      const struct place *place = &places.place[i];
      put_row(copies[place->copy] + place->at + c * LANES, row + place->index * LANES, places.once);
    }
  }
}

static void find_copies(const struct conv_packing *packing, const float *packed, int block,
                        int group, float **copies) {
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    int phase[3];
    conv_packing_split_phase(packing, copy, phase);
    copies[copy] = (float *)packed + conv_packing_at(packing, phase, block, group);
  }
}

void conv_pack(const struct conv_packing *packing, const float *w, float *packed) {
  int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * groups; unit++) {
    float *copies[CONV_MOST_COPIES];
    find_copies(packing, packed, unit / groups, unit % groups, copies);
    conv_pack_group(packing, w, unit / groups, unit % groups, copies);
  }
}

static void unpack_group(const struct conv_packing *packing, const float *packed, float *dw,
                         int block, int group) {
  struct places places;
  float rows[MOST_TAPS * LANES], *copies[CONV_MOST_COPIES];
  const int kernel = kernel_size(packing), lanes = lanes_of(packing, block);
  const int channels = conv_at_most(packing->channels - group * packing->group, packing->group);
  find_places(packing, &places);
  find_copies(packing, packed, block, group, copies);
  const int together = channels_together(packing);
  for (int c = 0; c < channels; c++) {
    const int part = c % together;
    float *row = rows + part * kernel * LANES;
    if (!places.alone) memset(row, 0, sizeof(float) * (size_t)(kernel * LANES));
    for (int i = 0; i < places.count; i++) {
      const struct place *place = &places.place[i];
      put_row(row + place->index * LANES, copies[place->copy] + place->at + c * LANES,
              places.alone);
    }
    if (part + 1 < together && c + 1 < channels) continue;
    float *to = dw + weights_at(packing, block, group * packing->group + c - part);
    turn(rows, LANES, kernel * (part + 1), to, packing->lane_stride, lanes);
  }
}

void conv_unpack(const struct conv_packing *packing, const float *packed, float *dw) {
  int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * groups; unit++)
    unpack_group(packing, packed, dw, unit / groups, unit % groups);
}
