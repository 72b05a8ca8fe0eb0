/* A slice of a validation volume, with the truth and with what the network says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "task/segmentation_measure.h"
#include "task/segmentation_picture.h"

enum { SIDE = 256, GAP = 4 };

struct drawing {
  const struct segmentation_view *view;
  const struct dataset *dataset;
  int subject;
  struct segmentation_box box; /* the subject's own voxels */
  int plane;                   /* of them, along d */
  float *image;
  uint16_t *truth, *predicted;
};

/* The plane along d with the most voxels of any class, and the truth in it. */
static enum status find_plane(struct drawing *drawing) {
  int plane[3];
  TRY(segmentation_truth_fullest(drawing->view, drawing->dataset, drawing->subject, plane));
  drawing->plane = plane[0];
  segmentation_truth_slice(drawing->view, drawing->dataset, drawing->subject, 0, drawing->plane,
                           drawing->truth);
  return STATUS_OK;
}

/* The slab of a window's depth with that plane in it: no more than it is run through the network.
 */
static struct segmentation_box slab_of(const struct drawing *drawing) {
  const int *extent = drawing->dataset->extent;
  int depth = drawing->view->window[0] < extent[0] ? drawing->view->window[0] : extent[0];
  int first = drawing->box.first[0] + drawing->plane - depth / 2;
  if (first > extent[0] - depth) first = extent[0] - depth;
  if (first < 0) first = 0;
  return (struct segmentation_box){{first, 0, 0}, {depth, extent[1], extent[2]}};
}

static enum status predict_slab(const struct drawing *drawing, const struct task_network *network,
                                const struct segmentation_box *slab, float *image,
                                struct segmentation_prediction *prediction) {
  const struct dataset *dataset = drawing->dataset;
  struct segmentation_box box = drawing->box;
  const struct segmentation_planes planes = {.take = segmentation_prediction_take,
                                             .context = prediction};
  box.first[0] += drawing->plane - slab->first[0];
  box.extent[0] = 1;
  segmentation_crop_image(dataset_image(dataset, drawing->subject), drawing->view->stored,
                          dataset->extent, slab, image);
  TRY(segmentation_prediction_open(prediction, drawing->view, slab->extent,
                                   &dataset->subjects[drawing->subject].affine, &box));
  return segmentation_infer(drawing->view, network, image, slab->extent, &planes);
}

/* Only the plane that is drawn is kept of what the network says of the slab. */
static enum status predict_plane(const struct drawing *drawing,
                                 const struct task_network *network) {
  const struct segmentation_box slab = slab_of(drawing);
  struct segmentation_prediction prediction = {0};
  size_t voxels = (size_t)slab.extent[0] * (size_t)slab.extent[1] * (size_t)slab.extent[2];
  float *image = malloc(sizeof(float) * voxels * (size_t)drawing->view->stored);
  REQUIRE(image, STATUS_FAILED, "picture: out of memory");
  enum status status = predict_slab(drawing, network, &slab, image, &prediction);
  if (!status) segmentation_prediction_slice(&prediction, 0, 0, drawing->predicted);
  segmentation_prediction_close(&prediction);
  free(image);
  return status;
}

static enum status draw_plane(struct drawing *drawing, struct task_image *images, int *count) {
  const struct dataset *dataset = drawing->dataset;
  const struct grid grid =
      segmentation_box_grid(&dataset->subjects[drawing->subject].affine, &drawing->box);
  const struct segmentation_slice_view slice = segmentation_slice_plan(&grid, 0, SIDE);
  const uint16_t *const classes[3] = {NULL, drawing->truth, drawing->predicted};
  size_t area = (size_t)drawing->box.extent[1] * (size_t)drawing->box.extent[2];
  double low = INFINITY, high = -INFINITY;
  struct canvas canvas;
  segmentation_slice_image(dataset_image(dataset, drawing->subject), dataset->extent, &drawing->box,
                           0, drawing->plane, drawing->image);
  for (size_t i = 0; i < area; i++) {
    low = fmin(low, drawing->image[i]);
    high = fmax(high, drawing->image[i]);
  }
  TRY(canvas_open(&canvas, 3 * slice.width + 2 * GAP, slice.height));
  for (int panel = 0; panel < 3; panel++)
    segmentation_slice_draw(&canvas, panel * (slice.width + GAP), 0, &slice, drawing->image, low,
                            high, classes[panel]);
  images[(*count)++] = (struct task_image){"segmentation/image, truth, prediction", canvas.width,
                                           canvas.height, 3, canvas.pixels};
  return STATUS_OK;
}

enum status segmentation_draw(struct task_run *run, const struct task_network *network,
                              const void *const *inputs, struct task_image *images, int *count) {
  (void)inputs;
  struct segmentation_view view;
  *count = 0;
  TRY(segmentation_look(run->config, run->dataset.extent, &view));
  struct drawing drawing = {
      .view = &view, .dataset = &run->dataset, .subject = run->subjects[SPLIT_VALIDATION][0]};
  drawing.box = segmentation_own_box(&run->dataset, drawing.subject);
  size_t area = (size_t)drawing.box.extent[1] * (size_t)drawing.box.extent[2];
  drawing.image = malloc(area * sizeof(float));
  drawing.truth = malloc(2 * area * sizeof(uint16_t));
  drawing.predicted = drawing.truth + area;
  enum status status = drawing.image && drawing.truth
                           ? STATUS_OK
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  if (!status) status = find_plane(&drawing);
  if (!status) status = predict_plane(&drawing, network);
  if (!status) status = draw_plane(&drawing, images, count);
  free(drawing.image);
  free(drawing.truth);
  return status;
}
