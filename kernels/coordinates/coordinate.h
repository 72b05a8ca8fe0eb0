/* The coordinate of voxel i of `extent` along an axis. Also C++, and then for the device, too. */
#pragma once
#include "kernels/common/shared.h"

HOST_DEVICE static inline float coordinate(int i, int extent) {
  return extent > 1 ? (float)(2 * i - (extent - 1)) / (float)(extent - 1) : 0;
}
