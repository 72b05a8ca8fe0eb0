/* Rigid motions and what networks predict of them. A motion moves a point x of the world (RAS mm)
 * to T(x) = R (x - c) + c + t, c the middle of the field of view; R = Rz(rz) Ry(ry) Rx(rx) turns
 * about x first, as ITK's Euler3DTransform with ComputeZYX. Angles are in degrees, t in mm.
 * Matrices are row by row. Plain C for the host, also C++, and then for the device, too. */
#pragma once
#include <math.h>
#include "kernels/common/shared.h"

enum { POSE_TARGET = 6, POSE_EULER = 6, POSE_MATRIX = 9 };

struct pose_motion {
  double r[9], t[3];
};

#define POSE_DEGREE 0.017453292519943295

HOST_DEVICE static inline double pose_dot(const double a[3], const double b[3]) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

HOST_DEVICE static inline void pose_cross(const double a[3], const double b[3], double out[3]) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

/* Rz(angle[2]) Ry(angle[1]) Rx(angle[0]); angles in radians. */
HOST_DEVICE static inline void pose_rotation(const double angle[3], double r[9]) {
  const double cx = cos(angle[0]), sx = sin(angle[0]), cy = cos(angle[1]), sy = sin(angle[1]);
  const double cz = cos(angle[2]), sz = sin(angle[2]);
  r[0] = cz * cy;
  r[1] = cz * sy * sx - sz * cx;
  r[2] = cz * sy * cx + sz * sx;
  r[3] = sz * cy;
  r[4] = sz * sy * sx + cz * cx;
  r[5] = sz * sy * cx - cz * sx;
  r[6] = -sy;
  r[7] = cy * sx;
  r[8] = cy * cx;
}

/* rx ry rz in degrees, tx ty tz in mm: as targets are given. */
HOST_DEVICE static inline struct pose_motion pose_of_euler(const double value[6]) {
  struct pose_motion pose;
  double angle[3];
  for (int k = 0; k < 3; k++) {
    angle[k] = value[k] * POSE_DEGREE;
    pose.t[k] = value[3 + k];
  }
  pose_rotation(angle, pose.r);
  return pose;
}

/* A vector of almost no length has no direction: its length counts as this much. */
#define POSE_SHORTEST 1e-9

HOST_DEVICE static inline double pose_length(const double a[3]) {
  double length = sqrt(pose_dot(a, a));
  return length > POSE_SHORTEST ? length : POSE_SHORTEST;
}

/* Two vectors made orthonormal, and their product: the columns of a rotation (Gram and Schmidt). */
struct pose_basis {
  double a[3], b[3], along, a_length, u_length; /* u: b without what it has along a */
  double column[3][3];
};

HOST_DEVICE static inline struct pose_basis pose_basis_make(const double value[6]) {
  struct pose_basis basis;
  double u[3];
  for (int k = 0; k < 3; k++) {
    basis.a[k] = value[k] + (k == 0);
    basis.b[k] = value[3 + k] + (k == 1);
  }
  basis.a_length = pose_length(basis.a);
  for (int k = 0; k < 3; k++) basis.column[0][k] = basis.a[k] / basis.a_length;
  basis.along = pose_dot(basis.column[0], basis.b);
  for (int k = 0; k < 3; k++) u[k] = basis.b[k] - basis.along * basis.column[0][k];
  basis.u_length = pose_length(u);
  for (int k = 0; k < 3; k++) basis.column[1][k] = u[k] / basis.u_length;
  pose_cross(basis.column[0], basis.column[1], basis.column[2]);
  return basis;
}

/* What a network predicts, as a motion. 6 values: rx ry rz in units of rotation_range degrees, tx
 * ty tz in units of translation_range mm. 9 values: the first two columns of R less those of the
 * identity (so that 0 predicts no motion), made orthonormal (Zhou et al., "On the continuity of
 * rotation representations in neural networks", 2019), then tx ty tz as above. */
HOST_DEVICE static inline struct pose_motion pose_decode(const double *value, int count,
                                                         double rotation_range,
                                                         double translation_range) {
  struct pose_motion pose;
  if (count == POSE_EULER) {
    double angle[3];
    for (int k = 0; k < 3; k++) angle[k] = value[k] * rotation_range * POSE_DEGREE;
    pose_rotation(angle, pose.r);
  } else {
    const struct pose_basis basis = pose_basis_make(value);
    for (int i = 0; i < 9; i++) pose.r[i] = basis.column[i % 3][i / 3];
  }
  for (int k = 0; k < 3; k++) pose.t[k] = value[count - 3 + k] * translation_range;
  return pose;
}
