/* Rigid motions in millimetres, and the files that hold them.
 *
 * World frame: RAS+ mm. A pose moves the anatomy by
 *   T(x) = R (x - c) + c + t,   R = Rz(rz) Ry(ry) Rx(rx) on column vectors
 * about a centre c, mostly the middle of the field of view (grid_get_centre). The moved image is
 * pulled: moved(x) = image(T^-1(x)). In ITK this is an Euler3DTransform with SetComputeZYX(true).
 */
#pragma once
#include "base/status.h"
#include "volume/geometry.h"

struct pose {
  double rotation[3];    /* rx, ry, rz: degrees about the world's x, y and z axis, in this order */
  double translation[3]; /* mm */
};

#define RIGID_CONVENTION                                                                         \
  "T(x) = R (x - c) + c + t, R = Rz(rz) Ry(ry) Rx(rx) on column vectors; degrees and mm, world " \
  "RAS+; T moves the anatomy: moved(x) = image(T^-1(x))"

/* R of a pose, row after row. */
void rigid_matrix(const struct pose *pose, double matrix[9]);

/* The pose of a rotation matrix (row after row) and a translation (mm): ry in [-90, 90], rx and rz
 * in (-180, 180]; at |ry| = 90, where rx and rz turn about the same axis, rx is 0. */
void rigid_pose(const double matrix[9], const double translation[3], struct pose *pose);

/* T^-1 as a pose about the same centre: R^T, -R^T t. */
struct pose rigid_inverse(const struct pose *pose);

/* T as a matrix: RAS+ mm -> RAS+ mm. centre: mm. */
struct affine rigid_affine(const struct pose *pose, const double centre[3]);

/* The geodesic angle between two rotations in degrees, 0 to 180: 2 asin(|Ra - Rb|_F / (2 sqrt 2)),
 * which is as exact near 0 as elsewhere (acos of the trace is not). */
double rigid_between(const double a[9], const double b[9]);

/* Where the voxels of a moved image come from: voxel of `output` -> voxel of `source`,
 * source^-1 T^-1 output, rows (matrix | shift); computed in double. Fails when `source` is
 * singular.
 */
CHECKED enum status rigid_source_map(const struct pose *pose, const double centre[3],
                                     const struct affine *source, const struct affine *output,
                                     float map[3][4]);

enum rigid_direction {
  RIGID_FORWARD, /* T: moves points with the anatomy */
  RIGID_INVERSE, /* T^-1: what resamplers want (ITK's resample filter, 3D Slicer's "from parent") */
};

/* Writes an ITK transform file ("#Insight Transform File V1.0", Euler3DTransform with its ZYX flag;
 * LPS mm, radians) that SimpleITK, ANTs and 3D Slicer read. Replaces `path` whole. */
CHECKED enum status rigid_write_itk(const char *path, const struct pose *pose,
                                    const double centre[3], enum rigid_direction direction);

/* Writes the 4x4 matrix of T or T^-1 (RAS+ mm) as four lines of text. Replaces `path` whole. */
CHECKED enum status rigid_write_matrix(const char *path, const struct pose *pose,
                                       const double centre[3], enum rigid_direction direction);
