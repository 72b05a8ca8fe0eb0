/* The Dice loss of a class from its volumes, and its slopes. */
#pragma once
#include "kernels/common/shared.h"

/* In voxels: what prediction and truth share, what either has. */
enum { DICE_OVERLAP, DICE_PREDICTED, DICE_TRUE, DICE_SUMS };

/* What a class adds to the loss, but for the mean; its slope by the predicted volume, and what the
 * slope by the overlap adds to it. s: its DICE_SUMS sums. */
static inline HOST_DEVICE double dice_class_loss(const double *s, double smooth_numerator,
                                                 double smooth_denominator) {
  return 1 - (2 * s[DICE_OVERLAP] + smooth_numerator) /
                 (s[DICE_PREDICTED] + s[DICE_TRUE] + smooth_denominator);
}
static inline HOST_DEVICE double dice_volume_slope(const double *s, double smooth_numerator,
                                                   double smooth_denominator) {
  double below = s[DICE_PREDICTED] + s[DICE_TRUE] + smooth_denominator;
  return (2 * s[DICE_OVERLAP] + smooth_numerator) / (below * below);
}
static inline HOST_DEVICE double dice_overlap_slope(const double *s, double smooth_denominator) {
  return -2 / (s[DICE_PREDICTED] + s[DICE_TRUE] + smooth_denominator);
}
