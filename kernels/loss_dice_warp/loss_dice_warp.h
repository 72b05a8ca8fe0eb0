/* The Dice loss between warped moving labels and fixed labels, straight from the label maps: equal
 * to warping the one-hot moving labels linearly and taking MONAI's DiceLoss (monai/losses/dice.py)
 * against the one-hot fixed labels, but no one-hot tensor exists. Per sample and class, with I the
 * overlap, P the warped and T the fixed volume in voxels,
 *   1 - (2I + smooth_numerator) / (P + T + smooth_denominator),
 * averaged over samples and classes. Inputs: moving and fixed labels, uint8 [n 1 d h w], and the
 * displacement [n 3 d h w] in voxels, as the operator warp reads it. Labels from `classes` on
 * belong to no class. The gradient goes to the displacement alone. */
#pragma once
#include "kernels/op.h"
#include "kernels/warp/warp.h"

struct loss_dice_warp_arguments {
  int classes; /* 1..256, background included */
  bool include_background;
  enum warp_padding padding;
  double smooth_numerator, smooth_denominator; /* MONAI: 1e-5 both */
};
