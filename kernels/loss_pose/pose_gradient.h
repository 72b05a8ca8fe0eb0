/* The formulas of loss_pose and their gradients, for one sample, in double: shared by the CPU and
 * CUDA. */
#pragma once
#include "kernels/loss_pose/loss_pose.h"
#include "kernels/loss_pose/pose.h"

/* A sample's prediction and target, as values and as motions. */
struct pose_sample {
  double value[POSE_MATRIX], target_value[POSE_TARGET];
  int count;
  struct pose_motion own, target;
};

HOST_DEVICE static inline struct pose_sample pose_sample_make(
    const struct loss_pose_arguments *arguments, int count, const double *value,
    const double *target) {
  struct pose_sample sample;
  sample.count = count;
  for (int i = 0; i < count; i++) sample.value[i] = value[i];
  for (int i = 0; i < POSE_TARGET; i++) sample.target_value[i] = target[i];
  sample.own = pose_decode(value, count, arguments->rotation_range, arguments->translation_range);
  sample.target = pose_of_euler(target);
  return sample;
}

/* The square root of a sum of squares, rounded off; *slope: its derivative by half that sum. */
HOST_DEVICE static inline double pose_distance(double square, double *slope) {
  double distance = sqrt(square + POSE_ROUNDING * POSE_ROUNDING);
  *slope = 1 / distance;
  return distance - POSE_ROUNDING;
}

/* What numbers of this range are multiplied with; where the range is 0 they are all 0. */
HOST_DEVICE static inline double pose_unit(double range) {
  return range > 0 ? 1 / range : 0;
}

/* --- losses: the value, and the gradient by the motion (or by the values) --- */

HOST_DEVICE static inline double pose_mse_values(const struct pose_sample *sample,
                                                 const struct loss_pose_arguments *arguments,
                                                 double gradient[POSE_EULER]) {
  double sum = 0;
  for (int i = 0; i < POSE_EULER; i++) {
    double range = i < 3 ? arguments->rotation_range : arguments->translation_range;
    double difference = sample->value[i] - sample->target_value[i] * pose_unit(range);
    sum += difference * difference;
    gradient[i] = 2 * difference / 6;
  }
  return sum / 6;
}

HOST_DEVICE static inline double pose_mse_matrix(const struct pose_sample *sample,
                                                 const struct loss_pose_arguments *arguments,
                                                 struct pose_motion *gradient) {
  const double unit = pose_unit(arguments->translation_range);
  double sum = 0;
  for (int i = 0; i < 9; i++) {
    double difference = sample->own.r[i] - sample->target.r[i];
    sum += difference * difference;
    gradient->r[i] = 2 * difference / 12;
  }
  for (int k = 0; k < 3; k++) {
    double difference = (sample->own.t[k] - sample->target.t[k]) * unit;
    sum += difference * difference;
    gradient->t[k] = 2 * difference * unit / 12;
  }
  return sum / 12;
}

/* With s = |R - R'|^2 / 8 = sin^2(angle / 2), the angle is 2 atan2(sqrt(s), sqrt(1 - s)); both
 * roots are rounded off, less what that makes of an angle of 0. Its derivative by s is 1 / (q r).
 */
HOST_DEVICE static inline double pose_geodesic(const struct pose_sample *sample,
                                               const struct loss_pose_arguments *arguments,
                                               struct pose_motion *gradient) {
  const double least = POSE_ROUNDING * POSE_ROUNDING;
  const double unit = pose_unit(arguments->translation_range);
  double s = 0, square = 0, slope;
  for (int i = 0; i < 9; i++) {
    gradient->r[i] = sample->own.r[i] - sample->target.r[i];
    s += gradient->r[i] * gradient->r[i] / 8;
  }
  const double q = sqrt(s + least), r = sqrt((s < 1 ? 1 - s : 0) + least);
  for (int i = 0; i < 9; i++) gradient->r[i] /= 4 * q * r;
  for (int k = 0; k < 3; k++) {
    gradient->t[k] = (sample->own.t[k] - sample->target.t[k]) * unit;
    square += gradient->t[k] * gradient->t[k];
  }
  const double distance = pose_distance(square, &slope);
  for (int k = 0; k < 3; k++) gradient->t[k] *= arguments->weight * slope * unit;
  return 2 * (atan2(q, r) - atan2(POSE_ROUNDING, sqrt(1 + least))) + arguments->weight * distance;
}

HOST_DEVICE static inline double pose_corner(const struct pose_sample *sample,
                                             const struct loss_pose_arguments *arguments,
                                             struct pose_motion *gradient) {
  double sum = 0;
  for (int i = 0; i < 9; i++) gradient->r[i] = 0;
  for (int k = 0; k < 3; k++) gradient->t[k] = 0;
  for (int corner = 0; corner < 8; corner++) {
    double at[3], apart[3], slope;
    for (int k = 0; k < 3; k++)
      at[k] = corner >> k & 1 ? arguments->half_extent[k] : -arguments->half_extent[k];
    for (int k = 0; k < 3; k++)
      apart[k] = pose_dot(sample->own.r + 3 * k, at) - pose_dot(sample->target.r + 3 * k, at) +
                 sample->own.t[k] - sample->target.t[k];
    sum += pose_distance(pose_dot(apart, apart), &slope) / 8;
    for (int k = 0; k < 3; k++) {
      gradient->t[k] += apart[k] * slope / 8;
      for (int j = 0; j < 3; j++) gradient->r[3 * k + j] += apart[k] * slope / 8 * at[j];
    }
  }
  return sum;
}

/* --- from the motion back to the values --- */

HOST_DEVICE static inline void pose_euler_back(const struct pose_sample *sample, double degrees,
                                               const double gradient[9], double *slope) {
  const double *r = sample->own.r, unit = degrees * POSE_DEGREE;
  const double cz = cos(sample->value[2] * unit), sz = sin(sample->value[2] * unit);
  double by[3] = {0, 0, 0};
  for (int i = 0; i < 3; i++) {
    /* turning by rx mixes columns, by rz rows; by ry about the y axis that rz has turned */
    by[0] += gradient[3 * i + 1] * r[3 * i + 2] - gradient[3 * i + 2] * r[3 * i + 1];
    by[1] += (cz * gradient[i] + sz * gradient[3 + i]) * r[6 + i] -
             gradient[6 + i] * (cz * r[i] + sz * r[3 + i]);
    by[2] += gradient[3 + i] * r[i] - gradient[i] * r[3 + i];
  }
  for (int k = 0; k < 3; k++) slope[k] = by[k] * unit;
}

/* `gradient` less what it has along the unit vector `column`, by a length. */
HOST_DEVICE static inline void pose_across(const double gradient[3], const double column[3],
                                           double length, double out[3]) {
  const double along = pose_dot(gradient, column);
  for (int k = 0; k < 3; k++) out[k] = (gradient[k] - along * column[k]) / length;
}

HOST_DEVICE static inline void pose_basis_back(const struct pose_sample *sample,
                                               const double gradient[9], double *slope) {
  const struct pose_basis basis = pose_basis_make(sample->value);
  double by[3][3], more[3], u[3];
  for (int i = 0; i < 9; i++) by[i % 3][i / 3] = gradient[i];
  pose_cross(basis.column[1], by[2], more); /* the third column is a product of the others */
  for (int k = 0; k < 3; k++) by[0][k] += more[k];
  pose_cross(by[2], basis.column[0], more);
  for (int k = 0; k < 3; k++) by[1][k] += more[k];
  pose_across(by[1], basis.column[1], basis.u_length, u);
  const double along = pose_dot(u, basis.column[0]);
  for (int k = 0; k < 3; k++) {
    slope[3 + k] = u[k] - along * basis.column[0][k];
    by[0][k] -= along * basis.b[k] + basis.along * u[k];
  }
  pose_across(by[0], basis.column[0], basis.a_length, slope);
}

/* The loss of a sample; slope[count], if not NULL: its gradient by the prediction. */
HOST_DEVICE static inline double pose_loss_find(const struct loss_pose_arguments *arguments,
                                                const struct pose_sample *sample, double *slope) {
  struct pose_motion gradient;
  double unused[POSE_MATRIX], loss;
  if (!slope) slope = unused;
  if (arguments->kind == POSE_MSE && sample->count == POSE_EULER)
    return pose_mse_values(sample, arguments, slope);
  loss = arguments->kind == POSE_MSE        ? pose_mse_matrix(sample, arguments, &gradient)
         : arguments->kind == POSE_GEODESIC ? pose_geodesic(sample, arguments, &gradient)
                                            : pose_corner(sample, arguments, &gradient);
  if (sample->count == POSE_EULER)
    pose_euler_back(sample, arguments->rotation_range, gradient.r, slope);
  else
    pose_basis_back(sample, gradient.r, slope);
  for (int k = 0; k < 3; k++)
    slope[sample->count - 3 + k] = gradient.t[k] * arguments->translation_range;
  return loss;
}
