/* Exact Euclidean distance transform. */
#pragma once
#include "base/status.h"

/* In place, [d][h][w]: a value f(x) (0: x is a feature; INFINITY: it is not) becomes the least of
 * f(y) + |x - y|^2 over all y, lengths in units of the spacing. All INFINITY stays so. Lower
 * envelopes of parabolas along each axis (Felzenszwalb & Huttenlocher, "Distance transforms of
 * sampled functions", 2012). */
CHECKED enum status metrics_distance_transform(double *squared, const int extent[3],
                                               const double spacing[3]);
