/* Distances between surfaces: cells of 2x2x2 voxels, their distance to the other surface,
 * percentiles by area. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/distance.h"
#include "metrics/metrics.h"
#include "metrics/surfel.h"

/* The cells around the bounding box of a label in two maps: cell i lies between voxels i - 1 and i
 * of the box, so that there is one more of them than voxels along each axis. */
struct cells {
  int low[3], extent[3]; /* the box's first voxel; number of cells */
  int64_t count;
  uint8_t *code[2]; /* which corners are inside (surfel.h), for each map */
  double *distance; /* squared, to the surface of one map */
};

struct surfel {
  double distance, area;
};

struct surfels {
  struct surfel *list;
  int64_t count;
  double area, moment; /* sum of areas, of areas times distances */
};

static bool find_box(const uint8_t *const map[2], uint8_t label, const int extent[3],
                     struct cells *cells) {
  int low[3] = {extent[0], extent[1], extent[2]}, high[3] = {-1, -1, -1};
  int64_t p = 0;
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++, p++) {
        if (map[0][p] != label && map[1][p] != label) continue;
        const int index[3] = {i, j, k};
        for (int axis = 0; axis < 3; axis++) {
          if (index[axis] < low[axis]) low[axis] = index[axis];
          if (index[axis] > high[axis]) high[axis] = index[axis];
        }
      }
  cells->count = 1;
  for (int axis = 0; axis < 3; axis++) {
    cells->low[axis] = low[axis];
    cells->extent[axis] = high[axis] - low[axis] + 2;
    cells->count *= cells->extent[axis];
  }
  return high[0] >= 0;
}

static enum status allocate_cells(struct cells *cells) {
  size_t count = (size_t)cells->count;
  cells->code[0] = calloc(2, count);
  cells->distance = malloc(count * sizeof(double));
  REQUIRE(cells->code[0] && cells->distance, STATUS_FAILED, "out of memory for %zu surface cells",
          count);
  cells->code[1] = cells->code[0] + count;
  return STATUS_OK;
}

/* A voxel is corner (1,1,1) of its own cell, and corner 1 - o of the cell o further along each
 * axis. */
static void mark_voxel(const struct cells *cells, uint8_t *code, int i, int j, int k) {
  for (int corner = 0; corner < 8; corner++) {
    int di = !(corner & 4), dj = !(corner & 2), dk = !(corner & 1);
    int64_t cell = ((int64_t)(i + di) * cells->extent[1] + j + dj) * cells->extent[2] + k + dk;
    code[cell] |= (uint8_t)(1 << corner);
  }
}

static void mark_cells(const struct cells *cells, const uint8_t *map, uint8_t label,
                       const int extent[3], uint8_t *code) {
  for (int i = 0; i < cells->extent[0] - 1; i++)
    for (int j = 0; j < cells->extent[1] - 1; j++) {
      const uint8_t *row =
          map + ((int64_t)(cells->low[0] + i) * extent[1] + cells->low[1] + j) * extent[2] +
          cells->low[2];
      for (int k = 0; k < cells->extent[2] - 1; k++)
        if (row[k] == label) mark_voxel(cells, code, i, j, k);
    }
}

static bool is_surface(uint8_t code) {
  return code != 0 && code != 255;
}

/* The surfels of one map with their distance to the other map's surface. */
static enum status collect(struct cells *cells, int from, const double spacing[3],
                           const double area[256], struct surfels *surfels) {
  const uint8_t *own = cells->code[from], *other = cells->code[1 - from];
  for (int64_t c = 0; c < cells->count; c++) {
    cells->distance[c] = is_surface(other[c]) ? 0 : INFINITY;
    surfels->count += is_surface(own[c]);
  }
  TRY(metrics_distance_transform(cells->distance, cells->extent, spacing));
  surfels->list = malloc((size_t)(surfels->count + 1) * sizeof *surfels->list);
  REQUIRE(surfels->list, STATUS_FAILED, "out of memory for %lld surfels",
          (long long)surfels->count);
  int64_t n = 0;
  for (int64_t c = 0; c < cells->count; c++) {
    if (!is_surface(own[c])) continue;
    struct surfel surfel = {sqrt(cells->distance[c]), area[own[c]]};
    surfels->area += surfel.area;
    surfels->moment += surfel.area * surfel.distance;
    surfels->list[n++] = surfel;
  }
  return STATUS_OK;
}

static int compare(const void *left, const void *right) {
  const struct surfel *a = left, *b = right;
  if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
  return (a->area > b->area) - (a->area < b->area);
}

/* The first distance at which the share of the area reaches `share`; the list is sorted. */
static double percentile(const struct surfels *surfels, double share) {
  if (!surfels->count) return INFINITY;
  double sum = 0;
  for (int64_t s = 0; s < surfels->count - 1; s++) {
    sum += surfels->list[s].area;
    if (sum / surfels->area >= share) return surfels->list[s].distance;
  }
  return surfels->list[surfels->count - 1].distance;
}

static enum status measure(struct cells *cells, const double spacing[3], struct surfels surfels[2],
                           struct metrics_surface *surface) {
  double area[256];
  metrics_surfel_areas(spacing, area);
  for (int side = 0; side < 2; side++) {
    TRY(collect(cells, side, spacing, area, &surfels[side]));
    qsort(surfels[side].list, (size_t)surfels[side].count, sizeof(struct surfel), compare);
  }
  surface->hausdorff_95 = fmax(percentile(&surfels[0], 0.95), percentile(&surfels[1], 0.95));
  surface->hausdorff = fmax(percentile(&surfels[0], 2), percentile(&surfels[1], 2));
  surface->average = (surfels[0].moment + surfels[1].moment) / (surfels[0].area + surfels[1].area);
  return STATUS_OK;
}

enum status metrics_surface_distance(const uint8_t *a, const uint8_t *b, int label,
                                     const int extent[3], const double spacing[3],
                                     struct metrics_surface *surface) {
  const uint8_t *const map[2] = {a, b};
  struct cells cells = {0};
  struct surfels surfels[2] = {{0}};
  *surface = (struct metrics_surface){NAN, NAN, NAN};
  if (label < 0 || label > 255 || !find_box(map, (uint8_t)label, extent, &cells)) return STATUS_OK;
  enum status status;
  TRY_GOTO(status, close, allocate_cells(&cells));
  for (int side = 0; side < 2; side++)
    mark_cells(&cells, map[side], (uint8_t)label, extent, cells.code[side]);
  TRY_GOTO(status, close, measure(&cells, spacing, surfels, surface));
close:
  free(surfels[0].list);
  free(surfels[1].list);
  free(cells.code[0]);
  free(cells.distance);
  return status;
}
