/* Penalties on the derivatives of a displacement or velocity u [n 3 d h w], in voxels of its own
 * grid; the spacing is not used. Every one is `multiply` times a mean over samples, components and
 * the places where the differences exist. */
#pragma once
#include "kernels/op.h"

enum loss_smooth_kind {
  /* Bending energy as MONAI up to 1.5 takes it (monai/losses/deform.py, BendingEnergyLoss): second
   * derivatives by central differences of central differences, (u[i+2]-2u[i]+u[i-2])/4 and mixed
   * ones, 2 voxels cropped on every side. Blind to oscillation from voxel to voxel. */
  SMOOTH_BENDING,
  /* The same with u[i+1]-2u[i]+u[i-1] on the axes, 1 voxel cropped, as MONAI 1.6: sees
   * oscillation. */
  SMOOTH_BENDING_COMPACT,
  /* VoxelMorph's Grad (voxelmorph/torch/losses.py): forward differences, absolute or squared, the
   * mean of the means of the three axes. */
  SMOOTH_L1,
  SMOOTH_L2,
  /* MONAI's DiffusionLoss: squared central differences, 1 voxel cropped. */
  SMOOTH_DIFFUSION,
  SMOOTH_KINDS
};

struct loss_smooth_arguments {
  enum loss_smooth_kind kind;
  double multiply; /* VoxelMorph's loss_mult; above 0 */
};
