/* Where the network's voxels are, and where they come from. */
#include <math.h>
#include <string.h>
#include "task/pose.h"

struct grid pose_grid(const struct config *config, const double centre[3]) {
  struct grid grid;
  double half[3], origin[3];
  pose_half_sides(config, half);
  for (int axis = 0; axis < 3; axis++) {
    grid.extent[axis] = (int)config->pose.size.value[axis];
    origin[axis] = centre[axis] - half[axis];
  }
  grid.affine = affine_scaling(config->pose.spacing.value, origin);
  return grid;
}

void pose_half_sides(const struct config *config, double half[3]) {
  for (int axis = 0; axis < 3; axis++)
    half[axis] = config->pose.spacing.value[axis] * (double)(config->pose.size.value[axis] - 1) / 2;
}

double pose_mask_radius(const struct config *config) {
  double half[3];
  pose_half_sides(config, half);
  double shortest = fmin(half[0], fmin(half[1], half[2]));
  double corner = sqrt(half[0] * half[0] + half[1] * half[1] + half[2] * half[2]);
  if (strcmp(config->pose.mask, "none") == 0) return corner;
  return config->pose.mask_radius > 0 ? config->pose.mask_radius : shortest;
}

enum status pose_affine_motion(const struct config *config, const struct pose *pose,
                               const double centre[3], const struct affine *source,
                               const int box_first[3], const int box_count[3],
                               struct affine_motion *motion) {
  const struct grid grid = pose_grid(config, centre);
  *motion = (struct affine_motion){0};
  for (int axis = 0; axis < 3; axis++) {
    motion->first[axis] = (float)box_first[axis];
    motion->count[axis] = (float)box_count[axis];
  }
  return rigid_source_map(pose, centre, source, &grid.affine, motion->matrix);
}

enum { STRIDE = 61 }; /* prime: does not walk along a column of voxels */

void pose_find_noise(const float *source, const int extent[3], const int box_first[3],
                     const int box_count[3], struct affine_motion *motion) {
  int64_t voxels = (int64_t)box_count[0] * box_count[1] * box_count[2], counted = 0;
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < voxels; i += STRIDE, counted++) {
    int64_t plane = i / box_count[2];
    int64_t d = box_first[0] + plane / box_count[1], h = box_first[1] + plane % box_count[1];
    double value = source[(d * extent[1] + h) * extent[2] + box_first[2] + i % box_count[2]];
    sum += value;
    squares += value * value;
  }
  double mean = counted ? sum / (double)counted : 0;
  double variance = counted ? squares / (double)counted - mean * mean : 0;
  motion->mean = (float)mean;
  motion->deviation = (float)sqrt(fmax(variance, 0));
}
