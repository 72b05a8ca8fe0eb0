/* nifticlib turns NaN into 0 without a word; here it is counted, said, and done as asked. */
#include "volume/clean.h"
#include <math.h>
#include <stdint.h>
#include "volume/scan.h"

#define LABEL_TOLERANCE 1e-3f
#define LABEL_LIMIT 16777216.0f /* 2^24: from here on float32 skips integers */

struct place {
  int channel, i, j, k;
};

static struct place find_place(const struct volume *volume, size_t index) {
  size_t count = volume_count(volume), inside = index % count;
  size_t plane = (size_t)volume->extent[1] * (size_t)volume->extent[2];
  size_t row = (size_t)volume->extent[2];
  return (struct place){.channel = (int)(index / count),
                        .i = (int)(inside / plane),
                        .j = (int)(inside % plane / row),
                        .k = (int)(inside % row)};
}

static float mean_of_finite(const float *values, size_t count) {
  double sum = 0;
  size_t finite = 0;
  for (size_t n = 0; n < count; n++)
    if (isfinite(values[n])) {
      sum += values[n];
      finite++;
    }
  return finite ? (float)(sum / (double)finite) : 0;
}

static void replace_nonfinite(struct volume *volume, enum volume_nonfinite policy) {
  size_t count = volume_count(volume);
  for (int c = 0; c < volume->channels; c++) {
    float *values = volume->values + (size_t)c * count;
    float value = policy == NONFINITE_MEAN ? mean_of_finite(values, count) : 0;
    for (size_t n = 0; n < count; n++)
      if (!isfinite(values[n])) values[n] = value;
  }
}

static enum status clean_nonfinite(struct volume *volume, enum volume_nonfinite policy) {
  static const char *const done[] = {[NONFINITE_ERROR] = "refused",
                                     [NONFINITE_ZERO] = "set to 0",
                                     [NONFINITE_MEAN] = "set to the mean",
                                     [NONFINITE_KEEP] = "kept"};
  size_t count = volume_count(volume) * (size_t)volume->channels, bad = 0, first = 0;
  bad = scan_values(volume->values, count).nonfinite;
  if (!bad) return STATUS_OK;
  while (isfinite(volume->values[first])) first++;
  struct place place = find_place(volume, first);
  REQUIRE(policy != NONFINITE_ERROR, STATUS_FAILED,
          "%s: voxels: expected finite numbers, found %zu NaN or infinite of %zu (first at %d, %d, "
          "%d)",
          volume->source, bad, count, place.i, place.j, place.k);
  if (policy != NONFINITE_KEEP) replace_nonfinite(volume, policy);
  volume_warn(volume, "voxels: %zu of %zu are NaN or infinite, %s (first at %d, %d, %d)", bad,
              count, done[policy], place.i, place.j, place.k);
  return STATUS_OK;
}

static enum status round_labels(struct volume *volume) {
  size_t count = volume_count(volume) * (size_t)volume->channels;
  bool whole = scan_is_whole(volume->values, count);
  for (size_t n = 0; n < count && !whole; n++) {
    float found = volume->values[n], label = rintf(found);
    if (fabsf(found - label) <= LABEL_TOLERANCE && fabsf(label) < LABEL_LIMIT) {
      volume->values[n] = label + 0.0f; /* no negative zero */
      continue;
    }
    struct place place = find_place(volume, n);
    FAIL(STATUS_FAILED,
         "%s: voxel %d, %d, %d: expected a label (a whole number below 2^24), found %.9g",
         volume->source, place.i, place.j, place.k, found);
  }
  volume->is_integer = true;
  return STATUS_OK;
}

enum status volume_clean(struct volume *volume, const struct volume_policy *policy) {
  TRY(clean_nonfinite(volume, policy->nonfinite));
  if (policy->labels) TRY(round_labels(volume));
  return STATUS_OK;
}
