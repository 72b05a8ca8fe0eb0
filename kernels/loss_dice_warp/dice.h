/* What follows from the volumes of the classes: the loss, and its slopes by overlap and volume. */
#pragma once
#include "kernels/common/shared.h"
#include "kernels/loss_dice_warp/loss_dice_warp.h"

/* Per sample and class: saved[0] is [n classes 3], float64. */
enum { DICE_OVERLAP, DICE_WARPED, DICE_FIXED, DICE_SUMS };

enum {
  DICE_LABELS = 256,
  DICE_OUTSIDE = 256, /* the label of a corner outside the volume */
  DICE_TABLE = 257,
};

/* What a warped voxel of a label adds to the loss: by whether the fixed label is the same. Zero for
 * labels of no class. */
struct dice_slopes {
  double of[2][DICE_TABLE];
};

/* What one class of one sample adds to the loss, but for the mean; its slope by the warped volume,
 * and what the slope by the overlap adds to it. s: its DICE_SUMS sums. */
static inline HOST_DEVICE double dice_class_loss(const double *s, double smooth_numerator,
                                                 double smooth_denominator) {
  return 1 - (2 * s[DICE_OVERLAP] + smooth_numerator) /
                 (s[DICE_WARPED] + s[DICE_FIXED] + smooth_denominator);
}
static inline HOST_DEVICE double dice_volume_slope(const double *s, double smooth_numerator,
                                                   double smooth_denominator) {
  double below = s[DICE_WARPED] + s[DICE_FIXED] + smooth_denominator;
  return (2 * s[DICE_OVERLAP] + smooth_numerator) / (below * below);
}
static inline HOST_DEVICE double dice_overlap_slope(const double *s, double smooth_denominator) {
  return -2 / (s[DICE_WARPED] + s[DICE_FIXED] + smooth_denominator);
}

/* The first class that counts, and how many terms the mean is taken of. */
int dice_first_class(const struct node *node);
double dice_terms(const struct node *node);

double dice_loss(const struct node *node, const double *sums);
/* `sums` of one sample; the slopes are times dy. */
void dice_slopes(const struct node *node, const double *sums, double dy,
                 struct dice_slopes *slopes);
