/* Where the voxels are: sform, qform or neither, in nibabel's order, with every disagreement said.
 */
#include <math.h>
#include <string.h>
#include "volume/header.h"

struct placement {
  struct affine sform, qform;
  bool has_sform, has_qform; /* its code is set and its numbers can be used */
  double spacing[3];         /* pixdim 1..3, made positive */
};

/* pixdim 1..3. A bad one is 1 for an axis of one slice and fatal where no sform says better. */
static enum status judge_spacing(const struct header *header, bool needed, double spacing[3],
                                 struct volume *volume) {
  for (int a = 0; a < 3; a++) {
    double found = header->fields.pixdim[a + 1];
    spacing[a] = fabs(found);
    if (isfinite(found) && found > 0) continue;
    bool single = header->extent[a] == 1 && found == 0;
    REQUIRE(single || !needed || (isfinite(found) && found != 0), STATUS_FAILED,
            "%s: pixdim[%d]: expected a positive voxel size, found %g", header->path, a + 1, found);
    if (!isfinite(found) || found == 0) spacing[a] = 1;
    if (!single)
      volume_warn(volume, "pixdim[%d]: expected a positive voxel size, found %g", a + 1, found);
  }
  return STATUS_OK;
}

static struct affine read_sform(const nifti_2_header *fields) {
  struct affine affine;
  memcpy(affine.m[0], fields->srow_x, sizeof affine.m[0]);
  memcpy(affine.m[1], fields->srow_y, sizeof affine.m[1]);
  memcpy(affine.m[2], fields->srow_z, sizeof affine.m[2]);
  return affine;
}

static struct affine read_qform(const nifti_2_header *fields, const double spacing[3],
                                struct volume *volume) {
  double qfac = fields->pixdim[0];
  if (qfac != 1 && qfac != -1 && qfac != 0)
    volume_warn(volume, "pixdim[0] (qfac): expected 1 or -1, found %g", qfac);
  nifti_dmat44 matrix = nifti_quatern_to_dmat44(
      fields->quatern_b, fields->quatern_c, fields->quatern_d, fields->qoffset_x, fields->qoffset_y,
      fields->qoffset_z, spacing[0], spacing[1], spacing[2], qfac < 0 ? -1 : 1);
  struct affine affine;
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) affine.m[a][b] = matrix.m[a][b];
  return affine;
}

static bool is_usable(const struct affine *affine) {
  struct affine unused;
  return affine_invert(affine, &unused) == STATUS_OK;
}

static void compare_forms(const struct placement *placement, struct volume *volume) {
  double spacing[3];
  affine_get_spacing(&placement->sform, spacing);
  double least = fmin(spacing[0], fmin(spacing[1], spacing[2])), most = 0;
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++)
      most = fmax(most, fabs(placement->sform.m[a][b] - placement->qform.m[a][b]));
  if (most > 1e-3 * least)
    volume_warn(volume,
                "sform and qform: expected the same affine, found a difference of %g; "
                "the sform is used",
                most);
}

static struct affine guess(const struct header *header, const double spacing[3], bool las) {
  double steps[3] = {las ? -spacing[0] : spacing[0], spacing[1], spacing[2]}, origin[3] = {0};
  for (int a = 0; las && a < 3; a++) origin[a] = -steps[a] * (header->extent[a] - 1) / 2;
  return affine_scaling(steps, origin);
}

static enum status choose(const struct header *header, const struct volume_policy *policy,
                          const struct placement *placement, struct volume *volume) {
  if (placement->has_sform) {
    volume->affine = placement->sform;
    if (placement->has_qform) compare_forms(placement, volume);
    return STATUS_OK;
  }
  if (placement->has_qform) {
    volume->affine = placement->qform;
    return STATUS_OK;
  }
  bool las = policy->unknown_orientation == UNKNOWN_LAS;
  REQUIRE(policy->unknown_orientation != UNKNOWN_ERROR, STATUS_FAILED,
          "%s: sform_code and qform_code: expected at least one usable orientation, found codes "
          "%d and %d (say how to take such files: ras or las)",
          header->path, header->fields.sform_code, header->fields.qform_code);
  volume->affine = guess(header, placement->spacing, las);
  volume_warn(volume, "sform_code and qform_code: no usable orientation; taken as %s",
              las ? "LAS, centred" : "RAS, voxel 0 at the origin");
  return STATUS_OK;
}

static const struct {
  double millimetres;
  const char *name;
} units[8] = {
    [NIFTI_UNITS_METER] = {1000, "metres"},
    [NIFTI_UNITS_MM] = {1, "millimetres"},
    [NIFTI_UNITS_MICRON] = {1e-3, "micrometres"},
};

static void convert_units(const struct header *header, struct volume *volume) {
  int code = header->fields.xyzt_units & 7;
  double scale = units[code].millimetres;
  if (code && !scale) volume_warn(volume, "xyzt_units: unknown length unit %d, taken as mm", code);
  if (scale && scale != 1) {
    volume_warn(volume, "xyzt_units: lengths in %s, converted to mm", units[code].name);
    for (int a = 0; a < 3; a++)
      for (int b = 0; b < 4; b++) volume->affine.m[a][b] *= scale;
  }
}

/* pixdim against the affine, and the size of what is shown against that of patients. */
static void judge_result(const struct header *header, const struct placement *placement,
                         struct volume *volume) {
  double spacing[3], most = 0;
  affine_get_spacing(&volume->affine, spacing);
  int code = header->fields.xyzt_units & 7;
  double scale = units[code].millimetres ? units[code].millimetres : 1;
  for (int a = 0; a < 3; a++) {
    double stated = placement->spacing[a] * scale;
    most = fmax(most, spacing[a] * volume->extent[a]);
    if (fabs(stated - spacing[a]) > 1e-3 * spacing[a] && volume->extent[a] > 1)
      volume_warn(volume, "pixdim[%d]: expected %g mm as the affine has it, found %g", a + 1,
                  spacing[a], stated);
  }
  if (most > 3000 || most < 5)
    volume_warn(volume, "the longest side of the field of view is %g mm: are the units wrong?",
                most);
}

enum status header_place(const struct header *header, const struct volume_policy *policy,
                         struct volume *volume) {
  struct placement placement = {.sform = read_sform(&header->fields)};
  volume->sform_code = header->fields.sform_code;
  volume->qform_code = header->fields.qform_code;
  volume->intent_code = header->fields.intent_code;
  placement.has_sform = volume->sform_code > 0 && is_usable(&placement.sform);
  TRY(judge_spacing(header, !placement.has_sform, placement.spacing, volume));
  placement.qform = read_qform(&header->fields, placement.spacing, volume);
  placement.has_qform = volume->qform_code > 0 && is_usable(&placement.qform);
  status_clear();
  if (volume->sform_code > 0 && !placement.has_sform)
    volume_warn(volume, "sform: expected three independent finite axes; it is not used");
  if (volume->qform_code > 0 && !placement.has_qform)
    volume_warn(volume, "qform: expected finite numbers; it is not used");
  TRY(choose(header, policy, &placement, volume));
  convert_units(header, volume);
  judge_result(header, &placement, volume);
  struct affine unused;
  enum status status = affine_invert(&volume->affine, &unused);
  if (status) FAIL(status, "%s: affine: expected finite lengths, found none", header->path);
  return STATUS_OK;
}
