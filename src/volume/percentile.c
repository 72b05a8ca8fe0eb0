/* Exact percentiles of float32 without sorting: the order statistic is found by its bits, the upper
 * half by one histogram and the lower half by another. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "volume/intensity.h"

enum { HALF = 1 << 16 };

/* Bits whose unsigned order is the order of the floats. */
static uint32_t order_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static float value_of(uint32_t order) {
  uint32_t bits = order >> 31 ? order & 0x7fffffffu : ~order;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The bin that holds element number *rank; *rank becomes its number inside the bin. */
static uint32_t find_bin(const uint64_t *histogram, uint64_t *rank) {
  uint32_t bin = 0;
  while (*rank >= histogram[bin]) *rank -= histogram[bin++];
  return bin;
}

static bool is_counted(float value, bool nonzero) {
  return !nonzero || value != 0;
}

/* Element number `rank` of the sorted values. */
static float find_rank(const float *values, size_t count, bool nonzero, uint64_t rank,
                       uint64_t *histogram) {
  memset(histogram, 0, HALF * sizeof *histogram);
  for (size_t n = 0; n < count; n++)
    if (is_counted(values[n], nonzero)) histogram[order_of(values[n] + 0.0f) >> 16]++;
  uint32_t high = find_bin(histogram, &rank);
  memset(histogram, 0, HALF * sizeof *histogram);
  for (size_t n = 0; n < count; n++) {
    uint32_t order = order_of(values[n] + 0.0f); /* one zero, not two */
    if (is_counted(values[n], nonzero) && order >> 16 == high) histogram[order & 0xffff]++;
  }
  return value_of(high << 16 | find_bin(histogram, &rank));
}

static enum status count_used(const float *values, size_t count, bool nonzero, uint64_t *used) {
  *used = 0;
  for (size_t n = 0; n < count; n++) {
    REQUIRE(!isnan(values[n]), STATUS_FAILED, "percentile: expected numbers, found NaN");
    *used += is_counted(values[n], nonzero);
  }
  REQUIRE(*used, STATUS_FAILED, "percentile: expected %s, found none",
          nonzero ? "voxels that are not 0" : "voxels");
  return STATUS_OK;
}

enum status intensity_percentile(const float *values, size_t count, double percent, bool nonzero,
                                 double *result) {
  REQUIRE(percent >= 0 && percent <= 100, STATUS_USAGE, "percentile: expected 0 to 100, found %g",
          percent);
  uint64_t used = 0;
  TRY(count_used(values, count, nonzero, &used));
  uint64_t *histogram = malloc(HALF * sizeof *histogram);
  REQUIRE(histogram, STATUS_FAILED, "percentile: out of memory");
  double place = percent / 100 * (double)(used - 1), below = floor(place), weight = place - below;
  double low = find_rank(values, count, nonzero, (uint64_t)below, histogram), high = low;
  if (weight > 0) high = find_rank(values, count, nonzero, (uint64_t)below + 1, histogram);
  free(histogram);
  *result = weight < 0.5 ? low + (high - low) * weight : high - (high - low) * (1 - weight);
  return STATUS_OK;
}
