/* What the weight gradient's pass shares with the transform of weights. */
#pragma once
#include "kernels/conv/conv_winograd.h"

/* packed[tap][16 source channels][16] = (add: +=) the taps' gradient for the points' gradient
 * points[point][16][16]. */
void SIMD_NAME(winograd_to_taps)(enum winograd_family family, const float *points, float *packed,
                                 bool add);
