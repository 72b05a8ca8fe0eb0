/* Slices with truth and prediction in colours (internal to the task). */
#pragma once
#include "task/segmentation_prediction.h"
#include "store/canvas.h"

/* A slice of a grid as it is shown: right on the right, anterior and superior up (or to the right,
 * where two of them would be up), in pixels of one size. Arrays of a slice have the grid's other
 * two axes in order. */
struct segmentation_slice_view {
  int axis;                 /* which the slice is across */
  int across, down;         /* the grid's axes along the picture's */
  bool flip_x, flip_y;      /* against the grid's direction */
  int count[2];             /* voxels across and down */
  double spacing[2], pixel; /* mm: of voxels across and down, of a pixel */
  int width, height;
};

/* With the longer side of the slice over `side` pixels. */
struct segmentation_slice_view segmentation_slice_plan(const struct grid *grid, int axis, int side);

/* Draws a slice: gray values from `low` to `high`, and over them the colours of classes, outlined
 * (NULL: none). */
void segmentation_slice_draw(struct canvas *canvas, int x, int y,
                             const struct segmentation_slice_view *view, const float *image,
                             double low, double high, const uint16_t *classes);

/* The plane `index` of a box across an axis, out of an image [d][h][w] of `extent`. */
void segmentation_slice_image(const float *image, const int extent[3],
                              const struct segmentation_box *box, int axis, int index,
                              float *slice);

/* Writes segmentation_visualization_SUBJECT.png into output.dir: three slices through the most of
 * the truth, each plain, with the truth, and with the prediction, on the prepared grid. */
CHECKED enum status segmentation_write_picture(const struct task_run *run,
                                               const struct segmentation_view *view, int subject,
                                               const struct segmentation_prediction *prediction);
