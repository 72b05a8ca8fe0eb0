/* How far an estimated rigid motion is from the true one. Two kinds of numbers that must not be
 * mixed: errors along single axes, and those of the whole rotation or translation, which are about
 * twice as large. */
#pragma once
#include <stdbool.h>
#include "volume/rigid.h"

struct metrics_pose {
  double rotation[3];    /* differences of the Euler angles, degrees, 0 to 180 */
  double translation[3]; /* absolute differences along x, y, z, mm */
  double distance;       /* of the translations, Euclidean, mm */
  double geodesic;       /* angle between the rotations, degrees (rigid_between) */
  double corner;         /* mean distance of the field of view's 8 corners, mm */
};

/* half: half the sides of the field of view along the world's axes, mm, from the centre that both
 * poses turn about. */
struct metrics_pose metrics_pose_compare(const struct pose *estimate, const struct pose *truth,
                                         const double half[3]);

/* The mean distance (mm) between the places to which two poses about one centre move `count`
 * points, given from that centre in mm: the target registration error. NaN without points. */
double metrics_pose_distance(const struct pose *a, const struct pose *b, const double (*points)[3],
                             int count);

/* Thresholds that count as success: both of a translation and a rotation, or a corner's. */
enum metrics_pose_success {
  POSE_WITHIN_2,      /* 2 mm (Euclidean) and 2 degrees (geodesic) */
  POSE_WITHIN_5,      /* 5 mm and 5 degrees */
  POSE_WITHIN_10,     /* 10 mm and 10 degrees */
  POSE_CORNER_WITHIN, /* mean corner distance below 10 mm */
  POSE_SUCCESSES,
};
bool metrics_pose_succeeds(const struct metrics_pose *error, enum metrics_pose_success success);
