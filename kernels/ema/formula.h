/* The average of one element, in operations that no compiler may fuse or split further. Internal to
 * the folder. */
#pragma once
#include <math.h>
#include "kernels/common/shared.h"

/* take: 1 - decay. */
static inline HOST_DEVICE float ema_element(float average, float w, float take) {
  return fmaf(take, w - average, average);
}
