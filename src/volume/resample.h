/* One interpolation from any source volume to any target grid, and the target grids that
 * preparation asks for. However many wishes there are (orientation, spacing, size, padding), they
 * are composed into one grid first, so that voxels are interpolated once. */
#pragma once
#include <stdint.h>
#include "volume/volume.h"

enum resample_method {
  RESAMPLE_LINEAR,
  RESAMPLE_NEAREST, /* for labels; a tie goes to the higher index */
};

enum resample_border {
  RESAMPLE_FILL,  /* outside the source's field of view: the fill value */
  RESAMPLE_CLAMP, /* outside: the nearest border voxel */
};

/* Zeroed: linear, 0 outside. In the half voxel between the outermost centres and the edge of the
 * field of view, both borders take the nearest border voxel. */
struct resample_options {
  enum resample_method method;
  enum resample_border border;
  float fill;
  const float *fills; /* OPTIONAL: one of each channel, instead of fill */
};

/* Target voxel -> world -> source voxel, coordinates in double. Where this lands on source voxels
 * exactly (same grid, flips, crops, padding; within 1e-3 voxel), values are copied unchanged.
 * *result is overwritten and owned by the caller; on failure it is left zeroed. */
CHECKED enum status volume_resample(const struct volume *source, const struct grid *target,
                                    const struct resample_options *options, struct volume *result);

/* The same through a deformation: result(x) = source at the world point of voxel x +
 * displacement(x). displacement: planar [3][i][j][k] in voxels of `target`, finite; NULL for none.
 */
CHECKED enum status volume_deform(const struct volume *source, const struct grid *target,
                                  const float *displacement, const struct resample_options *options,
                                  struct volume *result);

/* Where RESAMPLE_NEAREST with RESAMPLE_FILL takes each of the target's voxels from: index[i][j][k]
 * (caller gives the room) is the source's voxel, counted with its last axis fastest, or -1 outside
 * its field of view. STATUS_USAGE for a source of more than INT32_MAX voxels. */
CHECKED enum status grid_find_nearest(const struct grid *source, const struct grid *target,
                                      int32_t *index);

/* What the target grid should be; zeroed members keep what the source has. Applied in this order;
 * axes are those after `orientation`. */
struct grid_request {
  const char *orientation; /* "RAS", ...: permutes and flips axes; NULL or "": keep */
  double spacing[3];       /* mm; same field of view, its centre kept, extents rounded */
  int resize[3];   /* voxels that the whole field of view is divided into (changes spacing) */
  int extent[3];   /* centred crop or padding to this many voxels (keeps spacing) */
  int multiple[3]; /* centred padding up to multiples of this; 0 or 1: none */
};

/* STATUS_USAGE for requests that make no sense (unknown orientation, negative numbers, more than
 * INT_MAX voxels on an axis). */
CHECKED enum status grid_plan(const struct grid *source, const struct grid_request *request,
                              struct grid *target);
