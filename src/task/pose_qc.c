/* The figure that shows at a glance whether a volume lies where it should. */
#include <math.h>
#include <stdlib.h>
#include "base/file.h"
#include "store/picture.h"
#include "task/pose_files.h"
#include "task/pose_picture.h"
#include "volume/resample.h"

enum { SIDE = 240, MARGIN = 14, LINE = 20, FRAME = 6 };

static const struct colour ink = {40, 40, 40}, red = {200, 30, 30}, green = {30, 140, 60};

/* The volume on the network's grid as a motion sees it: moved by the inverse of `motion`. */
static enum status view(const struct volume *image, const struct grid *grid,
                        const struct affine *motion, struct volume *seen) {
  const struct resample_options options = {.method = RESAMPLE_LINEAR, .border = RESAMPLE_CLAMP};
  struct grid moved = *grid;
  moved.affine = affine_compose(motion, &grid->affine);
  return volume_resample(image, &moved, &options, seen);
}

static void find_range(const struct volume *image, double *low, double *high) {
  size_t count = volume_count(image);
  *low = INFINITY;
  *high = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    *low = fmin(*low, image->values[i]);
    *high = fmax(*high, image->values[i]);
  }
}

struct page {
  struct canvas canvas;
  struct grid grid;
  struct picture_strip strip;
  double low, high;
  int y;
};

static void write_line(struct page *page, struct colour colour, const char *text) {
  canvas_text(&page->canvas, MARGIN, page->y, 2, CANVAS_LEFT, false, colour, text);
  page->y += LINE;
}

static enum status show(struct page *page, const struct volume *image, const struct affine *motion,
                        const char *title) {
  struct volume seen;
  TRY(view(image, &page->grid, motion, &seen));
  write_line(page, ink, title);
  picture_strip_draw(&page->canvas, MARGIN, page->y, &page->strip, &page->grid, seen.values,
                     page->low, page->high);
  page->y += page->strip.height + MARGIN;
  volume_close(&seen);
  return STATUS_OK;
}

static void draw_frame(struct canvas *canvas) {
  int right = canvas->width - 1, bottom = canvas->height - 1;
  canvas_rectangle(canvas, 0, 0, right, FRAME - 1, red, 1);
  canvas_rectangle(canvas, 0, bottom - FRAME + 1, right, bottom, red, 1);
  canvas_rectangle(canvas, 0, 0, FRAME - 1, bottom, red, 1);
  canvas_rectangle(canvas, right - FRAME + 1, 0, right, bottom, red, 1);
}

static enum status draw(struct page *page, const struct pose_finding *finding,
                        const struct volume *image) {
  const struct affine still = affine_identity();
  const struct affine motion = rigid_affine(&finding->pose, finding->centre);
  const double *r = finding->pose.rotation, *t = finding->pose.translation;
  char text[160];
  page->y = MARGIN;
  write_line(page, ink, finding->name);
  snprintf(text, sizeof text, "%s: %.1f degrees, %.1f mm",
           finding->flagged ? "MISALIGNED" : "within the limits", finding->angle,
           finding->distance);
  write_line(page, finding->flagged ? red : green, text);
  snprintf(text, sizeof text, "R %.1f %.1f %.1f  T %.1f %.1f %.1f", r[0], r[1], r[2], t[0], t[1],
           t[2]);
  write_line(page, ink, text);
  TRY(show(page, image, &still, "as it is"));
  TRY(show(page, image, &motion, "moved back"));
  if (finding->flagged) draw_frame(&page->canvas);
  return STATUS_OK;
}

static enum status draw_and_write(struct page *page, const struct pose_finding *finding,
                                  const struct volume *image) {
  char *path = file_format("%s/%s_qc.png", finding->directory, finding->name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", finding->directory);
  enum status status = draw(page, finding, image);
  if (!status)
    status = picture_write(path, page->canvas.width, page->canvas.height, 3, page->canvas.pixels);
  free(path);
  return status;
}

enum status pose_write_figure(const struct config *config, const struct pose_finding *finding,
                              const struct volume *image) {
  struct page page = {.grid = pose_grid(config, finding->centre)};
  page.strip = picture_strip_plan(&page.grid, SIDE);
  find_range(image, &page.low, &page.high);
  int height = 3 * MARGIN + 5 * LINE + 2 * page.strip.height + MARGIN;
  TRY(canvas_open(&page.canvas, page.strip.width + 2 * MARGIN, height));
  enum status status = draw_and_write(&page, finding, image);
  canvas_close(&page.canvas);
  return status;
}
