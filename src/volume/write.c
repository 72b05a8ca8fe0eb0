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

/* Numbers of files are kept as a text file would: signed zeros have no place in an affine. */
static void set_affine(nifti_2_header *fields, const struct volume *volume) {
  const struct affine *affine = &volume->affine;
  double *rows[3] = {fields->srow_x, fields->srow_y, fields->srow_z}, spacing[3];
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) rows[a][b] = affine->m[a][b] + 0.0;
  int code = volume->sform_code > 0   ? volume->sform_code
             : volume->qform_code > 0 ? volume->qform_code
                                      : NIFTI_XFORM_SCANNER_ANAT;
  fields->sform_code = code;
  affine_get_spacing(affine, spacing);
  for (int a = 0; a < 3; a++) fields->pixdim[a + 1] = spacing[a];
  fields->pixdim[0] = affine_determinant(affine) < 0 ? -1 : 1;
  if (!affine_is_orthogonal(affine)) return; /* a quaternion cannot hold shear: sform only */
  nifti_dmat44 matrix = {{{0}}};
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) matrix.m[a][b] = affine->m[a][b];
  matrix.m[3][3] = 1;
  nifti_dmat44_to_quatern(matrix, &fields->quatern_b, &fields->quatern_c, &fields->quatern_d,
                          &fields->qoffset_x, &fields->qoffset_y, &fields->qoffset_z, NULL, NULL,
                          NULL, &fields->pixdim[0]);
  fields->qform_code = code;
}

static void set_text(char *to, size_t bytes, const char *text) {
  if (text) memcpy(to, text, strnlen(text, bytes - 1));
}

static nifti_2_header make_fields(const struct volume *volume, const struct volume_format *format) {
  nifti_2_header fields = {.sizeof_hdr = HEADER2_BYTES,
                           .magic = {'n', '+', '2', 0, '\r', '\n', '\032', '\n'},
                           .datatype = (int16_t)sample_forms[format->type].code,
                           .bitpix = (int16_t)(8 * sample_forms[format->type].bytes),
                           .vox_offset = HEADER2_BYTES + EXTENSION_BYTES,
                           .scl_slope = 1,
                           .xyzt_units = NIFTI_UNITS_MM,
                           .intent_code = format->intent_code};
  set_dimensions(&fields, volume, format->vector);
  set_affine(&fields, volume);
  set_text(fields.descrip, sizeof fields.descrip, format->description);
  set_text(fields.intent_name, sizeof fields.intent_name, format->intent_name);
  return fields;
}

static void narrow_numbers(nifti_1_header *to, const nifti_2_header *from) {
  for (int i = 0; i < 8; i++) {
    to->dim[i] = (short)from->dim[i];
    to->pixdim[i] = (float)from->pixdim[i];
  }
  for (int i = 0; i < 4; i++) {
    to->srow_x[i] = (float)from->srow_x[i];
    to->srow_y[i] = (float)from->srow_y[i];
    to->srow_z[i] = (float)from->srow_z[i];
  }
  to->quatern_b = (float)from->quatern_b;
  to->quatern_c = (float)from->quatern_c;
  to->quatern_d = (float)from->quatern_d;
  to->qoffset_x = (float)from->qoffset_x;
  to->qoffset_y = (float)from->qoffset_y;
  to->qoffset_z = (float)from->qoffset_z;
}

static nifti_1_header narrow(const nifti_2_header *from) {
  nifti_1_header to = {.sizeof_hdr = HEADER1_BYTES,
                       .regular = 'r',
                       .intent_code = (short)from->intent_code,
                       .datatype = from->datatype,
                       .bitpix = from->bitpix,
                       .vox_offset = HEADER1_BYTES + EXTENSION_BYTES,
                       .scl_slope = (float)from->scl_slope,
                       .xyzt_units = (char)from->xyzt_units,
                       .qform_code = (short)from->qform_code,
                       .sform_code = (short)from->sform_code,
                       .magic = "n+1"};
  narrow_numbers(&to, from);
  memcpy(to.descrip, from->descrip, sizeof to.descrip);
  memcpy(to.intent_name, from->intent_name, sizeof to.intent_name);
  return to;
}

static enum status write_header(struct sink *sink, const struct volume *volume,
                                const struct volume_format *format) {
  nifti_2_header fields = make_fields(volume, format);
  static const char no_extensions[EXTENSION_BYTES] = {0};
  bool small = volume->channels <= NIFTI1_EXTENT;
  for (int a = 0; a < 3; a++) small = small && volume->extent[a] <= NIFTI1_EXTENT;
  if (small) {
    nifti_1_header older = narrow(&fields);
    TRY(sink_write(sink, &older, sizeof older));
  } else {
    TRY(sink_write(sink, &fields, sizeof fields));
  }
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

static enum status check_request(const struct volume *volume, const char *path,
                                 const struct volume_format *format) {
  REQUIRE(names_nifti(path), STATUS_USAGE, "%s: expected a name that ends in .nii or .nii.gz",
          path);
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
