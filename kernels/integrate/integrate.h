/* A stationary velocity field integrated over unit time by scaling and squaring (Arsigny et al., "A
 * log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006): v/2^steps, then `steps`
 * times v <- v + v(p + v(p)), with zeros outside. [n 3 d h w] to [n 3 d h w], planar, voxels. */
#pragma once
#include "kernels/op.h"

struct integrate_arguments {
  int steps;   /* 0: the velocity itself */
  bool negate; /* integrates -v: the inverse map */
};

/* Forward keeps the fields before each squaring in saved[0], four reals per voxel of which the last
 * is 0: all samples of step 0, then of step 1, ... */

/* What the velocity is multiplied by at first: +-1/2^steps. */
double integrate_scale(const struct node *node);
