/* Images smoothed by a Gaussian, another one for each sample, one axis after another. Inputs: x
 * [n c d h w] float32; numbers [n BLUR_NUMBERS 1 1 1] float32, each sample's struct blur_numbers. y
 * like x. There is no gradient.
 *
 * Along an axis of deviation s, in voxels:
 *   y[i] = sum over |j| <= r of g_j x[i + j],  g_j = exp(-j^2 / (2 s^2)) / (their sum),
 *   r = min(ceil(3 s), BLUR_MOST_RADIUS),
 * where x beyond an end is the voxel at that end. An axis with s = 0 (or less, or no number) stays
 * as it is, bit for bit. */
#pragma once
#include "kernels/op.h"

enum { BLUR_MOST_RADIUS = 5 };

/* BLUR_NUMBERS is a multiple of 16, so that they lie side by side in every layout: an array of
 * these structs is the whole input. */
struct blur_numbers {
  float deviation[3]; /* along d h w, in voxels */
  float unused[13];
};
enum { BLUR_NUMBERS = 16 };

extern const struct op op_blur;
