/* An image seen through a displacement field: y(p) = image(p + u(p)). Inputs: image [n c d h w],
 * displacement [n 3 d h w] in voxels, channel k along axis k (Jaderberg et al., "Spatial
 * transformer networks", 2015). */
#pragma once
#include "kernels/op.h"

enum warp_padding {
  WARP_ZEROS,  /* outside the image every voxel is 0, as grid_sample(padding_mode="zeros") */
  WARP_BORDER, /* positions are clamped to the image; no gradient where they are */
};

enum warp_mode { WARP_LINEAR, WARP_NEAREST }; /* nearest rounds half to even */

struct warp_arguments {
  enum warp_padding padding;
  enum warp_mode mode;
};
