/* The weights of a Gaussian, for all kernels of blur. `real` is the element type of the including
 * file. Also C++, and then for the device, too. */
#pragma once
#include <math.h>
#include "kernels/blur/blur.h"
#include "kernels/common/real.h"
#include "kernels/common/shared.h"

/* weight[j] is that of both neighbours j voxels away. */
struct blur_axis {
  int radius;
  real weight[BLUR_MOST_RADIUS + 1];
};

HOST_DEVICE static inline struct blur_axis blur_axis_of(real deviation) {
  struct blur_axis axis;
  const double s = (double)deviation;
  const int most = BLUR_MOST_RADIUS;
  double weight[BLUR_MOST_RADIUS + 1], sum = 0;
  axis.radius = s > 0 ? (s * 3 < most ? (int)ceil(s * 3) : most) : 0;
  for (int j = 0; j <= most; j++) {
    weight[j] = j == 0 ? 1 : j <= axis.radius ? exp(-0.5 * (j / s) * (j / s)) : 0;
    sum += (j == 0 ? 1 : 2) * weight[j];
  }
  for (int j = 0; j <= most; j++) axis.weight[j] = (real)(weight[j] / sum);
  return axis;
}

HOST_DEVICE static inline int blur_clamp(int index, int extent) {
  return index < 0 ? 0 : index < extent ? index : extent - 1;
}
