/* What all kernels of affine share: where a voxel of y falls in the source, what is outside, and
 * which voxels the mask keeps. `real` is the element type of the including file. Also C++, and then
 * for the device, too. */
#pragma once
#include <math.h>
#include "base/philox.h"
#include "kernels/affine/affine.h"
#include "kernels/common/real.h"
#include "kernels/common/shared.h"

/* Places of a motion's values: struct affine_motion as an array. */
enum {
  AFFINE_AT_FIRST = 12,
  AFFINE_AT_COUNT = 15,
  AFFINE_AT_KEY = 18,
  AFFINE_AT_MEAN = 20,
  AFFINE_AT_DEVIATION = 21,
};

/* A sample's motion, ready to use. */
struct affine_map {
  double matrix[3][4];
  int first[3], last[3]; /* the box, both included, within the source; last < first: empty */
  uint32_t key[2];
  real mean, deviation;
};

/* Further away than any extent: an int holds it, and NaN ends there too. */
#define AFFINE_FAR 268435456.0

HOST_DEVICE static inline double affine_bound(double position) {
  position = position > -AFFINE_FAR ? position : -AFFINE_FAR;
  return position < AFFINE_FAR ? position : AFFINE_FAR;
}

HOST_DEVICE static inline int affine_floor(double bounded) {
  int whole = (int)bounded;
  return whole - (bounded < whole);
}

HOST_DEVICE static inline int affine_whole(real value) {
  return affine_floor(affine_bound((double)value));
}

HOST_DEVICE static inline struct affine_map affine_map_load(const real *motion, int d, int h,
                                                            int w) {
  const int extent[3] = {d, h, w};
  struct affine_map map;
  for (int k = 0; k < 3; k++) {
    int first = affine_whole(motion[AFFINE_AT_FIRST + k]);
    int end = first + affine_whole(motion[AFFINE_AT_COUNT + k]);
    for (int j = 0; j < 4; j++) map.matrix[k][j] = (double)motion[4 * k + j];
    map.first[k] = first > 0 ? first : 0;
    map.last[k] = (end < extent[k] ? end : extent[k]) - 1;
  }
  for (int k = 0; k < 2; k++) map.key[k] = (uint32_t)affine_whole(motion[AFFINE_AT_KEY + k]);
  map.mean = motion[AFFINE_AT_MEAN];
  map.deviation = motion[AFFINE_AT_DEVIATION];
  return map;
}

HOST_DEVICE static inline bool affine_is_empty(const struct affine_map *map) {
  return map->last[0] < map->first[0] || map->last[1] < map->first[1] ||
         map->last[2] < map->first[2];
}

/* p on axis k for the voxel (d, h, 0) of y; matrix[k][2] * w more for (d, h, w). Products of a
 * float32 and a whole number are exact in double: fusing them with the sums changes nothing. */
HOST_DEVICE static inline double affine_row(const struct affine_map *map, int k, int d, int h) {
  return (map->matrix[k][3] + map->matrix[k][0] * d) + map->matrix[k][1] * h;
}

HOST_DEVICE static inline bool affine_clamps(enum affine_fill fill) {
  return fill == AFFINE_EDGE || fill == AFFINE_CROP;
}

/* A position on one axis between voxels `low` and low + 1, which may lie outside. */
struct affine_axis {
  int low;
  real fraction; /* weight of low + 1; 0 for the nearest voxel */
};

/* `clamped` to the box; of an empty box the result is anything. */
HOST_DEVICE static inline struct affine_axis affine_axis_find(double position,
                                                              enum affine_mode mode, bool clamped,
                                                              int first, int last) {
  struct affine_axis axis;
  position = affine_bound(position);
  if (clamped) {
    position = position > first ? position : first;
    position = position < last ? position : last;
  }
  axis.low = affine_floor(mode == AFFINE_NEAREST ? position + 0.5 : position);
  axis.fraction = mode == AFFINE_NEAREST ? 0 : (real)(position - axis.low);
  return axis;
}

HOST_DEVICE static inline bool affine_inside(const struct affine_map *map, int k, int index) {
  return index >= map->first[k] && index <= map->last[k];
}

/* Channels whose noise comes from one block of random numbers. */
enum { AFFINE_NOISE_CHANNELS = 4 };

/* The noise of voxel `voxel` of y in up to 4 channels from `first` (a multiple of 4) on (Box and
 * Muller, 1958): two numbers from each two words of one block. */
HOST_DEVICE static inline void affine_noise(const struct affine_map *map, int voxel, int first,
                                            int channels, real noise[AFFINE_NOISE_CHANNELS]) {
  const uint32_t counter[4] = {(uint32_t)voxel, (uint32_t)(first / AFFINE_NOISE_CHANNELS), 0, 0};
  uint32_t word[4];
  philox_block(counter, map->key, word);
  for (int i = 0; i < AFFINE_NOISE_CHANNELS && first + i < channels; i += 2) {
    float radius = sqrtf(-2 * logf(((float)(word[i] >> 8) + 0.5f) * 0x1p-24f));
    float angle = (float)(word[i + 1] >> 8) * (6.2831853f * 0x1p-24f);
    noise[i] = map->mean + map->deviation * (real)(radius * cosf(angle));
    noise[i + 1] = map->mean + map->deviation * (real)(radius * sinf(angle));
  }
}

/* The mask, ready to use. */
struct affine_cut {
  enum affine_mask mask;
  int size[3];
  float scale[3]; /* of a sphere 1 / (4 radius^2), of a box 2 radius */
};

static inline struct affine_cut affine_cut_make(const struct affine_arguments *arguments) {
  struct affine_cut cut;
  cut.mask = arguments->mask;
  for (int k = 0; k < 3; k++) {
    double radius = arguments->radius[k];
    bool sphere = cut.mask == AFFINE_SPHERE;
    cut.size[k] = arguments->size[k];
    cut.scale[k] = (float)(sphere ? 0.25 / (radius * radius) : 2 * radius);
  }
  return cut;
}

/* Whether the mask keeps a voxel of y. Products are exact in double; what is on a sphere's surface
 * but for the rounding of its radii is kept. */
HOST_DEVICE static inline bool affine_keeps(const struct affine_cut *cut, int d, int h, int w) {
  const int twice[3] = {2 * d - (cut->size[0] - 1), 2 * h - (cut->size[1] - 1),
                        2 * w - (cut->size[2] - 1)};
  double sum = 0;
  bool within = true;
  if (cut->mask == AFFINE_NO_MASK) return true;
  for (int k = 0; k < 3; k++) {
    double square = (double)twice[k] * twice[k];
    sum += square * (double)cut->scale[k];
    within = within && abs(twice[k]) <= (double)cut->scale[k];
  }
  return cut->mask == AFFINE_SPHERE ? sum <= 1 + 1e-6 : within;
}
