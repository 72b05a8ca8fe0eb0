/* The local normalised cross-correlation of VoxelMorph (voxelmorph/torch/losses.py, class NCC;
 * Balakrishnan et al., IEEE TMI 2019, eq. 6): with sums over a cube of window^3 voxels, zeros
 * outside the volume and N = window^3 everywhere,
 *   cross = sum(IJ) - sum(I)sum(J)/N, Ivar = sum(II) - sum(I)^2/N, Jvar alike,
 *   loss = -mean(cross^2 / (Ivar*Jvar + 1e-5)).
 * x[0] predicted, x[1] target, of one shape; every channel is taken alone. */
#pragma once
#include "kernels/common/shared.h"
#include "kernels/op.h"

struct loss_lncc_arguments {
  int window; /* voxels, odd; 0: 9 */
};

#define LOSS_LNCC_EPSILON 1e-5

/* What is left of the five sums over one window. "own" is the input whose gradient is wanted;
 * per_voxel is 1/N. */
struct loss_lncc_moments {
  double own_mean, other_mean, cross, own_variance, other_variance, denominator;
};
static inline HOST_DEVICE struct loss_lncc_moments loss_lncc_moments(double own, double other,
                                                                     double own_own,
                                                                     double other_other,
                                                                     double own_other,
                                                                     double per_voxel) {
  struct loss_lncc_moments m = {.own_mean = own * per_voxel, .other_mean = other * per_voxel};
  double own_variance = own_own - own * m.own_mean;
  double other_variance = other_other - other * m.other_mean;
  m.cross = own_other - own * m.other_mean;
  m.own_variance = own_variance > 0 ? own_variance : 0; /* below 0 only by rounding */
  m.other_variance = other_variance > 0 ? other_variance : 0;
  m.denominator = m.own_variance * m.other_variance + LOSS_LNCC_EPSILON;
  return m;
}

/* The window's correlation differentiated by its sums: a voxel of `own` in the window moves it by
 * own_other*other + 2*own_own*own + constant. ratio: cross / denominator. */
struct loss_lncc_slopes {
  double own_other, own_own, constant;
};
static inline HOST_DEVICE struct loss_lncc_slopes loss_lncc_slopes(struct loss_lncc_moments m,
                                                                   double ratio) {
  struct loss_lncc_slopes slopes = {2 * ratio, -ratio * ratio * m.other_variance, 0};
  slopes.constant = -slopes.own_other * m.other_mean - 2 * slopes.own_own * m.own_mean;
  return slopes;
}
