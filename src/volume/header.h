/* A NIfTI header: found, read, and judged before anything is allocated for what it promises; and
 * written. Private to the volume room. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "nifti2_io.h"
#include "volume/sample.h"
#include "volume/sink.h"
#include "volume/stream.h"
#include "volume/volume.h"

struct header {
  nifti_2_header fields; /* native byte order; NIfTI-1 is widened to this */
  int version;           /* 1 or 2 */
  bool swapped;          /* the file has the other byte order */
  const struct sample_type *type;
  int extent[3];
  int channels;
  size_t count;         /* voxels times channels */
  char *path;           /* the file of the header */
  struct stream stream; /* the file of the voxels, somewhere before them */
};

/* Opens and checks. On failure *header is left zeroed. Oddities go to volume->warnings. */
CHECKED enum status header_open(struct header *header, const char *path,
                                const struct volume_policy *policy, struct volume *volume);
void header_close(struct header *header);

enum { HEADER1_BYTES = 348, HEADER2_BYTES = 540 };

/* How many bytes the header has, judged from the first four: 540, or 348 for anything else. */
size_t header_size(const unsigned char *bytes);

/* Byte order, version, magic and the widening to NIfTI-2, from a file's first bytes. */
CHECKED enum status header_parse(struct header *header, const unsigned char *bytes, size_t count);

/* Chooses the affine: sform if its code is set, else qform, else the policy's answer. Fills
 * volume->affine and the codes. */
CHECKED enum status header_place(const struct header *header, const struct volume_policy *policy,
                                 struct volume *volume);

/* slope and intercept to apply; slope 1, intercept 0 when there are none. */
CHECKED enum status header_get_scaling(const struct header *header, double *slope, double *inter);

/* The sform's numbers; signed zeros, which have no place in a file's affine, become 0. */
void header_set_sform(nifti_2_header *fields, const struct affine *affine);

/* The qform's quaternion, offset and qfac; the lengths in pixdim are the caller's. */
void header_set_qform(nifti_2_header *fields, const struct affine *affine);

/* Writes the header of a single file as NIfTI-1 or NIfTI-2, native byte order; `extension_bytes`
 * (at least 4) must follow it before the voxels. Sets size, magic and vox_offset. */
CHECKED enum status header_write(nifti_2_header *fields, int version, int64_t extension_bytes,
                                 struct sink *sink);
