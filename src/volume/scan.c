/* Vectors of 16, whatever the processor's are: compilers cut them. */
#include "volume/scan.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "volume/vector.h"
#include "volume/volume.h"

enum { LANES = 16, GROUP = 4, BLOCK = 1 << 20 };
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

#define WHOLE_LIMIT 16777216.0f /* 2^24 */

/* Counts in 32 bits: at most BLOCK values, whole vectors. */
VECTOR_LOOP static void scan_block(const float *values, size_t count, struct scan *scan) {
  floats low = scan->low - (floats){0}, high = scan->high - (floats){0};
  ints bad = {0};
  for (size_t n = 0; n < count; n += LANES) {
    floats value;
    memcpy(&value, values + n, sizeof value);
    ints less = value<low, more = value> high;
    low = (floats)(((ints)value & less) | ((ints)low & ~less));
    high = (floats)(((ints)value & more) | ((ints)high & ~more));
    bad -= ((ints)value & 0x7f800000) == 0x7f800000;
  }
  for (int lane = 0; lane < LANES; lane++) {
    if (low[lane] < scan->low) scan->low = low[lane];
    if (high[lane] > scan->high) scan->high = high[lane];
    scan->nonfinite += (size_t)bad[lane];
  }
}

struct scan scan_values(const float *values, size_t count) {
  struct scan scan = {.low = INFINITY, .high = -INFINITY};
  size_t whole = count / LANES * LANES;
  for (size_t n = 0; n < whole; n += BLOCK)
    scan_block(values + n, whole - n < BLOCK ? whole - n : BLOCK, &scan);
  for (size_t n = whole; n < count; n++) {
    if (values[n] < scan.low) scan.low = values[n];
    if (values[n] > scan.high) scan.high = values[n];
    scan.nonfinite += !isfinite(values[n]);
  }
  return scan;
}

void volume_find_range(const float *values, size_t count, float range[2]) {
  struct scan scan = scan_values(values, count);
  range[0] = scan.low;
  range[1] = scan.high;
}

VECTOR_LOOP static bool is_whole_block(const float *values, size_t count) {
  int others = 0;
  for (size_t n = 0; n < count; n++) {
    float value = values[n];
    bool small = fabsf(value) < WHOLE_LIMIT;
    float guarded = small ? value : 0.5f; /* what an int can hold */
    others |= (float)(int32_t)guarded != value;
  }
  return !others;
}

bool scan_is_whole(const float *values, size_t count) {
  return is_whole_block(values, count);
}

/* As scan_between, for whole groups of vectors. */
VECTOR_LOOP static size_t between_block(const float *values, size_t count, float from, float to,
                                        float *between, size_t room, size_t *below) {
  floats low = from - (floats){0}, high = to - (floats){0};
  ints less = {0};
  size_t found = 0;
  for (size_t n = 0; n < count; n += GROUP * LANES) {
    ints inside[GROUP], some = {0};
    for (int g = 0; g < GROUP; g++) {
      floats value;
      memcpy(&value, values + n + (size_t)g * LANES, sizeof value);
      inside[g] = ~(value < low) & (value <= high);
      some |= inside[g];
      less -= value < low;
    }
    int32_t is_inside[GROUP * LANES];
    int64_t pairs[LANES / 2], any = 0;
    memcpy(pairs, &some, sizeof pairs);
    for (int pair = 0; pair < LANES / 2; pair++) any |= pairs[pair];
    if (!any) continue;
    memcpy(is_inside, inside, sizeof is_inside);
    for (size_t i = 0; i < GROUP * LANES; i++) {
      if (is_inside[i] && found < room) between[found] = values[n + i];
      found -= (size_t)(int64_t)is_inside[i];
    }
  }
  for (int lane = 0; lane < LANES; lane++) *below += (size_t)less[lane];
  return found;
}

size_t scan_between(const float *values, size_t count, float low, float high, float *between,
                    size_t room, size_t *below) {
  size_t found = 0, whole = count / (GROUP * LANES) * (GROUP * LANES);
  *below = 0;
  for (size_t n = 0; n < whole; n += BLOCK) {
    size_t used = found < room ? found : room;
    found += between_block(values + n, whole - n < BLOCK ? whole - n : BLOCK, low, high,
                           between + used, room - used, below);
  }
  for (size_t n = whole; n < count; n++) {
    bool inside = values[n] >= low && values[n] <= high;
    if (inside && found < room) between[found] = values[n];
    found += inside;
    *below += values[n] < low;
  }
  return found;
}
