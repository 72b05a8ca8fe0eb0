/* Slices of a registered pair for the event file: moving, fixed and warped image, what differs
 * before and after, and the warped image under the deformed grid. Slices are at the middle of the
 * first axis (sagittal in RAS), seen with the last axis up. */
#include <math.h>
#include <stdlib.h>
#include "task/registration.h"

enum { GRID_SPACING = 4 }; /* voxels between grid lines */

/* The middle slice: row r shows last-axis voxel w-1-r, column c shows second-axis voxel c. */
struct slice {
  int width, height;
  size_t first; /* voxel number of (middle, 0, 0) */
};

static struct slice slice_of(const int extent[3]) {
  return (struct slice){extent[1], extent[2],
                        (size_t)(extent[0] / 2) * (size_t)extent[1] * (size_t)extent[2]};
}

static size_t voxel_at(const struct slice *slice, int row, int column) {
  return slice->first + (size_t)column * (size_t)slice->height + (size_t)(slice->height - 1 - row);
}

static unsigned char to_byte(double share) {
  return (unsigned char)(share <= 0 ? 0 : share >= 1 ? 255 : share * 255 + 0.5);
}

/* The range that is drawn: that of the fixed image's slice. */
struct range {
  double low, high;
};

static struct range range_of(const struct slice *slice, const float *image) {
  struct range range = {INFINITY, -INFINITY};
  for (int row = 0; row < slice->height; row++)
    for (int column = 0; column < slice->width; column++) {
      double value = image[voxel_at(slice, row, column)];
      range.low = fmin(range.low, value);
      range.high = fmax(range.high, value);
    }
  if (!(range.high > range.low)) range.high = range.low + 1;
  return range;
}

static double shade(const struct range *range, double value) {
  return (value - range->low) / (range->high - range->low);
}

static enum status new_image(struct task_image *image, const char *tag, const struct slice *slice,
                             int channels) {
  *image = (struct task_image){tag, slice->width, slice->height, channels, NULL};
  image->pixels = malloc((size_t)slice->width * (size_t)slice->height * (size_t)channels);
  REQUIRE(image->pixels, STATUS_FAILED, "pictures: out of memory");
  return STATUS_OK;
}

static enum status draw_gray(struct task_image *image, const char *tag, const struct slice *slice,
                             const struct range *range, const float *values) {
  TRY(new_image(image, tag, slice, 1));
  for (int row = 0; row < slice->height; row++)
    for (int column = 0; column < slice->width; column++)
      image->pixels[row * slice->width + column] =
          to_byte(shade(range, values[voxel_at(slice, row, column)]));
  return STATUS_OK;
}

/* Red where only the first image is bright, cyan where only the second is, gray where both agree.
 */
static enum status draw_both(struct task_image *image, const char *tag, const struct slice *slice,
                             const struct range *range, const float *first, const float *second) {
  TRY(new_image(image, tag, slice, 3));
  unsigned char *pixel = image->pixels;
  for (int row = 0; row < slice->height; row++)
    for (int column = 0; column < slice->width; column++, pixel += 3) {
      size_t voxel = voxel_at(slice, row, column);
      pixel[0] = to_byte(shade(range, first[voxel]));
      pixel[1] = pixel[2] = to_byte(shade(range, second[voxel]));
    }
  return STATUS_OK;
}

static bool on_line(double coordinate) {
  double offset = fmod(coordinate, GRID_SPACING);
  return fabs(offset) < 0.5 || fabs(offset) > GRID_SPACING - 0.5;
}

/* Green lines where the moving image's own grid has gone. */
static enum status draw_grid(struct task_image *image, const struct slice *slice,
                             const struct range *range, const float *warped,
                             const float *displacement, size_t voxels) {
  TRY(new_image(image, "pair/grid", slice, 3));
  unsigned char *pixel = image->pixels;
  for (int row = 0; row < slice->height; row++)
    for (int column = 0; column < slice->width; column++, pixel += 3) {
      size_t voxel = voxel_at(slice, row, column);
      bool line = on_line(column + displacement[voxels + voxel]) ||
                  on_line(slice->height - 1 - row + displacement[2 * voxels + voxel]);
      unsigned char gray = to_byte(shade(range, warped[voxel]));
      pixel[0] = pixel[2] = line ? gray / 2 : gray;
      pixel[1] = line ? 230 : gray;
    }
  return STATUS_OK;
}

static enum status draw_all(const int extent[3], const float *moving, const float *fixed,
                            const float *warped, const float *displacement,
                            struct task_image *images, int *count) {
  struct slice slice = slice_of(extent);
  struct range range = range_of(&slice, fixed);
  size_t voxels = (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
  TRY(draw_gray(&images[(*count)++], "pair/moving", &slice, &range, moving));
  TRY(draw_gray(&images[(*count)++], "pair/fixed", &slice, &range, fixed));
  TRY(draw_gray(&images[(*count)++], "pair/warped", &slice, &range, warped));
  TRY(draw_both(&images[(*count)++], "pair/before", &slice, &range, moving, fixed));
  TRY(draw_both(&images[(*count)++], "pair/after", &slice, &range, warped, fixed));
  return draw_grid(&images[(*count)++], &slice, &range, warped, displacement, voxels);
}

enum status registration_draw(struct task_run *run, const struct task_network *network,
                              const void *const *inputs, struct task_image *images, int *count) {
  const void *displacement, *warped;
  *count = 0;
  TRY(network->output(network->context, "displacement", &displacement));
  TRY(network->output(network->context, "warped", &warped));
  return draw_all(run->dataset.extent, inputs[INPUT_MOVING], inputs[INPUT_FIXED], warped,
                  displacement, images, count);
}
