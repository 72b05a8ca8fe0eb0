/* What all kernels of intensity share: which noise a voxel gets, and what becomes of a value.
 * `real` is the element type of the including file. Also C++, and then for the device, too. */
#pragma once
#include <math.h>
#include "base/philox.h"
#include "kernels/common/real.h"
#include "kernels/common/shared.h"
#include "kernels/intensity/intensity.h"

/* Places of a sample's numbers: struct intensity_numbers as an array. */
enum {
  INTENSITY_AT_DEVIATION,
  INTENSITY_AT_KEY,
  INTENSITY_AT_FACTOR = INTENSITY_AT_KEY + 2,
  INTENSITY_AT_CONTRAST,
  INTENSITY_AT_GAMMA,
  INTENSITY_AT_GAMMA_INVERTED,
};

/* Noise is made for 64 voxels of a channel at a time, from 16 blocks of random numbers: voxel v
 * has number (v / 16) mod 4 of block 16 (v / 64) + v mod 16. So neighbours come from different
 * blocks, which vectors and warps compute side by side. */
enum { INTENSITY_LANES = 16, INTENSITY_WORDS = 4, INTENSITY_GROUP = 64 };

/* A sample's numbers, ready to use; steps that the node does not take are neutral. */
struct intensity_change {
  uint32_t key[2];
  real deviation, factor, contrast, gamma, inverted;
};

HOST_DEVICE static inline struct intensity_change intensity_change_load(
    const real *numbers, enum intensity_steps steps) {
  struct intensity_change change;
  for (int i = 0; i < 2; i++) {
    real whole = numbers[INTENSITY_AT_KEY + i];
    change.key[i] = whole > 0 && whole < 16777216 ? (uint32_t)whole : 0;
  }
  change.deviation = steps & INTENSITY_NOISE ? numbers[INTENSITY_AT_DEVIATION] : 0;
  change.factor = steps & INTENSITY_FACTOR ? numbers[INTENSITY_AT_FACTOR] : 1;
  change.contrast = steps & INTENSITY_CONTRAST ? numbers[INTENSITY_AT_CONTRAST] : 1;
  change.gamma = steps & INTENSITY_GAMMA ? numbers[INTENSITY_AT_GAMMA] : 1;
  change.inverted = steps & INTENSITY_GAMMA ? numbers[INTENSITY_AT_GAMMA_INVERTED] : 1;
  return change;
}

/* Whether it asks for mean and range. */
HOST_DEVICE static inline bool intensity_bends(const struct intensity_change *change) {
  return change->contrast != 1 || change->gamma != 1 || change->inverted != 1;
}

/* Four normal numbers (Box and Muller, 1958): of voxels 64 (block / 16) + block mod 16 + 16 i. */
HOST_DEVICE static inline void intensity_noise(const struct intensity_change *change, int block,
                                               int channel, real noise[INTENSITY_WORDS]) {
  const uint32_t counter[4] = {(uint32_t)block, (uint32_t)channel, 0, 0};
  uint32_t word[INTENSITY_WORDS];
  philox_block(counter, change->key, word);
  for (int i = 0; i < INTENSITY_WORDS; i += 2) {
    float radius = sqrtf(-2 * logf(((float)(word[i] >> 8) + 0.5f) * 0x1p-24f));
    float angle = (float)(word[i + 1] >> 8) * (6.2831853f * 0x1p-24f);
    noise[i] = change->deviation * (real)(radius * cosf(angle));
    noise[i + 1] = change->deviation * (real)(radius * sinf(angle));
  }
}

/* Of a channel behind noise and factor. */
struct intensity_range {
  real mean, low, high;
};

/* What contrast and gamma make of a channel's values. */
struct intensity_curve {
  struct intensity_range before;
  real low, size, inverse; /* behind contrast: the range, and 1 / size; 0: there is none */
  real contrast, gamma, inverted;
};

HOST_DEVICE static inline real intensity_between(real value, real low, real high) {
  value = value > low ? value : low;
  return value < high ? value : high;
}

HOST_DEVICE static inline real intensity_contrast(const struct intensity_range *range,
                                                  real contrast, real value) {
  return intensity_between(range->mean + contrast * (value - range->mean), range->low, range->high);
}

HOST_DEVICE static inline struct intensity_curve intensity_curve_make(
    const struct intensity_change *change, struct intensity_range range) {
  struct intensity_curve curve;
  curve.before = range;
  curve.contrast = change->contrast;
  curve.gamma = change->gamma;
  curve.inverted = change->inverted;
  curve.low = range.low;
  real high = range.high;
  if (change->contrast != 1) {
    real a = intensity_contrast(&range, change->contrast, range.low);
    real b = intensity_contrast(&range, change->contrast, range.high);
    curve.low = a < b ? a : b;
    high = a < b ? b : a;
  }
  curve.size = high - curve.low;
  curve.inverse = curve.size > 0 ? 1 / curve.size : 0;
  return curve;
}

HOST_DEVICE static inline real intensity_power(real base, real power) {
#ifdef REAL_IS_DOUBLE
  return pow(base, power);
#else
  return powf(base, power);
#endif
}

HOST_DEVICE static inline real intensity_bend(const struct intensity_curve *curve, real value) {
  if (curve->contrast != 1) value = intensity_contrast(&curve->before, curve->contrast, value);
  if ((curve->gamma == 1 && curve->inverted == 1) || curve->inverse == 0) return value;
  real u = intensity_between((value - curve->low) * curve->inverse, 0, 1);
  if (curve->inverted != 1) u = 1 - intensity_power(1 - u, curve->inverted);
  if (curve->gamma != 1) u = intensity_power(u, curve->gamma);
  return curve->low + u * curve->size;
}
