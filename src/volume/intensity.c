/* The ways to normalise intensities, one function per row of intensities.def. */
#include "volume/intensity.h"
#include <math.h>
#include <string.h>
#include "volume/scan.h"
#include "volume/vector.h"

static const char *name_of(const char *source) {
  return source ? source : "volume";
}

enum { BLOCK = 1 << 14 };

VECTOR_LOOP static void map_block(float *values, size_t count, double low, double scale) {
  for (size_t n = 0; n < count; n++) {
    double value = (values[n] - low) * scale;
    value = value > 0 ? value : 0;
    values[n] = (float)(value < 1 ? value : 1);
  }
}

/* (value - low) / (high - low), clipped to 0..1. */
static enum status map_range(float *values, size_t count, double low, double high,
                             const char *source) {
  REQUIRE(high > low, STATUS_FAILED,
          "%s: intensities: expected contrast, found %g everywhere (or nearly so)", name_of(source),
          low);
  double scale = 1 / (high - low);
#pragma omp parallel for schedule(static)
  for (size_t n = 0; n < count; n += BLOCK)
    map_block(values + n, count - n < BLOCK ? count - n : BLOCK, low, scale);
  return STATUS_OK;
}

static enum status find_range(const float *values, size_t count, const char *source, double *low,
                              double *high) {
  struct scan scan = scan_values(values, count);
  for (size_t n = 0; scan.nonfinite && n < count; n++)
    REQUIRE(isfinite(values[n]), STATUS_FAILED,
            "%s: intensities: expected finite numbers, found %g", name_of(source), values[n]);
  *low = scan.low;
  *high = scan.high;
  REQUIRE(*high > *low, STATUS_FAILED, "%s: intensities: expected contrast, found %s%g everywhere",
          name_of(source), count ? "" : "no voxels, not even ", count ? *low : 0.0);
  return STATUS_OK;
}

static enum status apply_none(float *values, size_t count, const struct intensity_options *options,
                              const char *source) {
  (void)options;
  double low, high;
  return find_range(values, count, source, &low, &high);
}

static enum status apply_minmax(float *values, size_t count,
                                const struct intensity_options *options, const char *source) {
  (void)options;
  double low, high;
  TRY(find_range(values, count, source, &low, &high));
  return map_range(values, count, low, high, source);
}

static enum status apply_percentile(float *values, size_t count,
                                    const struct intensity_options *options, const char *source) {
  double low, high;
  REQUIRE(options->low < options->high, STATUS_USAGE,
          "percentile: expected low below high, found %g and %g", options->low, options->high);
  TRY(find_range(values, count, source, &low, &high));
  const struct scan scan = {.low = (float)low, .high = (float)high};
  TRY(percentile_of(values, count, &scan, options->low, options->nonzero, &low));
  TRY(percentile_of(values, count, &scan, options->high, options->nonzero, &high));
  return map_range(values, count, low, high, source);
}

static enum status apply_window(float *values, size_t count,
                                const struct intensity_options *options, const char *source) {
  double low, high;
  REQUIRE(options->low < options->high, STATUS_USAGE,
          "window: expected low below high, found %g and %g", options->low, options->high);
  TRY(find_range(values, count, source, &low, &high));
  REQUIRE(high > options->low && low < options->high, STATUS_FAILED,
          "%s: intensities: expected contrast between %g and %g, found values from %g to %g",
          name_of(source), options->low, options->high, low, high);
  return map_range(values, count, options->low, options->high, source);
}

struct moments {
  double mean, deviation;
  size_t count;
};

static double sum_of_squares(const float *values, size_t count, bool nonzero, double mean) {
  double sum = 0;
  for (size_t n = 0; n < count; n++)
    if (!nonzero || values[n] != 0) sum += (values[n] - mean) * (values[n] - mean);
  return sum;
}

/* Two passes in double, one voxel after another: the same bits for any number of threads. */
static struct moments find_moments(const float *values, size_t count, bool nonzero) {
  struct moments moments = {0};
  double sum = 0;
  for (size_t n = 0; n < count; n++)
    if (!nonzero || values[n] != 0) {
      sum += values[n];
      moments.count++;
    }
  if (!moments.count) return moments;
  moments.mean = sum / (double)moments.count;
  moments.deviation =
      sqrt(sum_of_squares(values, count, nonzero, moments.mean) / (double)moments.count);
  return moments;
}

static enum status apply_zscore(float *values, size_t count,
                                const struct intensity_options *options, const char *source) {
  double low, high;
  TRY(find_range(values, count, source, &low, &high));
  struct moments moments = find_moments(values, count, options->nonzero);
  REQUIRE(moments.deviation > 0, STATUS_FAILED,
          "%s: intensities: expected contrast, found a deviation of 0 around %g", name_of(source),
          moments.mean);
#pragma omp parallel for schedule(static)
  for (size_t n = 0; n < count; n++)
    if (!options->nonzero || values[n] != 0)
      values[n] = (float)((values[n] - moments.mean) / moments.deviation);
  return STATUS_OK;
}

static const struct intensity none = {
    .name = "none",
    .help = "values as they are (a volume without contrast is still refused)",
    .apply = apply_none,
};
static const struct intensity minmax = {
    .name = "minmax",
    .help = "least value to 0, greatest to 1",
    .apply = apply_minmax,
};
static const struct intensity percentile = {
    .name = "percentile",
    .help = "percentile `low` to 0, percentile `high` to 1, clipped",
    .defaults = {.low = 0.5, .high = 99.5},
    .apply = apply_percentile,
};
static const struct intensity zscore = {
    .name = "zscore",
    .help = "mean 0, deviation 1",
    .apply = apply_zscore,
};
static const struct intensity window = {
    .name = "window",
    .help = "value `low` to 0, value `high` to 1, clipped (CT)",
    .defaults = {.low = -160, .high = 240},
    .apply = apply_window,
};

#define INTENSITY(name) &name,
const struct intensity *const intensities[] = {
#include "volume/intensities.def"
};
const int intensity_count = sizeof intensities / sizeof *intensities;

const struct intensity *intensity_find(const char *name) {
  for (int i = 0; i < intensity_count; i++)
    if (strcmp(intensities[i]->name, name) == 0) return intensities[i];
  return NULL;
}

struct intensity_options intensity_window(double centre, double width) {
  return (struct intensity_options){.low = centre - width / 2, .high = centre + width / 2};
}
