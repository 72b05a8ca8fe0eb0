/* Rows that are contiguous in the source are copied whole; others in tiles, so that cache lines are
 * used up on both sides. */
#include "volume/resample_exact.h"
#include <stddef.h>
#include <string.h>

enum { TILE = 16 };

/* Target voxel (i, j, k) is source value first + i * step[0] + j * step[1] + k * step[2], where
 * from[b] <= its index on axis b < to[b]; outside elsewhere. */
struct walk {
  ptrdiff_t first, step[3];
  int from[3], to[3];
};

static int clamp(long long value, int most) {
  return value < 0 ? 0 : value > most ? most : (int)value;
}

/* Target axis b runs along source axis a, or along none if it has one voxel. */
static bool plan_axis(const struct exact *exact, int b, bool taken[3], struct walk *walk) {
  const ptrdiff_t stride[3] = {(ptrdiff_t)exact->source[1] * exact->source[2], exact->source[2], 1};
  walk->from[b] = 0;
  walk->to[b] = exact->target[b];
  if (exact->target[b] == 1) return true;
  for (int a = 0; a < 3; a++) {
    long long direction = (long long)exact->map.m[a][b], offset = (long long)exact->map.m[a][3];
    if (direction == 0) continue;
    if (taken[a] || (direction != 1 && direction != -1)) return false;
    taken[a] = true;
    walk->step[b] = (ptrdiff_t)direction * stride[a];
    long long low = direction > 0 ? -offset : offset - (exact->source[a] - 1);
    long long high = direction > 0 ? exact->source[a] - offset : offset + 1;
    walk->from[b] = clamp(low, exact->target[b]);
    walk->to[b] = clamp(high, exact->target[b]);
  }
  return walk->step[b] != 0;
}

static bool plan(const struct exact *exact, struct walk *walk) {
  const ptrdiff_t stride[3] = {(ptrdiff_t)exact->source[1] * exact->source[2], exact->source[2], 1};
  bool taken[3] = {false};
  *walk = (struct walk){0};
  for (int b = 0; b < 3; b++)
    if (!plan_axis(exact, b, taken, walk)) return false;
  for (int a = 0; a < 3; a++) {
    double offset = exact->map.m[a][3];
    if (!(offset > -1e9 && offset < 1e9)) return false;
    walk->first += (ptrdiff_t)offset * stride[a];
    if (!taken[a] && (offset < 0 || offset >= exact->source[a])) walk->to[0] = 0; /* all outside */
  }
  for (int b = 0; b < 3; b++)
    if (walk->from[b] >= walk->to[b]) memset(walk->to, 0, sizeof walk->to);
  return true;
}

static void fill(float *row, int from, int to, float value) {
  for (int k = from; k < to; k++) row[k] = value;
}

static void copy_row(const struct walk *walk, const float *from, float *row) {
  if (walk->step[2] == 1)
    memcpy(row + walk->from[2], from + walk->from[2],
           (size_t)(walk->to[2] - walk->from[2]) * sizeof *row);
  else
    for (int k = walk->from[2]; k < walk->to[2]; k++) row[k] = from[k * walk->step[2]];
}

static bool is_inside(const struct walk *walk, int axis, int index) {
  return index >= walk->from[axis] && index < walk->to[axis];
}

static void copy_rows(const struct exact *exact, const struct walk *walk, int i, float *result) {
  const int *extent = exact->target;
  for (int j = 0; j < extent[1]; j++) {
    float *row = result + ((ptrdiff_t)i * extent[1] + j) * extent[2];
    if (!is_inside(walk, 0, i) || !is_inside(walk, 1, j)) {
      fill(row, 0, extent[2], exact->fill);
      continue;
    }
    fill(row, 0, walk->from[2], exact->fill);
    copy_row(walk, exact->values + walk->first + i * walk->step[0] + j * walk->step[1], row);
    fill(row, walk->to[2], extent[2], exact->fill);
  }
}

/* Where the source's neighbours are neighbours along target axis `across`, which is not the last:
 * the voxels inside, of one index `other` of the third axis. */
static void copy_tiles(const struct exact *exact, const struct walk *walk, int across, int other,
                       float *result) {
  const int *extent = exact->target, third = 1 - across;
  const ptrdiff_t stride[2] = {(ptrdiff_t)extent[1] * extent[2], extent[2]};
  const float *from = exact->values + walk->first + other * walk->step[third];
  float *to = result + other * stride[third];
  for (int n = walk->from[across]; n < walk->to[across]; n += TILE)
    for (int k = walk->from[2]; k < walk->to[2]; k += TILE)
      for (int row = n; row < n + TILE && row < walk->to[across]; row++)
        for (int c = k; c < k + TILE && c < walk->to[2]; c++)
          to[row * stride[across] + c] = from[row * walk->step[across] + c * walk->step[2]];
}

static bool is_unit(ptrdiff_t step) {
  return step == 1 || step == -1;
}

bool resample_exact(const struct exact *exact, float *result) {
  struct walk walk;
  if (!plan(exact, &walk)) return false;
  int across = is_unit(walk.step[2])   ? -1
               : is_unit(walk.step[0]) ? 0
               : is_unit(walk.step[1]) ? 1
                                       : -1;
  struct walk nothing = walk;
  if (across >= 0) memset(nothing.to, 0, sizeof nothing.to);
  bool padded = memcmp(walk.to, exact->target, sizeof walk.to) != 0 || walk.from[0] ||
                walk.from[1] || walk.from[2];
  if (across < 0 || padded) {
#pragma omp parallel for schedule(static)
    for (int i = 0; i < exact->target[0]; i++) copy_rows(exact, &nothing, i, result);
  }
  if (across < 0) return true;
  int third = 1 - across;
#pragma omp parallel for schedule(static)
  for (int other = walk.from[third]; other < walk.to[third]; other++)
    copy_tiles(exact, &walk, across, other, result);
  return true;
}
