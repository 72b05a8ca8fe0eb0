/* Where the voxels of a window come from. */
#include <math.h>
#include "task/augment.h"

/* About d, then h, then w, row after row; exactly the identity without a turn. */
static void find_rotation(const double degrees[3], double rotation[3][3]) {
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) rotation[i][j] = i == j;
  for (int axis = 2; axis >= 0; axis--) {
    double s = sin(degrees[axis] * M_PI / 180), c = cos(degrees[axis] * M_PI / 180);
    int a = (axis + 1) % 3, b = (axis + 2) % 3;
    for (int j = 0; j < 3; j++) {
      double above = rotation[a][j], below = rotation[b][j];
      rotation[a][j] = c * above - s * below;
      rotation[b][j] = s * above + c * below;
    }
  }
}

void augment_motion(const struct augment_sample *sample, const int window[3],
                    const double spacing[3], const double centre[3], const int first[3],
                    const int count[3], struct affine_motion *motion) {
  double rotation[3][3];
  *motion = (struct affine_motion){.mean = 0};
  find_rotation(sample->rotation, rotation);
  for (int k = 0; k < 3; k++) {
    double start = centre[k];
    for (int j = 0; j < 3; j++) {
      double along = rotation[k][j] * (spacing[j] / spacing[k]) / sample->scale[j];
      if (sample->flip[j]) along = -along;
      motion->matrix[k][j] = (float)along;
      start -= along * (window[j] - 1) / 2.0;
    }
    motion->matrix[k][3] = (float)start;
    motion->first[k] = (float)first[k];
    motion->count[k] = (float)count[k];
  }
}

/* --- how far it reaches --- */

enum { STEPS = 16 }; /* of each angle's range */

/* The largest angles, degrees. */
static void find_turns(const struct config *config, int dimensions, double turns[3]) {
  const struct real_list *range = &config->augment.rotation;
  bool wanted = range->count > 0 && config->augment.rotation_probability > 0;
  for (int axis = 0; axis < 3; axis++) {
    bool turns_here = wanted && (dimensions == 3 || axis == 0);
    turns[axis] = turns_here ? range->value[range->count == 3 ? axis : 0] : 0;
  }
}

/* How far a box with half sides `half` (mm) reaches along each axis when it is turned by up to
 * `turns`: the most of a grid of angles. A maximum between its points, where slopes are 0, is at
 * most `apart`^2 / 2 of the box's corner further out (`apart`: the angles to the nearest point,
 * summed); and nothing is beyond the corner. */
static void find_reach(const double turns[3], const double half[3], double reach[3]) {
  int steps[3], place[3];
  double corner = sqrt(half[0] * half[0] + half[1] * half[1] + half[2] * half[2]), apart = 0;
  for (int k = 0; k < 3; k++) {
    steps[k] = turns[k] > 0 ? STEPS : 0;
    apart += steps[k] ? turns[k] / STEPS * M_PI / 180 : 0;
    reach[k] = 0;
  }
  for (place[0] = 0; place[0] <= steps[0]; place[0]++)
    for (place[1] = 0; place[1] <= steps[1]; place[1]++)
      for (place[2] = 0; place[2] <= steps[2]; place[2]++) {
        double degrees[3], rotation[3][3];
        for (int k = 0; k < 3; k++)
          degrees[k] = steps[k] ? turns[k] * (2.0 * place[k] / STEPS - 1) : 0;
        find_rotation(degrees, rotation);
        for (int k = 0; k < 3; k++)
          reach[k] =
              fmax(reach[k], fabs(rotation[k][0]) * half[0] + fabs(rotation[k][1]) * half[1] +
                                 fabs(rotation[k][2]) * half[2]);
      }
  for (int k = 0; k < 3; k++) reach[k] = fmin(reach[k] + apart * apart / 2 * corner, corner);
}

static double smallest_scale(const struct config *config) {
  const struct real_list *range = &config->augment.scaling;
  bool wanted = range->count == 2 && config->augment.scaling_probability > 0;
  return wanted ? fmin(range->value[0], 1) : 1;
}

/* Whether anything but flips happens along an axis. */
static bool is_moved(const struct config *config, int dimensions, int axis) {
  double turns[3];
  find_turns(config, dimensions, turns);
  bool turned = turns[(axis + 1) % 3] > 0 || turns[(axis + 2) % 3] > 0;
  bool flat = dimensions == 2 && axis == 0;
  return turned || (!flat && (smallest_scale(config) < 1 || augment_deforms(config)));
}

void augment_source_extent(const struct config *config, const int window[3],
                           const double spacing[3], int dimensions, const int volume[3],
                           int extent[3]) {
  double half[3], reach[3], turns[3];
  double bend = augment_deforms(config) ? 3 * config->augment.elastic_deformation : 0;
  find_turns(config, dimensions, turns);
  for (int k = 0; k < 3; k++) {
    double scale = dimensions == 2 && k == 0 ? 1 : smallest_scale(config);
    half[k] = spacing[k] * (window[k] - 1) / 2.0 / scale;
  }
  find_reach(turns, half, reach);
  for (int k = 0; k < 3; k++) {
    double most = ceil(2 * (reach[k] + bend) / spacing[k] - 1e-9) + 2;
    extent[k] = is_moved(config, dimensions, k) ? (int)fmin(most, volume[k]) : window[k];
    extent[k] = extent[k] < volume[k] ? extent[k] : volume[k];
  }
}

/* --- deformation --- */

void augment_control_extent(const struct config *config, const int window[3], int dimensions,
                            int extent[3]) {
  const struct int_list *spacing = &config->augment.elastic_spacing;
  for (int k = 0; k < 3; k++) {
    double apart = (double)spacing->value[spacing->count == 3 ? k : 0];
    extent[k] = dimensions == 2 && k == 0 ? 1 : (int)fmax(1, round(window[k] / apart));
  }
}

/* Where a cubic B-spline has coefficients that are independent with deviation 1, its own squared
 * deviation is on average 151 / 315 for each axis. */
static double find_gain(const int extent[3]) {
  double gain = 1;
  for (int k = 0; k < 3; k++)
    if (extent[k] > 1) gain *= sqrt(315.0 / 151);
  return gain;
}

void augment_control(const struct config *config, const struct augment_sample *sample,
                     const int window[3], const double spacing[3], int dimensions, float *control) {
  struct random stream = sample->bends;
  int extent[3];
  augment_control_extent(config, window, dimensions, extent);
  int64_t points = (int64_t)extent[0] * extent[1] * extent[2];
  for (int k = 0; k < 3; k++) {
    double size = sample->deformation * find_gain(extent) / spacing[k];
    bool still = sample->deformation <= 0 || (dimensions == 2 && k == 0);
    for (int64_t i = 0; i < points; i++)
      *control++ = still ? 0 : (float)(size * random_normal(&stream));
  }
}
