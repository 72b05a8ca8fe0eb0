/* Writing NIfTI: a header made field by field, and voxels turned from k fastest to i fastest. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "volume/encode.h"
#include "volume/header.h"
#include "volume/sink.h"

enum { NIFTI1_EXTENT = 32767, DEFAULT_LEVEL = 6, EXTENSION_BYTES = 4 };

static void set_dimensions(nifti_2_header *fields, const struct volume *volume, bool vector) {
  for (int d = 0; d < 8; d++) fields->dim[d] = 1;
  for (int a = 0; a < 3; a++) fields->dim[a + 1] = volume->extent[a];
  fields->dim[0] = vector ? 5 : volume->channels > 1 ? 4 : 3;
  fields->dim[vector ? 5 : 4] = volume->channels;
  for (int d = 4; d < 8; d++) fields->pixdim[d] = 1;
}

static void set_affine(nifti_2_header *fields, const struct volume *volume) {
  const struct affine *affine = &volume->affine;
  double spacing[3];
  header_set_sform(fields, affine);
  int code = volume->sform_code > 0   ? volume->sform_code
             : volume->qform_code > 0 ? volume->qform_code
                                      : NIFTI_XFORM_SCANNER_ANAT;
  fields->sform_code = code;
  affine_get_spacing(affine, spacing);
  for (int a = 0; a < 3; a++) fields->pixdim[a + 1] = spacing[a];
  fields->pixdim[0] = affine_determinant(affine) < 0 ? -1 : 1;
  if (!affine_is_orthogonal(affine)) return; /* a quaternion cannot hold shear: sform only */
  header_set_qform(fields, affine);
  fields->qform_code = code;
}

static void set_text(char *to, size_t bytes, const char *text) {
  if (text) memcpy(to, text, strnlen(text, bytes - 1));
}

static nifti_2_header make_fields(const struct volume *volume, const struct volume_format *format) {
  nifti_2_header fields = {.datatype = (int16_t)sample_forms[format->type].code,
                           .bitpix = (int16_t)(8 * sample_forms[format->type].bytes),
                           .scl_slope = 1,
                           .xyzt_units = NIFTI_UNITS_MM,
                           .intent_code = format->intent_code};
  set_dimensions(&fields, volume, format->vector);
  set_affine(&fields, volume);
  set_text(fields.descrip, sizeof fields.descrip, format->description);
  set_text(fields.intent_name, sizeof fields.intent_name, format->intent_name);
  return fields;
}

static enum status write_header(struct sink *sink, const struct volume *volume,
                                const struct volume_format *format) {
  nifti_2_header fields = make_fields(volume, format);
  static const char no_extensions[EXTENSION_BYTES] = {0};
  bool small = volume->channels <= NIFTI1_EXTENT;
  for (int a = 0; a < 3; a++) small = small && volume->extent[a] <= NIFTI1_EXTENT;
  TRY(header_write(&fields, small ? 1 : 2, EXTENSION_BYTES, sink));
  return sink_write(sink, no_extensions, sizeof no_extensions);
}

static enum status check_range(const struct volume *volume, const char *path,
                               const struct sample_form *form) {
  if (form->low == form->high) return STATUS_OK;
  size_t count = volume_count(volume) * (size_t)volume->channels;
  for (size_t n = 0; n < count; n++) {
    double value = rint(volume->values[n]);
    REQUIRE(value >= form->low && value <= form->high, STATUS_FAILED,
            "%s: voxels: expected values from %.0f to %.0f to write as %s, found %g", path,
            form->low, form->high, form->name, volume->values[n]);
  }
  return STATUS_OK;
}

/* One slice k of one channel: [i][j] with stride -> [j][i] without. */
static void gather_slice(const struct volume *volume, const float *values, float *slice) {
  const int *extent = volume->extent;
#pragma omp parallel for schedule(static)
  for (int j = 0; j < extent[1]; j++) {
    const float *from = values + (ptrdiff_t)j * extent[2];
    float *to = slice + (ptrdiff_t)j * extent[0];
    for (int i = 0; i < extent[0]; i++) to[i] = from[(ptrdiff_t)i * extent[1] * extent[2]];
  }
}

static enum status write_voxels(struct sink *sink, const struct volume *volume,
                                const struct sample_form *form) {
  size_t samples = (size_t)volume->extent[0] * (size_t)volume->extent[1];
  size_t count = volume_count(volume);
  float *slice = malloc(samples * (sizeof(float) + (size_t)form->bytes));
  REQUIRE(slice, STATUS_FAILED, "%s: out of memory", sink->writer.path);
  void *raw = slice + samples;
  enum status status = STATUS_OK;
  for (int c = 0; c < volume->channels && !status; c++)
    for (int k = 0; k < volume->extent[2] && !status; k++) {
      gather_slice(volume, volume->values + (size_t)c * count + k, slice);
      form->encode(slice, raw, samples);
      status = sink_write(sink, raw, samples * (size_t)form->bytes);
    }
  free(slice);
  return status;
}

static bool names_nifti(const char *path) {
  size_t length = strlen(path);
  if (length >= 3 && strcasecmp(path + length - 3, ".gz") == 0) length -= 3;
  return length > 4 && strncasecmp(path + length - 4, ".nii", 4) == 0;
}

enum status volume_check_name(const char *path) {
  REQUIRE(names_nifti(path), STATUS_USAGE, "%s: expected a name that ends in .nii or .nii.gz",
          path);
  return STATUS_OK;
}

static enum status check_request(const struct volume *volume, const char *path,
                                 const struct volume_format *format) {
  TRY(volume_check_name(path));
  REQUIRE((int)format->type >= 0 && (int)format->type < sample_form_count, STATUS_USAGE,
          "%s: voxel type: expected 0 to %d, found %d", path, sample_form_count - 1,
          (int)format->type);
  REQUIRE(format->compression >= 0 && format->compression <= 9, STATUS_USAGE,
          "%s: compression: expected 0 to 9, found %d", path, format->compression);
  struct affine unused;
  enum status status = affine_invert(&volume->affine, &unused);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  return check_range(volume, path, &sample_forms[format->type]);
}

enum status volume_write(const struct volume *volume, const char *path,
                         const struct volume_format *format) {
  TRY(check_request(volume, path, format));
  struct sink sink;
  TRY(sink_open(&sink, path, format->compression ? format->compression : DEFAULT_LEVEL));
  enum status status = write_header(&sink, volume, format);
  if (!status) status = write_voxels(&sink, volume, &sample_forms[format->type]);
  if (!status) status = sink_commit(&sink);
  sink_close(&sink);
  if (status) return status_pass(status, __func__, __FILE__, __LINE__);
  return STATUS_OK;
}
