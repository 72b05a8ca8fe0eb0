/* Resampling where every target voxel is a source voxel or outside: copies. Private to the volume
 * room. */
#pragma once
#include <stdbool.h>
#include "volume/geometry.h"

struct exact {
  const float *values; /* [i][j][k] of the source */
  int source[3], target[3];
  struct affine map; /* target voxel -> source voxel; whole numbers */
  float fill;        /* outside */
};

/* False when the map is not one axis each; nothing was done then. */
bool resample_exact(const struct exact *exact, float *result);
