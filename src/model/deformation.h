/* From a network's velocity field to a displacement: integration, resolution, coarse-to-fine
 * levels. */
#pragma once
#include "model/model.h"

enum { DEFORMATION_MAX_LEVELS = 4 };

struct deformation {
  int velocity[DEFORMATION_MAX_LEVELS]; /* finest first; the fields that the smoothness loss sees */
  int level_count;
  int displacement; /* [n 3 d h w], voxels: warped(x) = moving(x + displacement(x)) */
  int inverse;      /* warped fixed(x) = fixed(x + inverse(x)); -1 unless asked for */
};

/* Adds network and pipeline of VxmDense (steps 1 to 4 of its forward): velocity at full resolution,
 * resized to the grid of integration (model.integration_downsize), integrated by scaling and
 * squaring (model.integration_steps), resized back. With model.levels > 1 a network at each halved
 * resolution comes first, and the next finer one sees the moving image warped by what has been
 * found so far; displacements are composed. moving and fixed: [n 1 d h w]. */
CHECKED enum status deformation_build(struct graph *graph, const struct config *config, int moving,
                                      int fixed, bool with_inverse,
                                      struct deformation *deformation);

/* What every extent of the images must be a multiple of, by network, integration and levels. */
CHECKED enum status deformation_multiple(const struct config *config, int *multiple);
