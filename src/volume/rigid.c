/* Rotations, Euler angles, and transform files. */
#include "volume/rigid.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static const double degree = M_PI / 180;

void rigid_matrix(const struct pose *pose, double matrix[9]) {
  double s[3], c[3];
  for (int a = 0; a < 3; a++) {
    s[a] = sin(pose->rotation[a] * degree);
    c[a] = cos(pose->rotation[a] * degree);
  }
  const double result[9] = {
      c[2] * c[1],
      c[2] * s[1] * s[0] - s[2] * c[0],
      c[2] * s[1] * c[0] + s[2] * s[0],
      s[2] * c[1],
      s[2] * s[1] * s[0] + c[2] * c[0],
      s[2] * s[1] * c[0] - c[2] * s[0],
      -s[1],
      c[1] * s[0],
      c[1] * c[0],
  };
  memcpy(matrix, result, sizeof result);
}

/* rz is what is left when rx is undone, so that the angles give the matrix back near 90 degrees,
 * too, where neither of the two is known by itself. */
void rigid_pose(const double matrix[9], const double translation[3], struct pose *pose) {
  const double *r = matrix;
  double across = hypot(r[7], r[8]), rx = across > 1e-12 ? atan2(r[7], r[8]) : 0;
  double s = sin(rx), c = cos(rx);
  pose->rotation[0] = rx / degree;
  pose->rotation[1] = atan2(-r[6], across) / degree;
  pose->rotation[2] = atan2(r[2] * s - r[1] * c, r[4] * c - r[5] * s) / degree;
  memcpy(pose->translation, translation, sizeof pose->translation);
}

struct pose rigid_inverse(const struct pose *pose) {
  double matrix[9], turned[9], translation[3];
  rigid_matrix(pose, matrix);
  for (int a = 0; a < 3; a++) {
    translation[a] = 0;
    for (int b = 0; b < 3; b++) {
      turned[3 * a + b] = matrix[3 * b + a];
      translation[a] -= matrix[3 * b + a] * pose->translation[b];
    }
  }
  struct pose inverse;
  rigid_pose(turned, translation, &inverse);
  return inverse;
}

struct affine rigid_affine(const struct pose *pose, const double centre[3]) {
  double matrix[9];
  struct affine affine;
  rigid_matrix(pose, matrix);
  for (int a = 0; a < 3; a++) {
    affine.m[a][3] = centre[a] + pose->translation[a];
    for (int b = 0; b < 3; b++) {
      affine.m[a][b] = matrix[3 * a + b];
      affine.m[a][3] -= matrix[3 * a + b] * centre[b];
    }
  }
  return affine;
}

double rigid_between(const double a[9], const double b[9]) {
  double sum = 0;
  for (int i = 0; i < 9; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return 2 * asin(fmin(1, sqrt(sum / 8))) / degree;
}

enum status rigid_source_map(const struct pose *pose, const double centre[3],
                             const struct affine *source, const struct affine *output,
                             float map[3][4]) {
  struct affine motion = rigid_affine(pose, centre), back, locate;
  TRY(affine_invert(&motion, &back));
  TRY(affine_invert(source, &locate));
  struct affine world = affine_compose(&back, output), voxels = affine_compose(&locate, &world);
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) map[a][b] = (float)voxels.m[a][b];
  return STATUS_OK;
}

static struct pose directed(const struct pose *pose, enum rigid_direction direction) {
  return direction == RIGID_INVERSE ? rigid_inverse(pose) : *pose;
}

/* Takes the text over. */
static enum status write_text(const char *path, char *text) {
  enum status status =
      text ? file_replace(path, text, strlen(text))
           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  free(text);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  return STATUS_OK;
}

/* RAS to LPS, S = diag(-1, -1, 1): S R(rx, ry, rz) S = R(-rx, -ry, rz). Adding 0 turns -0 to 0. */
enum status rigid_write_itk(const char *path, const struct pose *pose, const double centre[3],
                            enum rigid_direction direction) {
  static const double sign[3] = {-1, -1, 1};
  struct pose motion = directed(pose, direction);
  double r[3], t[3], c[3];
  for (int a = 0; a < 3; a++) {
    r[a] = sign[a] * motion.rotation[a] * degree + 0.0;
    t[a] = sign[a] * motion.translation[a] + 0.0;
    c[a] = sign[a] * centre[a] + 0.0;
  }
  return write_text(path, file_format("#Insight Transform File V1.0\n"
                                      "#Transform 0\n"
                                      "Transform: Euler3DTransform_double_3_3\n"
                                      "Parameters: %.17g %.17g %.17g %.17g %.17g %.17g\n"
                                      "FixedParameters: %.17g %.17g %.17g 1\n",
                                      r[0], r[1], r[2], t[0], t[1], t[2], c[0], c[1], c[2]));
}

enum status rigid_write_matrix(const char *path, const struct pose *pose, const double centre[3],
                               enum rigid_direction direction) {
  struct pose motion = directed(pose, direction);
  struct affine affine = rigid_affine(&motion, centre);
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) affine.m[a][b] += 0.0;
  const double(*m)[4] = (const double(*)[4])affine.m;
  return write_text(path, file_format("%.17g %.17g %.17g %.17g\n"
                                      "%.17g %.17g %.17g %.17g\n"
                                      "%.17g %.17g %.17g %.17g\n"
                                      "0 0 0 1\n",
                                      m[0][0], m[0][1], m[0][2], m[0][3], m[1][0], m[1][1], m[1][2],
                                      m[1][3], m[2][0], m[2][1], m[2][2], m[2][3]));
}
