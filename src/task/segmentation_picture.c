/* Drawing slices. */
#include "task/segmentation_picture.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "store/picture.h"
#include "task/segmentation_colours.h"
#include "task/segmentation_truth.h"

enum { SIDE = 300, GAP = 6, TITLE = 16, PANELS = 3 };

struct segmentation_slice_view segmentation_slice_plan(const struct grid *grid, int axis,
                                                       int side) {
  struct segmentation_slice_view view = {.axis = axis, .across = axis == 0 ? 1 : 0};
  int world[3], sign[3];
  double spacing[3];
  affine_get_axes(&grid->affine, world, sign);
  affine_get_spacing(&grid->affine, spacing);
  view.down = 3 - axis - view.across;
  if (world[view.across] > world[view.down]) {
    int other = view.across;
    view.across = view.down;
    view.down = other;
  }
  view.flip_x = sign[view.across] < 0;
  view.flip_y = sign[view.down] > 0;
  double longest = 0;
  const int axes[2] = {view.across, view.down};
  for (int i = 0; i < 2; i++) {
    view.count[i] = grid->extent[axes[i]];
    view.spacing[i] = spacing[axes[i]];
    longest = fmax(longest, view.count[i] * view.spacing[i]);
  }
  view.pixel = longest / side;
  view.width = (int)fmax(1, floor(view.count[0] * view.spacing[0] / view.pixel + 0.5));
  view.height = (int)fmax(1, floor(view.count[1] * view.spacing[1] / view.pixel + 0.5));
  return view;
}

/* Which element of a slice's array a pixel shows. */
static size_t element_of(const struct segmentation_slice_view *view, int x, int y) {
  const int pixel[2] = {view->flip_x ? view->width - 1 - x : x,
                        view->flip_y ? view->height - 1 - y : y};
  int voxel[2];
  for (int i = 0; i < 2; i++) {
    voxel[i] = (int)((pixel[i] + 0.5) * view->pixel / view->spacing[i]);
    if (voxel[i] > view->count[i] - 1) voxel[i] = view->count[i] - 1;
  }
  bool across_first = view->across < view->down;
  return across_first ? (size_t)voxel[0] * (size_t)view->count[1] + (size_t)voxel[1]
                      : (size_t)voxel[1] * (size_t)view->count[0] + (size_t)voxel[0];
}

/* Whether a neighbouring pixel is of another class. */
static bool is_outline(const struct segmentation_slice_view *view, const uint16_t *classes, int x,
                       int y) {
  uint16_t own = classes[element_of(view, x, y)];
  for (int i = 0; i < 4; i++) {
    int u = x + (i == 0) - (i == 1), v = y + (i == 2) - (i == 3);
    if (u < 0 || v < 0 || u >= view->width || v >= view->height) continue;
    if (classes[element_of(view, u, v)] != own) return true;
  }
  return false;
}

void segmentation_slice_draw(struct canvas *canvas, int x, int y,
                             const struct segmentation_slice_view *view, const float *image,
                             double low, double high, const uint16_t *classes) {
  double range = high > low ? high - low : 1;
  for (int v = 0; v < view->height; v++)
    for (int u = 0; u < view->width; u++) {
      size_t element = element_of(view, u, v);
      double gray = fmin(fmax((image[element] - low) / range, 0), 1);
      uint8_t value = (uint8_t)lrint(255 * gray);
      canvas_blend(canvas, x + u, y + v, (struct colour){value, value, value}, 1);
      if (!classes || !classes[element]) continue;
      double share = is_outline(view, classes, u, v) ? 1 : 0.4;
      canvas_blend(canvas, x + u, y + v, segmentation_colour(classes[element]), share);
    }
}

void segmentation_slice_image(const float *image, const int extent[3],
                              const struct segmentation_box *box, int axis, int index,
                              float *slice) {
  int rows = axis == 0 ? 1 : 0, columns = axis == 2 ? 1 : 2, voxel[3];
  voxel[axis] = box->first[axis] + index;
  for (int r = 0; r < box->extent[rows]; r++)
    for (int k = 0; k < box->extent[columns]; k++) {
      voxel[rows] = box->first[rows] + r;
      voxel[columns] = box->first[columns] + k;
      *slice++ =
          image[((size_t)voxel[0] * (size_t)extent[1] + (size_t)voxel[1]) * (size_t)extent[2] +
                (size_t)voxel[2]];
    }
}

/* --- the picture of a subject --- */

struct drawing {
  const struct task_run *run;
  const struct segmentation_view *view;
  int subject;
  const struct segmentation_prediction *prediction;
  struct canvas canvas;
  struct segmentation_slice_view slice[3];
  float *image;      /* of a slice */
  uint16_t *classes; /* the same */
  double low, high;
};

static size_t slice_voxels(const int extent[3], int axis) {
  return (size_t)extent[axis == 0 ? 1 : 0] * (size_t)extent[axis == 2 ? 1 : 2];
}

static void find_range(struct drawing *drawing, size_t count) {
  drawing->low = INFINITY;
  drawing->high = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    drawing->low = fmin(drawing->low, drawing->image[i]);
    drawing->high = fmax(drawing->high, drawing->image[i]);
  }
}

static void draw_row(struct drawing *drawing, int axis, int index, int y) {
  const struct dataset *dataset = &drawing->run->dataset;
  const struct segmentation_slice_view *slice = &drawing->slice[axis];
  segmentation_slice_image(dataset_image(dataset, drawing->subject), dataset->extent,
                           &drawing->prediction->box, axis, index, drawing->image);
  find_range(drawing, slice_voxels(drawing->prediction->grid.extent, axis));
  for (int panel = 0; panel < PANELS; panel++) {
    if (panel == 1)
      segmentation_truth_slice(drawing->view, dataset, drawing->subject, axis, index,
                               drawing->classes);
    if (panel == 2)
      segmentation_prediction_slice(drawing->prediction, axis, index, drawing->classes);
    segmentation_slice_draw(&drawing->canvas, panel * (SIDE + GAP), y, slice, drawing->image,
                            drawing->low, drawing->high, panel ? drawing->classes : NULL);
  }
}

static enum status draw_all(struct drawing *drawing, const char *path) {
  static const char *const titles[PANELS] = {"image", "truth", "prediction"};
  static const struct colour ink = {30, 30, 30};
  const struct grid *grid = &drawing->prediction->grid;
  int height = TITLE, y = TITLE, plane[3];
  TRY(segmentation_truth_fullest(drawing->view, &drawing->run->dataset, drawing->subject, plane));
  for (int axis = 0; axis < 3; axis++) {
    drawing->slice[axis] = segmentation_slice_plan(grid, axis, SIDE);
    height += drawing->slice[axis].height + GAP;
  }
  TRY(canvas_open(&drawing->canvas, PANELS * (SIDE + GAP), height));
  for (int panel = 0; panel < PANELS; panel++)
    canvas_text(&drawing->canvas, panel * (SIDE + GAP), 4, 1, CANVAS_LEFT, false, ink,
                titles[panel]);
  for (int axis = 0; axis < 3; axis++) {
    draw_row(drawing, axis, plane[axis], y);
    y += drawing->slice[axis].height + GAP;
  }
  const struct canvas *canvas = &drawing->canvas;
  return picture_write(path, canvas->width, canvas->height, 3, canvas->pixels);
}

/* Ids may hold anything but '/'. */
static enum status draw_to_file(struct drawing *drawing) {
  const char *directory = drawing->run->config->output.dir;
  TRY(file_make_directory(directory));
  char *path = file_format("%s/segmentation_visualization_%s.png", directory,
                           drawing->run->dataset.subjects[drawing->subject].id);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
  enum status status = draw_all(drawing, path);
  free(path);
  return status;
}

enum status segmentation_write_picture(const struct task_run *run,
                                       const struct segmentation_view *view, int subject,
                                       const struct segmentation_prediction *prediction) {
  struct drawing drawing = {.run = run, .view = view, .subject = subject, .prediction = prediction};
  size_t largest = 0;
  for (int axis = 0; axis < 3; axis++) {
    size_t count = slice_voxels(prediction->grid.extent, axis);
    if (count > largest) largest = count;
  }
  drawing.image = malloc(largest * sizeof(float));
  drawing.classes = malloc(largest * sizeof(uint16_t));
  enum status status =
      drawing.image && drawing.classes
          ? draw_to_file(&drawing)
          : status_fail(STATUS_FAILED, __FILE__, __LINE__, "picture: out of memory");
  canvas_close(&drawing.canvas);
  free(drawing.image);
  free(drawing.classes);
  return status;
}
