/* Exact percentiles of float32 without sorting. A sample says between which two values an order
 * statistic is most likely; one look at all values counts what is below and takes out what is
 * between (Floyd and Rivest, 1975). Of those, or of all where the sample misled, it is found by its
 * bits, the upper half by one histogram and the lower half by another. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "volume/intensity.h"
#include "volume/scan.h"

enum { HALF = 1 << 16, SAMPLE = 8192, WORTH_SAMPLING = 64 * SAMPLE, ROOM_SHARE = 8 };

/* What finding order statistics needs. */
struct finder {
  const float *values;
  size_t count;
  bool nonzero;
  uint64_t *histogram; /* HALF */
  float *between;      /* count / ROOM_SHARE; NULL: there is no sample */
  float sample[SAMPLE];
};

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

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Places that are not in step with rows and slices. */
static void take_sample(struct finder *finder) {
  size_t stride = finder->count / SAMPLE;
  uint32_t number = 1;
  for (size_t n = 0; n < SAMPLE; n++) {
    number = number * 1664525u + 1013904223u;
    finder->sample[n] = finder->values[n * stride + (number >> 8) % stride];
  }
  qsort(finder->sample, SAMPLE, sizeof *finder->sample, compare);
}

/* Element number `rank` of the sorted values and the one after it, which exists if `both`; false
 * when they are not where the sample has them. */
static bool find_by_sample(const struct finder *finder, uint64_t rank, bool both, float *first,
                           float *second) {
  double share = (double)rank / (double)finder->count;
  double middle = share * SAMPLE, margin = 4 * sqrt(middle * (1 - share)) + 4;
  int from = (int)(middle - margin), to = (int)(middle + margin) + 1;
  float low = from < 0 ? -INFINITY : finder->sample[from];
  float high = to >= SAMPLE ? INFINITY : finder->sample[to];
  size_t below, room = finder->count / ROOM_SHARE;
  size_t found =
      scan_between(finder->values, finder->count, low, high, finder->between, room, &below);
  if (rank < below || rank + both >= below + found) return false;
  *first = *second = low + 0.0f;
  if (low == high) return true;
  if (found > room) return false;
  *first = *second = find_rank(finder->between, found, false, rank - below, finder->histogram);
  if (both) *second = find_rank(finder->between, found, false, rank + 1 - below, finder->histogram);
  return true;
}

static void find_ranks(const struct finder *finder, uint64_t rank, bool both, float *first,
                       float *second) {
  if (finder->between && find_by_sample(finder, rank, both, first, second)) return;
  *first = *second =
      find_rank(finder->values, finder->count, finder->nonzero, rank, finder->histogram);
  if (both)
    *second =
        find_rank(finder->values, finder->count, finder->nonzero, rank + 1, finder->histogram);
}

/* look: not all values are known to count. */
static enum status count_used(const float *values, size_t count, bool look, bool nonzero,
                              uint64_t *used) {
  *used = look ? 0 : count;
  for (size_t n = 0; look && n < count; n++) {
    REQUIRE(!isnan(values[n]), STATUS_FAILED, "percentile: expected numbers, found NaN");
    *used += is_counted(values[n], nonzero);
  }
  REQUIRE(*used, STATUS_FAILED, "percentile: expected %s, found none",
          nonzero ? "voxels that are not 0" : "voxels");
  return STATUS_OK;
}

static enum status finder_open(struct finder *finder) {
  finder->histogram = malloc(HALF * sizeof *finder->histogram);
  REQUIRE(finder->histogram, STATUS_FAILED, "percentile: out of memory");
  if (finder->nonzero || finder->count < WORTH_SAMPLING) return STATUS_OK;
  finder->between = malloc(finder->count / ROOM_SHARE * sizeof *finder->between);
  if (finder->between) take_sample(finder);
  return STATUS_OK;
}

enum status percentile_of(const float *values, size_t count, const struct scan *scan,
                          double percent, bool nonzero, double *result) {
  REQUIRE(percent >= 0 && percent <= 100, STATUS_USAGE, "percentile: expected 0 to 100, found %g",
          percent);
  uint64_t used = 0;
  TRY(count_used(values, count, nonzero || scan->nonfinite, nonzero, &used));
  if (!nonzero && (percent == 0 || percent == 100)) {
    *result = (percent == 0 ? scan->low : scan->high) + 0.0f;
    return STATUS_OK;
  }
  struct finder finder = {.values = values, .count = count, .nonzero = nonzero};
  TRY(finder_open(&finder));
  double place = percent / 100 * (double)(used - 1), below = floor(place), weight = place - below;
  float low, high;
  find_ranks(&finder, (uint64_t)below, weight > 0, &low, &high);
  free(finder.histogram);
  free(finder.between);
  double from = low, to = high;
  *result = weight < 0.5 ? from + (to - from) * weight : to - (to - from) * (1 - weight);
  return STATUS_OK;
}

enum status intensity_percentile(const float *values, size_t count, double percent, bool nonzero,
                                 double *result) {
  struct scan scan = scan_values(values, count);
  return percentile_of(values, count, &scan, percent, nonzero, result);
}
