/* Samples as files have them, i fastest, to numbers as we have them, k fastest. Private to the
 * volume room. */
#pragma once
#include <stddef.h>
#include "volume/sample.h"

struct turning {
  const struct sample_type *type;
  const unsigned char *raw; /* [slice][j][i], native byte order */
  int extent[3];            /* of the volume */
  int slices;               /* at raw: k = first, first + 1, ... */
  double slope, inter;
};

/* values: [i][j][k] of one channel, from the first slice's k on; value = slope * sample + inter in
 * double, -0 becomes 0. */
void turn_samples(const struct turning *turning, float *values);
