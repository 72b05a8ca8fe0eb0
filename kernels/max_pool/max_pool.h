/* The largest value of every window, without padding; output extents are rounded down. */
#pragma once
#include "kernels/op.h"

struct max_pool_arguments {
  int kernel[3], stride[3]; /* d h w, voxels */
};
