/* From fields to bytes: both versions of the header, and the places of voxels in it. */
#include <string.h>
#include "volume/header.h"

void header_set_sform(nifti_2_header *fields, const struct affine *affine) {
  double *rows[3] = {fields->srow_x, fields->srow_y, fields->srow_z};
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) rows[a][b] = affine->m[a][b] + 0.0;
}

void header_set_qform(nifti_2_header *fields, const struct affine *affine) {
  nifti_dmat44 matrix = {{{0}}};
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 4; b++) matrix.m[a][b] = affine->m[a][b];
  matrix.m[3][3] = 1;
  nifti_dmat44_to_quatern(matrix, &fields->quatern_b, &fields->quatern_c, &fields->quatern_d,
                          &fields->qoffset_x, &fields->qoffset_y, &fields->qoffset_z, NULL, NULL,
                          NULL, &fields->pixdim[0]);
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
                       .dim_info = from->dim_info,
                       .intent_code = (short)from->intent_code,
                       .intent_p1 = (float)from->intent_p1,
                       .intent_p2 = (float)from->intent_p2,
                       .intent_p3 = (float)from->intent_p3,
                       .datatype = from->datatype,
                       .bitpix = from->bitpix,
                       .vox_offset = (float)from->vox_offset,
                       .scl_slope = (float)from->scl_slope,
                       .scl_inter = (float)from->scl_inter,
                       .cal_max = (float)from->cal_max,
                       .cal_min = (float)from->cal_min,
                       .slice_duration = (float)from->slice_duration,
                       .toffset = (float)from->toffset,
                       .slice_start = (short)from->slice_start,
                       .slice_end = (short)from->slice_end,
                       .slice_code = (char)from->slice_code,
                       .xyzt_units = (char)from->xyzt_units,
                       .qform_code = (short)from->qform_code,
                       .sform_code = (short)from->sform_code,
                       .magic = "n+1"};
  narrow_numbers(&to, from);
  memcpy(to.descrip, from->descrip, sizeof to.descrip);
  memcpy(to.aux_file, from->aux_file, sizeof to.aux_file);
  memcpy(to.intent_name, from->intent_name, sizeof to.intent_name);
  return to;
}

enum status header_write(nifti_2_header *fields, int version, int64_t extension_bytes,
                         struct sink *sink) {
  static const char magic[8] = {'n', '+', '2', 0, '\r', '\n', '\032', '\n'};
  fields->sizeof_hdr = version == 1 ? HEADER1_BYTES : HEADER2_BYTES;
  fields->vox_offset = fields->sizeof_hdr + extension_bytes;
  memcpy(fields->magic, magic, sizeof magic);
  if (version == 2) return sink_write(sink, fields, sizeof *fields);
  nifti_1_header older = narrow(fields);
  return sink_write(sink, &older, sizeof older);
}
