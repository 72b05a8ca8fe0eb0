/* Slices of volumes for people. */
#include "task/pose_picture.h"
#include <math.h>

enum { SLICES = 3, GAP = 6 };

/* Axes of a slice: across the page, up the page. */
static const struct { int across, up; } views[SLICES] = {{0, 1}, {0, 2}, {1, 2}};

static double side_of(const struct grid *grid, int axis) {
  double spacing[3];
  affine_get_spacing(&grid->affine, spacing);
  return spacing[axis] * grid->extent[axis];
}

static int pixels_of(const struct grid *grid, int axis, double pixel) {
  return (int)ceil(side_of(grid, axis) / pixel - 1e-9);
}

struct picture_strip picture_strip_plan(const struct grid *grid, int side) {
  double longest = fmax(side_of(grid, 0), fmax(side_of(grid, 1), side_of(grid, 2)));
  struct picture_strip strip = {.pixel = longest / side, .width = -GAP};
  for (int i = 0; i < SLICES; i++) {
    int height = pixels_of(grid, views[i].up, strip.pixel);
    strip.width += pixels_of(grid, views[i].across, strip.pixel) + GAP;
    strip.height = height > strip.height ? height : strip.height;
  }
  return strip;
}

struct slice {
  const struct grid *grid;
  const float *values;
  double low, high;
  int view, width, height;
};

static int voxel_at(const struct slice *slice, int axis, int pixel, int pixels) {
  int extent = slice->grid->extent[axis], voxel = (int)((pixel + 0.5) / pixels * extent);
  return voxel < extent ? voxel : extent - 1;
}

static uint8_t gray_at(const struct slice *slice, int column, int row) {
  const int *extent = slice->grid->extent;
  int voxel[3] = {extent[0] / 2, extent[1] / 2, extent[2] / 2};
  int across = views[slice->view].across, up = views[slice->view].up;
  voxel[across] = voxel_at(slice, across, column, slice->width);
  voxel[up] = extent[up] - 1 - voxel_at(slice, up, row, slice->height);
  double value = slice->values[((int64_t)voxel[0] * extent[1] + voxel[1]) * extent[2] + voxel[2]];
  double share = (value - slice->low) / (slice->high - slice->low);
  return (uint8_t)(fmin(fmax(share, 0), 1) * 255 + 0.5);
}

static void draw_slice(struct canvas *canvas, int x, int y, const struct slice *slice) {
  static const struct colour cross = {90, 160, 255};
  for (int row = 0; row < slice->height; row++)
    for (int column = 0; column < slice->width; column++) {
      uint8_t gray = gray_at(slice, column, row);
      canvas_gray(canvas, x + column, y + row, 1, 1, 1, &gray);
    }
  int middle = x + slice->width / 2, half = y + slice->height / 2;
  canvas_rectangle(canvas, middle, y, middle, y + slice->height - 1, cross, 0.35);
  canvas_rectangle(canvas, x, half, x + slice->width - 1, half, cross, 0.35);
}

void picture_strip_draw(struct canvas *canvas, int x, int y, const struct picture_strip *strip,
                        const struct grid *grid, const float *values, double low, double high) {
  struct slice slice = {.grid = grid, .values = values, .low = low, .high = high};
  if (!(slice.high > slice.low)) slice.high = slice.low + 1;
  for (slice.view = 0; slice.view < SLICES; slice.view++) {
    slice.width = pixels_of(grid, views[slice.view].across, strip->pixel);
    slice.height = pixels_of(grid, views[slice.view].up, strip->pixel);
    draw_slice(canvas, x, y, &slice);
    x += slice.width + GAP;
  }
}
