/* A volume in memory, and NIfTI-1/-2 files (https://nifti.nimh.nih.gov): reading with every field
 * checked, writing, and a description for people. Values are float32 in C order with axes i, j, k
 * as nibabel shows them: files store i fastest, readers transpose. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/status.h"
#include "volume/geometry.h"

struct volume {
  int extent[3];        /* i, j, k = d, h, w */
  int channels;         /* 1 for an ordinary volume */
  struct affine affine; /* voxel -> RAS+ mm */
  bool is_integer;      /* every value is a whole number because the file's type says so */
  float *values;        /* [channel][i][j][k], k fastest; owned */
  char *source;         /* the path it was read from, for messages; owned; may be NULL */
  int sform_code, qform_code, intent_code; /* as in the file (0: not given) */
  char *warnings; /* what was odd, one line each, joined by '\n'; NULL when nothing was; owned */
};

enum volume_nonfinite {
  NONFINITE_ERROR, /* a NaN or infinity is an error that says how many and where the first is */
  NONFINITE_ZERO,  /* replaced by 0, with a warning */
  NONFINITE_MEAN,  /* replaced by the mean of the finite voxels of its channel, with a warning */
  NONFINITE_KEEP,  /* left as they are, with a warning */
};

/* What a file without sform and qform means. Programs disagree, so that there is no safe guess. */
enum volume_unknown {
  UNKNOWN_ERROR,
  UNKNOWN_RAS, /* diag(dx, dy, dz), voxel 0 at the origin: nifti1.h "method 1" */
  UNKNOWN_LAS, /* diag(-dx, dy, dz), the centre of the field of view at the origin: nibabel */
};

/* How to read. A zeroed policy is the strictest one. */
struct volume_policy {
  enum volume_nonfinite nonfinite;
  enum volume_unknown unknown_orientation;
  bool labels;         /* integers expected: rounded within 1e-3, else an error with the value */
  bool allow_channels; /* accept [X,Y,Z,C] and [X,Y,Z,1,C] as C channels */
  size_t
      maximum_bytes; /* most memory the values may take; 0: no limit but what the file can hold */
};

/* Reads .nii, .nii.gz, .hdr/.img (either may be named; each may be .gz); whether a file is
 * compressed is seen from its bytes, not its name. *volume is overwritten (pass anything that owns
 * nothing); on failure it is left zeroed. Errors name the file, the field, what was expected and
 * what was found; a header is judged before anything is allocated for it. */
CHECKED enum status volume_read(struct volume *volume, const char *path,
                                const struct volume_policy *policy);

/* Header only: extent, affine, channels, codes and warnings; values stays NULL. */
CHECKED enum status volume_read_header(struct volume *volume, const char *path,
                                       const struct volume_policy *policy);

/* The header, as volume_read_header gives it, of a file whose voxels were read to their end and
 * thrown away: what is cut short or damaged (gzip's checksum) is an error. */
CHECKED enum status volume_check(struct volume *volume, const char *path,
                                 const struct volume_policy *policy);

/* For people: shape, type, spacing, orientation, affine, codes, scaling, range, problems. Fails
 * only where the header cannot be understood at all. */
CHECKED enum status volume_inspect(const char *path, FILE *out);

enum volume_type { VOLUME_FLOAT32, VOLUME_UINT8, VOLUME_INT16, VOLUME_INT32 };

/* How to write. Zeroed: float32, no intent. */
struct volume_format {
  enum volume_type type;   /* a value that an integer type cannot hold is an error; others round */
  int intent_code;         /* NIFTI_INTENT_*, 0 for none */
  const char *intent_name; /* at most 15 bytes are kept; may be NULL */
  const char *description; /* at most 79 bytes are kept; may be NULL */
  bool vector;             /* channels in the 5th dimension ([X,Y,Z,1,C]), else in the 4th */
  int compression;         /* zlib level 1..9 for .nii.gz; 0: 6 */
};

/* Writes .nii or .nii.gz by the path's suffix; NIfTI-1, or NIfTI-2 where an extent is over 32767.
 * sform always, qform when the affine has no shear; both with the volume's code (1 = scanner when
 * it has none); units mm. What is at `path` is replaced whole or not at all. */
CHECKED enum status volume_write(const struct volume *volume, const char *path,
                                 const struct volume_format *format);

/* STATUS_USAGE unless the path ends in .nii or .nii.gz, which says how it is written. */
CHECKED enum status volume_check_name(const char *path);

/* Turns a file so that its orientation is `code` ("RAS", ...): axes are permuted and flipped, no
 * number is touched. Voxel type, scaling, channels, intent, text, extensions and the codes of sform
 * and qform stay, and both forms follow the axes, as slice order does; the byte order becomes the
 * machine's, a .hdr/.img pair one file. `to` may be `from`: it is replaced whole or not at all.
 * policy: unknown_orientation, allow_channels, maximum_bytes. *input: what `from` was, as
 * volume_read_header has it (caller closes; zeroed on failure). */
CHECKED enum status volume_reorient_file(const char *from, const char *to, const char *code,
                                         const struct volume_policy *policy, struct volume *input);

enum displacement_frame {
  DISPLACEMENT_LPS, /* intent 1007 (VECTOR), components LPS mm: what ITK, ANTs and Slicer expect */
  DISPLACEMENT_RAS, /* intent 1006 (DISPVECT), components RAS mm */
};

/* Writes a displacement field as NIfTI [X,Y,Z,1,3]. displacement: planar [3][i][j][k] in voxels of
 * `grid` (channel c moves along axis c); it says, for each voxel of the fixed grid, how far away
 * the moving image is sampled. In the file: millimetres, u = M * u_voxel, then x and y negated for
 * LPS. */
CHECKED enum status volume_write_displacement(const char *path, const float *displacement,
                                              const struct grid *grid,
                                              enum displacement_frame frame);

/* Reads such a file back: planar [3][i][j][k] in voxels of its grid (caller frees *displacement).
 * The frame is taken from the intent code: 1006 is RAS, anything else is LPS as ITK has it. */
CHECKED enum status volume_read_displacement(const char *path, float **displacement,
                                             struct grid *grid);

/* A zeroed volume with its values allocated and set to 0. On failure *volume is left zeroed. */
CHECKED enum status volume_create(struct volume *volume, const struct grid *grid, int channels);

/* Frees what the volume owns and zeroes it. Accepts a zeroed one. */
void volume_close(struct volume *volume);

/* Frees what was kept of closed volumes for the next ones: at most 8 pieces of 64 MiB. For who has
 * no more volumes to read. */
void volume_forget_memory(void);

struct grid volume_get_grid(const struct volume *volume);

/* extent[0] * extent[1] * extent[2], the voxels of one channel. */
size_t volume_count(const struct volume *volume);

/* The lowest and the highest of count values; NaN is passed over. */
void volume_find_range(const float *values, size_t count, float range[2]);

/* Permutes and flips the axes so that the orientation is `code` ("RAS", "LPS", ...): exact, no
 * interpolation; the affine follows. */
CHECKED enum status volume_reorient(struct volume *volume, const char *code);

/* Adds a line to volume->warnings. Out of memory loses the line, nothing else. */
void volume_warn(struct volume *volume, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
