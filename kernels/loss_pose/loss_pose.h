/* How far a predicted rigid motion is from the true one. Inputs: prediction [n 6|9 1 1 1], what the
 * network gives, decoded by pose_decode (pose.h), and target [n 6 1 1 1]: rx ry rz in degrees, tx
 * ty tz in mm; both float32. The loss is the mean over samples. The target has no gradient. */
#pragma once
#include "kernels/op.h"

/* Over what a distance d is rounded off, so that it has a derivative at 0:
 * sqrt(d^2 + POSE_ROUNDING^2) - POSE_ROUNDING. */
#define POSE_ROUNDING 1e-3

enum pose_loss {
  /* The mean square of the differences of 6 predictions and the target as they predict it: angles
   * by rotation_range, translations by translation_range. Of 9 predictions: of the 9 elements of
   * the rotation matrix and 3 translations by translation_range, the mean of 12 squares. */
  POSE_MSE,
  /* The angle of the rotation between both, in radians, and `weight` times the distance of both
   * translations in units of translation_range (Salehi et al., "Real-time deep pose estimation with
   * geodesic loss for image-to-template rigid registration", 2019). The angle, twice that whose
   * sine and cosine are sqrt(s) and sqrt(1-s), has both roots rounded off. */
  POSE_GEODESIC,
  /* The mean distance in mm by which both put the 8 corners of the field of view, each rounded
   * off. */
  POSE_CORNER,
};

struct loss_pose_arguments {
  enum pose_loss kind;
  double rotation_range;    /* degrees that a prediction of 1 stands for; 0: targets have none */
  double translation_range; /* mm likewise */
  double weight;            /* of POSE_GEODESIC, at least 0 */
  double half_extent[3];    /* of POSE_CORNER: half the field of view along x y z, mm */
};

extern const struct op op_loss_pose;

static inline const struct loss_pose_arguments *loss_pose_arguments_of(const struct node *node) {
  return (const struct loss_pose_arguments *)node->arguments;
}
