/* Turning the axes of a file without touching its numbers: voxels are moved as bytes, and of the
 * header only what speaks of axes changes. */
#include <stdlib.h>
#include <string.h>
#include "volume/header.h"

enum { PIECE_BYTES = 1 << 16, LEAST_EXTENSION = 4 };

struct turning {
  struct header header;
  struct grid grid;      /* of the result */
  int from[3];           /* the old axis that becomes axis a */
  bool flip[3];          /* whether it is reversed */
  unsigned char *voxels; /* all of them, as in the file: [channel][k][j][i] */
  unsigned char *slice;  /* one of the result: [j][i] */
};

/* Voxel of the result -> voxel of the file. */
static struct affine back_to_file(const struct turning *turning) {
  struct affine affine = {0};
  for (int a = 0; a < 3; a++) {
    int old = turning->from[a];
    affine.m[old][a] = turning->flip[a] ? -1 : 1;
    affine.m[old][3] = turning->flip[a] ? turning->header.extent[old] - 1 : 0;
  }
  return affine;
}

static void turn_sform(const struct turning *turning, nifti_2_header *fields) {
  struct affine sform, back = back_to_file(turning);
  memcpy(sform.m[0], fields->srow_x, sizeof sform.m[0]);
  memcpy(sform.m[1], fields->srow_y, sizeof sform.m[1]);
  memcpy(sform.m[2], fields->srow_z, sizeof sform.m[2]);
  sform = affine_compose(&sform, &back);
  header_set_sform(fields, &sform);
}

static void turn_qform(const struct turning *turning, nifti_2_header *fields) {
  const nifti_2_header *old = &turning->header.fields;
  nifti_dmat44 matrix = nifti_quatern_to_dmat44(
      old->quatern_b, old->quatern_c, old->quatern_d, old->qoffset_x, old->qoffset_y,
      old->qoffset_z, old->pixdim[1], old->pixdim[2], old->pixdim[3], old->pixdim[0] < 0 ? -1 : 1);
  struct affine qform, back = back_to_file(turning);
  for (int a = 0; a < 3; a++) memcpy(qform.m[a], matrix.m[a], sizeof qform.m[a]);
  qform = affine_compose(&qform, &back);
  header_set_qform(fields, &qform);
}

/* A file that does not say where its voxels are says afterwards what the policy took it for. */
static void state_place(const struct turning *turning, nifti_2_header *fields) {
  double spacing[3];
  affine_get_spacing(&turning->grid.affine, spacing);
  for (int a = 0; a < 3; a++) fields->pixdim[a + 1] = spacing[a];
  fields->xyzt_units = (fields->xyzt_units & ~7) | NIFTI_UNITS_MM;
  fields->sform_code = NIFTI_XFORM_SCANNER_ANAT;
  header_set_sform(fields, &turning->grid.affine);
}

/* The axis of the result that was axis `old` (0, 1, 2). */
static int find_axis(const struct turning *turning, int old) {
  int axis = 0;
  while (turning->from[axis] != old) axis++;
  return axis;
}

/* Which slices were measured when, if they now count from the other end. */
static void reverse_slices(nifti_2_header *fields, int64_t extent) {
  static const int reversed[] = {NIFTI_SLICE_UNKNOWN, NIFTI_SLICE_SEQ_DEC, NIFTI_SLICE_SEQ_INC,
                                 NIFTI_SLICE_ALT_DEC, NIFTI_SLICE_ALT_INC, NIFTI_SLICE_ALT_DEC2,
                                 NIFTI_SLICE_ALT_INC2};
  int64_t start = fields->slice_start, end = fields->slice_end;
  if (fields->slice_code >= 0 && fields->slice_code <= NIFTI_SLICE_ALT_DEC2)
    fields->slice_code = reversed[fields->slice_code];
  if (start < 0 || end < start || end >= extent) return;
  fields->slice_start = extent - 1 - end;
  fields->slice_end = extent - 1 - start;
}

/* Frequency, phase and slice direction: two bits each, 1 to 3 or 0 for not given. */
static void turn_directions(const struct turning *turning, nifti_2_header *fields) {
  int old = (unsigned char)turning->header.fields.dim_info, info = old & 0xc0;
  for (int shift = 0; shift < 6; shift += 2) {
    int direction = old >> shift & 3;
    if (direction) info |= (find_axis(turning, direction - 1) + 1) << shift;
  }
  fields->dim_info = (char)info;
  int slice = old >> 4 & 3;
  if (slice && turning->flip[find_axis(turning, slice - 1)])
    reverse_slices(fields, turning->header.extent[slice - 1]);
}

static nifti_2_header turn_fields(const struct turning *turning) {
  const nifti_2_header *old = &turning->header.fields;
  nifti_2_header fields = *old;
  if (fields.dim[0] < 3) fields.dim[0] = 3;
  for (int a = 0; a < 3; a++) {
    fields.dim[a + 1] = turning->grid.extent[a];
    fields.pixdim[a + 1] = old->pixdim[turning->from[a] + 1];
  }
  if (fields.sform_code > 0) turn_sform(turning, &fields);
  if (fields.qform_code > 0) turn_qform(turning, &fields);
  if (fields.sform_code <= 0 && fields.qform_code <= 0) state_place(turning, &fields);
  turn_directions(turning, &fields);
  return fields;
}

/* What lies between header and voxels stays, but where its numbers have the other byte order. */
static enum status write_head(struct turning *turning, struct sink *sink, struct volume *input) {
  struct header *header = &turning->header;
  nifti_2_header fields = turn_fields(turning);
  int64_t bytes = header->fields.vox_offset - (int64_t)header->stream.position;
  bool single = header->fields.magic[1] == '+', keep = single && !header->swapped;
  if (!keep && single && bytes > LEAST_EXTENSION)
    volume_warn(input, "the header's extensions have the other byte order and are left out");
  static const unsigned char none[LEAST_EXTENSION] = {0};
  TRY(header_write(&fields, header->version, keep ? bytes : LEAST_EXTENSION, sink));
  if (!keep) return sink_write(sink, none, sizeof none);
  unsigned char piece[PIECE_BYTES];
  while (bytes > 0) {
    size_t wanted = bytes < PIECE_BYTES ? (size_t)bytes : PIECE_BYTES, found = 0;
    TRY(stream_read(&header->stream, piece, wanted, &found));
    REQUIRE(found == wanted, STATUS_FAILED, "%s: extensions: truncated", header->path);
    TRY(sink_write(sink, piece, found));
    bytes -= (int64_t)found;
  }
  return STATUS_OK;
}

static enum status read_voxels(struct turning *turning, struct volume *input) {
  struct header *header = &turning->header;
  size_t element = (size_t)header->type->bytes, bytes = header->count * element, found = 0;
  turning->voxels = malloc(bytes);
  turning->slice =
      malloc((size_t)turning->grid.extent[0] * (size_t)turning->grid.extent[1] * element);
  REQUIRE(turning->voxels && turning->slice, STATUS_FAILED, "%s: out of memory for %zu voxels",
          header->path, header->count);
  TRY(stream_skip(&header->stream, (uint64_t)header->fields.vox_offset, "voxel data"));
  TRY(stream_read(&header->stream, turning->voxels, bytes, &found));
  REQUIRE(found == bytes, STATUS_FAILED,
          "%s: voxel data: expected %zu bytes, found %zu (truncated)", header->stream.path, bytes,
          found);
  uint64_t left = 0;
  TRY(stream_finish(&header->stream, &left));
  if (left) volume_warn(input, "%llu bytes follow the voxels", (unsigned long long)left);
  if (header->swapped && element > 1)
    nifti_swap_Nbytes((int64_t)header->count, (int)element, turning->voxels);
  return STATUS_OK;
}

/* count elements, `step` elements apart. */
#define COPIER(type)                                                                    \
  static void copy_##type(const unsigned char *from, ptrdiff_t step, unsigned char *to, \
                          int count) {                                                  \
    const type *values = (const type *)(const void *)from;                              \
    type *result = (type *)(void *)to;                                                  \
    for (int i = 0; i < count; i++) result[i] = values[i * step];                       \
  }
COPIER(uint8_t)
COPIER(uint16_t)
COPIER(uint32_t)
COPIER(uint64_t)

static const struct {
  size_t bytes;
  void (*copy)(const unsigned char *from, ptrdiff_t step, unsigned char *to, int count);
} copiers[] = {{1, copy_uint8_t}, {2, copy_uint16_t}, {4, copy_uint32_t}, {8, copy_uint64_t}};

static enum status write_voxels(const struct turning *turning, struct sink *sink) {
  const int *old = turning->header.extent, *extent = turning->grid.extent;
  size_t element = (size_t)turning->header.type->bytes, kind = 0;
  while (copiers[kind].bytes != element) kind++;
  const ptrdiff_t stride[3] = {1, old[0], (ptrdiff_t)old[0] * old[1]};
  ptrdiff_t step[3], first = 0;
  for (int a = 0; a < 3; a++) {
    int axis = turning->from[a];
    step[a] = turning->flip[a] ? -stride[axis] : stride[axis];
    if (turning->flip[a]) first += stride[axis] * (old[axis] - 1);
  }
  for (int c = 0; c < turning->header.channels; c++)
    for (int k = 0; k < extent[2]; k++) {
      ptrdiff_t at = first + c * stride[2] * old[2] + k * step[2];
#pragma omp parallel for schedule(static)
      for (int j = 0; j < extent[1]; j++)
        copiers[kind].copy(turning->voxels + (at + j * step[1]) * (ptrdiff_t)element, step[0],
                           turning->slice + (size_t)j * (size_t)extent[0] * element, extent[0]);
      TRY(sink_write(sink, turning->slice, (size_t)extent[0] * (size_t)extent[1] * element));
    }
  return STATUS_OK;
}

static enum status plan(struct turning *turning, const char *path, const char *code,
                        const struct volume_policy *policy, struct volume *input) {
  struct header *header = &turning->header;
  double unused[2];
  TRY(header_open(header, path, policy, input));
  memcpy(input->extent, header->extent, sizeof input->extent);
  input->channels = header->channels;
  TRY(header_place(header, policy, input));
  TRY(header_get_scaling(header, &unused[0], &unused[1]));
  struct grid grid = volume_get_grid(input);
  return grid_reorient(&grid, code, &turning->grid, turning->from, turning->flip);
}

static enum status write_all(struct turning *turning, const char *path, struct volume *input) {
  struct sink sink;
  TRY(sink_open(&sink, path, 6));
  enum status status = write_head(turning, &sink, input);
  if (!status) status = read_voxels(turning, input);
  if (!status) status = write_voxels(turning, &sink);
  if (!status) status = sink_commit(&sink);
  sink_close(&sink);
  return status;
}

enum status volume_reorient_file(const char *from, const char *to, const char *code,
                                 const struct volume_policy *policy, struct volume *input) {
  struct turning turning = {0};
  *input = (struct volume){0};
  TRY(volume_check_name(to));
  enum status status = plan(&turning, from, code, policy, input);
  if (!status) status = write_all(&turning, to, input);
  free(turning.voxels);
  free(turning.slice);
  header_close(&turning.header);
  if (!status) return STATUS_OK;
  volume_close(input);
  return status_pass(status, __func__, __FILE__, __LINE__);
}
