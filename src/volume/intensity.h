/* Intensity normalisation: a table of ways to bring a volume's values to the range that networks
 * train on. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

struct intensity_options {
  double low,
      high;     /* percentile: percents (0..100, e.g. 0.5, 99.5); window: values mapped to 0, 1 */
  bool nonzero; /* percentile, zscore: statistics over voxels that are not 0 only */
};

struct intensity {
  const char *name;
  const char *help;
  struct intensity_options defaults;
  /* Changes values[0..count) in place. `source` names the volume in messages. A volume without
   * contrast (all the same value) is an error, because nothing can be learned from it. */
  enum status (*apply)(float *values, size_t count, const struct intensity_options *options,
                       const char *source);
};

/* none, minmax, percentile, zscore, window. */
extern const struct intensity *const intensities[];
extern const int intensity_count;

/* NULL when there is none of that name. */
const struct intensity *intensity_find(const char *name);

/* The low and high of a CT window given as centre and width. */
struct intensity_options intensity_window(double centre, double width);

/* The exact percentile (0..100), interpolated as numpy's default ("linear") does. nonzero: over
 * voxels that are not 0. Fails for no voxels and for NaN. */
CHECKED enum status intensity_percentile(const float *values, size_t count, double percent,
                                         bool nonzero, double *result);
