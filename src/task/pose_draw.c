/* What the network sees of a validation volume, with the true and the estimated pose. */
#include <math.h>
#include <stdio.h>
#include "task/pose.h"
#include "task/pose_picture.h"

enum { SIDE = 160, LINE = 12, MARGIN = 6 };

static void describe(const char *what, const struct pose *pose, char text[96]) {
  snprintf(text, 96, "%-9s R %6.1f %6.1f %6.1f deg  T %6.1f %6.1f %6.1f mm", what,
           pose->rotation[0], pose->rotation[1], pose->rotation[2], pose->translation[0],
           pose->translation[1], pose->translation[2]);
}

static void find_range(const float *values, long long count, double *low, double *high) {
  *low = INFINITY;
  *high = -INFINITY;
  for (long long i = 0; i < count; i++) {
    *low = fmin(*low, values[i]);
    *high = fmax(*high, values[i]);
  }
}

enum status pose_draw(struct task_run *run, const struct task_network *network,
                      const void *const *inputs, struct task_image *images, int *count) {
  (void)inputs;
  static const struct colour ink = {30, 30, 30};
  const struct pose_sample sample =
      pose_sample_of(run, PURPOSE_PREDICTION, SPLIT_VALIDATION, -1, 0);
  const struct pose truth = pose_motion(run, sample.epoch, sample.subject, sample.variant);
  struct pose estimate;
  const void *image, *output;
  char text[96];
  double low, high, centre[3];
  *count = 0;
  TRY(network->output(network->context, "estimate", &output));
  pose_read_estimate(run->config, output, &estimate);
  TRY(network->output(network->context, "image", &image));
  pose_centre(run, sample.subject, centre);
  const struct grid grid = pose_grid(run->config, centre);
  const struct picture_strip strip = picture_strip_plan(&grid, SIDE);
  find_range(image, grid_count(&grid), &low, &high);
  struct canvas canvas;
  TRY(canvas_open(&canvas, strip.width, strip.height + MARGIN + 2 * LINE));
  picture_strip_draw(&canvas, 0, 0, &strip, &grid, image, low, high);
  describe("true", &truth, text);
  canvas_text(&canvas, 0, strip.height + MARGIN, 1, CANVAS_LEFT, false, ink, text);
  describe("predicted", &estimate, text);
  canvas_text(&canvas, 0, strip.height + MARGIN + LINE, 1, CANVAS_LEFT, false, ink, text);
  images[(*count)++] =
      (struct task_image){"pose/image", canvas.width, canvas.height, 3, canvas.pixels};
  return STATUS_OK;
}
