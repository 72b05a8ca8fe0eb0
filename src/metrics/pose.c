/* Errors of rigid motions. */
#include "metrics/pose.h"
#include <math.h>

enum { CORNERS = 8 };

static double turn_between(double a, double b) {
  double difference = fmod(fabs(a - b), 360);
  return difference > 180 ? 360 - difference : difference;
}

static double length(const double vector[3]) {
  return sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]);
}

static double distance_of(const double *a, const double *b) {
  const double difference[3] = {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
  return length(difference);
}

double metrics_pose_distance(const struct pose *a, const struct pose *b, const double (*points)[3],
                             int count) {
  static const double origin[3];
  const struct affine motion_a = rigid_affine(a, origin), motion_b = rigid_affine(b, origin);
  double sum = 0;
  for (int i = 0; i < count; i++) {
    double moved_a[3], moved_b[3];
    affine_apply(&motion_a, points[i], moved_a);
    affine_apply(&motion_b, points[i], moved_b);
    sum += distance_of(moved_a, moved_b);
  }
  return count > 0 ? sum / count : NAN;
}

static void find_corners(const double half[3], double corners[CORNERS][3]) {
  for (int i = 0; i < CORNERS; i++)
    for (int axis = 0; axis < 3; axis++)
      corners[i][axis] = i >> axis & 1 ? half[axis] : -half[axis];
}

struct metrics_pose metrics_pose_compare(const struct pose *estimate, const struct pose *truth,
                                         const double half[3]) {
  struct metrics_pose error;
  double corners[CORNERS][3], estimated[9], true_matrix[9];
  for (int axis = 0; axis < 3; axis++) {
    error.rotation[axis] = turn_between(estimate->rotation[axis], truth->rotation[axis]);
    error.translation[axis] = fabs(estimate->translation[axis] - truth->translation[axis]);
  }
  error.distance = length(error.translation);
  rigid_matrix(estimate, estimated);
  rigid_matrix(truth, true_matrix);
  error.geodesic = rigid_between(estimated, true_matrix);
  find_corners(half, corners);
  error.corner = metrics_pose_distance(estimate, truth, (const double(*)[3])corners, CORNERS);
  return error;
}

bool metrics_pose_succeeds(const struct metrics_pose *error, enum metrics_pose_success success) {
  static const double limit[] = {
      [POSE_WITHIN_2] = 2, [POSE_WITHIN_5] = 5, [POSE_WITHIN_10] = 10, [POSE_CORNER_WITHIN] = 10};
  if (success == POSE_CORNER_WITHIN) return error->corner < limit[success];
  return error->distance <= limit[success] && error->geodesic <= limit[success];
}
