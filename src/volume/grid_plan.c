/* The target grid of a preparation: orientation, spacing, size, padding, composed before anything
 * is interpolated. */
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include "volume/resample.h"

enum { LARGEST_EXTENT = INT_MAX / 4 };

static enum status check_request(const struct grid_request *request) {
  for (int a = 0; a < 3; a++) {
    REQUIRE(isfinite(request->spacing[a]) && request->spacing[a] >= 0, STATUS_USAGE,
            "target spacing: expected positive mm (or 0 to keep it), found %g",
            request->spacing[a]);
    REQUIRE(request->resize[a] >= 0 && request->extent[a] >= 0 &&
                request->resize[a] <= LARGEST_EXTENT && request->extent[a] <= LARGEST_EXTENT,
            STATUS_USAGE, "target size: expected 0 to %d voxels, found %d", LARGEST_EXTENT,
            request->resize[a] < 0 || request->resize[a] > LARGEST_EXTENT ? request->resize[a]
                                                                          : request->extent[a]);
    REQUIRE(request->multiple[a] >= 0 && request->multiple[a] <= LARGEST_EXTENT, STATUS_USAGE,
            "target size: expected a multiple of 0 to %d voxels, found %d", LARGEST_EXTENT,
            request->multiple[a]);
  }
  return STATUS_OK;
}

/* Divides an axis's field of view into `extent` voxels of `scale` old voxels each, keeping the
 * centre of the field of view. */
static void divide_axis(struct grid *grid, int axis, int extent, double scale) {
  double middle = 0.5 * (grid->extent[axis] - 1) - 0.5 * (extent - 1) * scale;
  for (int a = 0; a < 3; a++) {
    grid->affine.m[a][3] += grid->affine.m[a][axis] * middle;
    grid->affine.m[a][axis] *= scale;
  }
  grid->extent[axis] = extent;
}

static enum status set_spacing(struct grid *grid, const double wanted[3]) {
  double spacing[3];
  affine_get_spacing(&grid->affine, spacing);
  for (int a = 0; a < 3; a++) {
    if (wanted[a] == 0) continue;
    double scale = wanted[a] / spacing[a], extent = rint(grid->extent[a] / scale);
    REQUIRE(extent <= LARGEST_EXTENT, STATUS_USAGE,
            "target spacing: expected at most %d voxels on axis %d, found %g of %g mm",
            LARGEST_EXTENT, a, extent, wanted[a]);
    divide_axis(grid, a, extent < 1 ? 1 : (int)extent, scale);
  }
  return STATUS_OK;
}

/* Half of the difference goes before, rounded towards zero, so that a crop undoes a padding. */
static void set_extent(struct grid *grid, int axis, int extent) {
  int before = (extent - grid->extent[axis]) / 2;
  for (int a = 0; a < 3; a++) grid->affine.m[a][3] -= grid->affine.m[a][axis] * before;
  grid->extent[axis] = extent;
}

enum status grid_plan(const struct grid *source, const struct grid_request *request,
                      struct grid *target) {
  TRY(check_request(request));
  struct grid grid = *source;
  int from[3];
  bool flip[3];
  if (request->orientation && *request->orientation)
    TRY(grid_reorient(source, request->orientation, &grid, from, flip));
  TRY(set_spacing(&grid, request->spacing));
  for (int a = 0; a < 3; a++) {
    if (request->resize[a])
      divide_axis(&grid, a, request->resize[a], (double)grid.extent[a] / request->resize[a]);
    if (request->extent[a]) set_extent(&grid, a, request->extent[a]);
    int multiple = request->multiple[a] > 1 ? request->multiple[a] : 1;
    int64_t padded = ((int64_t)grid.extent[a] + multiple - 1) / multiple * multiple;
    set_extent(&grid, a, (int)padded);
  }
  *target = grid;
  return STATUS_OK;
}
