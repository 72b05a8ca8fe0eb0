/* Images as a coarser scan would show them, another one for each sample (Isensee et al., "nnU-Net",
 * Nature Methods 2021, "simulation of low resolution"). Inputs: x [n c d h w] float32, extents up
 * to 32767; numbers [n LOW_RESOLUTION_NUMBERS 1 1 1] float32, each sample's struct
 * low_resolution_numbers. y like x. There is no gradient.
 *
 * Along an axis of E voxels and zoom z:
 *   m = round(E z), ties to even, at least 1    points that are kept
 *   point j is voxel floor((j + 1/2) E / m)     of x, the nearest
 *   p = max((i + 1/2) m / E - 1/2, 0)           where voxel i of y lies between the points
 *   j = floor(p), f = p - j                     y[i] = (1 - f) point j + f point min(j + 1, m - 1)
 * on all three axes at once (PyTorch's interpolate: nearest-exact, then linear with align_corners
 * false). Positions are computed in whole numbers: all kernels find the same cells. A zoom of 1 or
 * more (or no number) leaves an axis as it is. */
#pragma once
#include "kernels/op.h"

/* LOW_RESOLUTION_NUMBERS is a multiple of 16, so that they lie side by side in every layout: an
 * array of these structs is the whole input. */
struct low_resolution_numbers {
  float zoom[3]; /* along d h w */
  float unused[13];
};
enum { LOW_RESOLUTION_NUMBERS = 16 };

extern const struct op op_low_resolution;
