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
  double near;         /* sum of areas within the tolerance */
};

static void plan_cells(const struct metrics_box *box, struct cells *cells) {
  cells->count = 1;
  for (int axis = 0; axis < 3; axis++) {
    cells->low[axis] = box->low[axis];
    cells->extent[axis] = box->high[axis] - box->low[axis] + 2;
    cells->count *= cells->extent[axis];
  }
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
                           const double area[256], double tolerance, struct surfels *surfels) {
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
    if (surfel.distance <= tolerance) surfels->near += surfel.area;
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

static enum status measure(struct cells *cells, const double spacing[3], double tolerance,
                           struct surfels surfels[2], struct metrics_surface *surface) {
  double area[256];
  metrics_surfel_areas(spacing, area);
  for (int side = 0; side < 2; side++) {
    TRY(collect(cells, side, spacing, area, tolerance, &surfels[side]));
    qsort(surfels[side].list, (size_t)surfels[side].count, sizeof(struct surfel), compare);
  }
  surface->hausdorff_95 = fmax(percentile(&surfels[0], 0.95), percentile(&surfels[1], 0.95));
  surface->hausdorff = fmax(percentile(&surfels[0], 2), percentile(&surfels[1], 2));
  double whole = surfels[0].area + surfels[1].area;
  surface->average = (surfels[0].moment + surfels[1].moment) / whole;
  surface->surface_dice = isnan(tolerance) ? NAN : (surfels[0].near + surfels[1].near) / whole;
  return STATUS_OK;
}

enum status metrics_surface_within(const uint8_t *a, const uint8_t *b, int label,
                                   const struct metrics_box *box, const int extent[3],
                                   const double spacing[3], double tolerance,
                                   struct metrics_surface *surface) {
  const uint8_t *const map[2] = {a, b};
  struct cells cells = {0};
  struct surfels surfels[2] = {{0}};
  *surface = (struct metrics_surface){NAN, NAN, NAN, NAN};
  if (label < 0 || label > 255 || metrics_box_is_empty(box)) return STATUS_OK;
  plan_cells(box, &cells);
  enum status status;
  TRY_GOTO(status, close, allocate_cells(&cells));
  for (int side = 0; side < 2; side++)
    mark_cells(&cells, map[side], (uint8_t)label, extent, cells.code[side]);
  TRY_GOTO(status, close, measure(&cells, spacing, tolerance, surfels, surface));
close:
  free(surfels[0].list);
  free(surfels[1].list);
  free(cells.code[0]);
  free(cells.distance);
  return status;
}

enum status metrics_surface_distance(const uint8_t *a, const uint8_t *b, int label,
                                     const int extent[3], const double spacing[3],
                                     struct metrics_surface *surface) {
  struct metrics_box boxes[256];
  for (int c = 0; c < 256; c++) boxes[c] = metrics_box_empty();
  metrics_find_boxes(a, extent, 256, boxes);
  metrics_find_boxes(b, extent, 256, boxes);
  const struct metrics_box none = metrics_box_empty();
  const struct metrics_box *box = label < 0 || label > 255 ? &none : &boxes[label];
  return metrics_surface_within(a, b, label, box, extent, spacing, NAN, surface);
}
