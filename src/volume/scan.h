/* What is found out by looking once at every value. Private to the volume room. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

struct scan {
  float low, high;  /* of the numbers; INFINITY and -INFINITY without any */
  size_t nonfinite; /* NaN and infinities */
};

struct scan scan_values(const float *values, size_t count);

/* Whether all are whole numbers below 2^24 in size. */
bool scan_is_whole(const float *values, size_t count);

/* Copies the values from low to high, both included, to `between` (room for `room`), in their
 * order. Returns how many there are, even where there is no room for them; *below: how many are
 * less. */
size_t scan_between(const float *values, size_t count, float low, float high, float *between,
                    size_t room, size_t *below);

/* intensity_percentile of values that were scanned before. */
CHECKED enum status percentile_of(const float *values, size_t count, const struct scan *scan,
                                  double percent, bool nonzero, double *result);
