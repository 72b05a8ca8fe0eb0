/* Displacement fields between voxels of a grid and millimetres of a frame. A displacement is a
 * vector: the affine's matrix applies, its origin does not. */
#include <stdlib.h>
#include <string.h>
#include "nifti2_io.h"
#include "volume/volume.h"

static const struct {
  int intent;
  double sign[3]; /* from RAS */
} frames[] = {
    [DISPLACEMENT_LPS] = {NIFTI_INTENT_VECTOR, {-1, -1, 1}},
    [DISPLACEMENT_RAS] = {NIFTI_INTENT_DISPVECT, {1, 1, 1}},
};

/* Every vector of a planar field times a 3x3 matrix. from and to may be the same. */
static void transform(const double matrix[3][3], const float *from, float *to, size_t count) {
#pragma omp parallel for schedule(static)
  for (size_t n = 0; n < count; n++) {
    const double u[3] = {from[n], from[count + n], from[2 * count + n]};
    for (int a = 0; a < 3; a++)
      to[(size_t)a * count + n] =
          (float)(matrix[a][0] * u[0] + matrix[a][1] * u[1] + matrix[a][2] * u[2]);
  }
}

enum status volume_write_displacement(const char *path, const float *displacement,
                                      const struct grid *grid, enum displacement_frame frame) {
  struct volume volume;
  TRY(volume_create(&volume, grid, 3));
  double matrix[3][3];
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) matrix[a][b] = frames[frame].sign[a] * grid->affine.m[a][b];
  transform(matrix, displacement, volume.values, volume_count(&volume));
  const struct volume_format format = {
      .vector = true,
      .intent_code = frames[frame].intent,
      .intent_name = "displacement",
      .description = frame == DISPLACEMENT_LPS ? "displacement, mm, LPS" : "displacement, mm, RAS"};
  enum status status = volume_write(&volume, path, &format);
  volume_close(&volume);
  return status;
}

static enum status to_voxels(struct volume *volume, const char *path) {
  REQUIRE(volume->channels == 3, STATUS_FAILED,
          "%s: dim: expected 3 components (a displacement field), found %d", path,
          volume->channels);
  bool ras = volume->intent_code == frames[DISPLACEMENT_RAS].intent;
  const double *sign = frames[ras ? DISPLACEMENT_RAS : DISPLACEMENT_LPS].sign;
  struct affine inverse;
  TRY(affine_invert(&volume->affine, &inverse));
  double matrix[3][3];
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) matrix[a][b] = inverse.m[a][b] * sign[b];
  transform(matrix, volume->values, volume->values, volume_count(volume));
  return STATUS_OK;
}

enum status volume_read_displacement(const char *path, float **displacement, struct grid *grid) {
  *displacement = NULL;
  struct volume volume;
  TRY(volume_read(&volume, path, &(struct volume_policy){.allow_channels = true}));
  enum status status = to_voxels(&volume, path);
  if (!status) {
    *grid = volume_get_grid(&volume);
    *displacement = volume.values;
    volume.values = NULL;
  }
  volume_close(&volume);
  return status;
}
