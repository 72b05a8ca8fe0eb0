/* Label maps: nearest-neighbour warp and Dice. */
#include "metrics/metrics.h"
#include <math.h>

/* The voxel nearest to a place along an axis, -1 outside. */
static int nearest(double place, int extent) {
  if (!(place >= 0 && place <= extent - 1)) return -1;
  return (int)floor(place + 0.5);
}

void metrics_warp_labels(const uint8_t *labels, const float *displacement, const int extent[3],
                         uint8_t *warped) {
  const int rows = extent[1], columns = extent[2];
  const int64_t voxels = (int64_t)extent[0] * rows * columns;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < voxels; p++) {
    int i = nearest((double)(p / columns / rows) + displacement[p], extent[0]);
    int j = nearest((double)(p / columns % rows) + displacement[voxels + p], rows);
    int k = nearest((double)(p % columns) + displacement[2 * voxels + p], columns);
    warped[p] = i < 0 || j < 0 || k < 0 ? 0 : labels[((int64_t)i * rows + j) * columns + k];
  }
}

void metrics_dice(const uint8_t *fixed, const uint8_t *moving, const uint8_t *warped,
                  int64_t voxels, int classes, double *dice) {
  int64_t in_fixed[256] = {0}, in_moving[256] = {0}, in_warped[256] = {0}, in_both[256] = {0};
  for (int64_t p = 0; p < voxels; p++) {
    in_fixed[fixed[p]]++;
    in_moving[moving[p]]++;
    in_warped[warped[p]]++;
    in_both[fixed[p]] += fixed[p] == warped[p];
  }
  for (int c = 0; c < classes; c++) {
    double size = (double)(in_fixed[c] + in_warped[c]);
    dice[c] = in_fixed[c] && in_moving[c] ? 2.0 * (double)in_both[c] / size : NAN;
  }
}
