/* From bytes to fields: version, byte order, magic. The layouts and the swapping of whole headers
 * are nifticlib's; the judgement is ours, because nifticlib repairs what it does not understand. */
#include <math.h>
#include <string.h>
#include "volume/header.h"

static void widen_numbers(nifti_2_header *to, const nifti_1_header *from) {
  for (int i = 0; i < 8; i++) {
    to->dim[i] = from->dim[i];
    to->pixdim[i] = from->pixdim[i];
  }
  for (int i = 0; i < 4; i++) {
    to->srow_x[i] = from->srow_x[i];
    to->srow_y[i] = from->srow_y[i];
    to->srow_z[i] = from->srow_z[i];
  }
  to->quatern_b = from->quatern_b;
  to->quatern_c = from->quatern_c;
  to->quatern_d = from->quatern_d;
  to->qoffset_x = from->qoffset_x;
  to->qoffset_y = from->qoffset_y;
  to->qoffset_z = from->qoffset_z;
}

static nifti_2_header widen(const nifti_1_header *from) {
  nifti_2_header to = {.sizeof_hdr = from->sizeof_hdr,
                       .datatype = from->datatype,
                       .bitpix = from->bitpix,
                       .vox_offset = (int64_t)from->vox_offset,
                       .scl_slope = from->scl_slope,
                       .scl_inter = from->scl_inter,
                       .cal_max = from->cal_max,
                       .cal_min = from->cal_min,
                       .slice_duration = from->slice_duration,
                       .toffset = from->toffset,
                       .slice_start = from->slice_start,
                       .slice_end = from->slice_end,
                       .slice_code = (unsigned char)from->slice_code,
                       .dim_info = from->dim_info,
                       .qform_code = from->qform_code,
                       .sform_code = from->sform_code,
                       .xyzt_units = (unsigned char)from->xyzt_units,
                       .intent_code = from->intent_code,
                       .intent_p1 = from->intent_p1,
                       .intent_p2 = from->intent_p2,
                       .intent_p3 = from->intent_p3};
  widen_numbers(&to, from);
  memcpy(to.magic, from->magic, sizeof from->magic);
  memcpy(to.descrip, from->descrip, sizeof to.descrip);
  memcpy(to.aux_file, from->aux_file, sizeof to.aux_file);
  memcpy(to.intent_name, from->intent_name, sizeof to.intent_name);
  return to;
}

static enum status parse_version_1(struct header *header, const unsigned char *bytes) {
  nifti_1_header fields;
  memcpy(&fields, bytes, HEADER1_BYTES);
  if (header->swapped) nifti_swap_as_nifti1(&fields);
  REQUIRE(memcmp(fields.magic, "n+1", 4) == 0 || memcmp(fields.magic, "ni1", 4) == 0, STATUS_FAILED,
          "%s: magic: expected n+1 or ni1, found bytes %02x %02x %02x %02x (an ANALYZE 7.5 file "
          "does not say where its voxels are: convert it to NIfTI first)",
          header->path, bytes[344], bytes[345], bytes[346], bytes[347]);
  REQUIRE(isfinite(fields.vox_offset) && fields.vox_offset >= 0 && fields.vox_offset < 0x1p62f &&
              fields.vox_offset == floorf(fields.vox_offset),
          STATUS_FAILED, "%s: vox_offset: expected a whole number of bytes, found %g", header->path,
          fields.vox_offset);
  header->fields = widen(&fields);
  return STATUS_OK;
}

static enum status parse_version_2(struct header *header, const unsigned char *bytes) {
  memcpy(&header->fields, bytes, HEADER2_BYTES);
  if (header->swapped) nifti_swap_as_nifti2(&header->fields);
  const char *magic = header->fields.magic;
  REQUIRE(memcmp(magic, "n+2", 4) == 0 || memcmp(magic, "ni2", 4) == 0, STATUS_FAILED,
          "%s: magic: expected n+2 or ni2, found bytes %02x %02x %02x %02x", header->path, bytes[4],
          bytes[5], bytes[6], bytes[7]);
  REQUIRE(memcmp(magic + 4, "\r\n\032\n", 4) == 0, STATUS_FAILED,
          "%s: magic: expected 0d 0a 1a 0a after n+2, found %02x %02x %02x %02x (damaged by a "
          "transfer in text mode)",
          header->path, bytes[8], bytes[9], bytes[10], bytes[11]);
  REQUIRE(header->fields.vox_offset >= 0, STATUS_FAILED,
          "%s: vox_offset: expected 0 or more, found %lld", header->path,
          (long long)header->fields.vox_offset);
  return STATUS_OK;
}

static bool is_header_size(int32_t size) {
  return size == HEADER1_BYTES || size == HEADER2_BYTES;
}

size_t header_size(const unsigned char *bytes) {
  int32_t size = 0;
  memcpy(&size, bytes, sizeof size);
  if (!is_header_size(size)) size = (int32_t)__builtin_bswap32((uint32_t)size);
  return is_header_size(size) ? (size_t)size : HEADER1_BYTES;
}

enum status header_parse(struct header *header, const unsigned char *bytes, size_t count) {
  REQUIRE(count >= HEADER1_BYTES, STATUS_FAILED,
          "%s: header: expected at least %d bytes, found %zu", header->path, HEADER1_BYTES, count);
  int32_t size = 0;
  memcpy(&size, bytes, sizeof size);
  int32_t other = (int32_t)__builtin_bswap32((uint32_t)size);
  REQUIRE(is_header_size(size) || is_header_size(other), STATUS_FAILED,
          "%s: sizeof_hdr: expected 348 or 540, found %d (not a NIfTI file)", header->path, size);
  header->swapped = !is_header_size(size);
  header->version = header_size(bytes) == HEADER1_BYTES ? 1 : 2;
  REQUIRE(count >= header_size(bytes), STATUS_FAILED, "%s: header: expected %zu bytes, found %zu",
          header->path, header_size(bytes), count);
  return header->version == 1 ? parse_version_1(header, bytes) : parse_version_2(header, bytes);
}
