/* Which voxels a voxel is made of, for all kernels of low_resolution. `real` is the element type of
 * the including file. Also C++, and then for the device, too. */
#pragma once
#include <math.h>
#include "kernels/common/real.h"
#include "kernels/common/shared.h"
#include "kernels/low_resolution/low_resolution.h"

/* Points that are kept of an axis. */
HOST_DEVICE static inline unsigned low_points(int extent, real zoom) {
  if (!(zoom < 1)) return (unsigned)extent;
  const double points = zoom > 0 ? rint((double)extent * (double)zoom) : 1;
  return points > 1 ? (unsigned)points : 1;
}

/* A voxel of y along an axis: voxels of x and how much the second counts. */
struct low_place {
  int low, high;
  real fraction;
};

/* All products fit: extents are below 2^15. */
HOST_DEVICE static inline struct low_place low_place_of(int extent, unsigned points, int i) {
  const unsigned e = (unsigned)extent, centre = (2 * (unsigned)i + 1) * points;
  const unsigned position = centre > e ? centre - e : 0; /* times 2 e */
  const unsigned low = position / (2 * e), high = low + 1 < points ? low + 1 : low;
  struct low_place place;
  place.low = (int)((2 * low + 1) * e / (2 * points));
  place.high = (int)((2 * high + 1) * e / (2 * points));
  place.fraction = (real)(position - low * 2 * e) / (real)(2 * e);
  return place;
}
