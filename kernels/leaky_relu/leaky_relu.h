/* y = x where x > 0, slope*x elsewhere, element by element. */
#pragma once
#include "kernels/op.h"

struct leaky_relu_arguments {
  float slope; /* >= 0, so that y is above 0 where x is; 0: ReLU */
};
