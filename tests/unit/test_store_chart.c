/* Charts: bins, where data lands on the page, and text. */
#include <png.h>
#include "base/file.h"
#include "check.h"
#include "store/chart.h"
#include "store/font.h"

TEST(values_are_counted_in_bins) {
  static const double values[] = {-1, 0, 0.5, 1.999, 2, 3.5, 9, NAN};
  double middles[4], counts[4];
  CHECK_NEAR(chart_count(values, 8, 0, 4, 4, middles, counts), 1, 0);
  static const double expected[] = {3, 1, 1, 2};
  for (int i = 0; i < 4; i++) {
    CHECK_NEAR(middles[i], i + 0.5, 1e-15);
    CHECK(counts[i] == expected[i]);
  }
}

static bool is_white(const struct canvas *canvas, int x, int y) {
  const uint8_t *pixel = canvas->pixels + 3 * (y * canvas->width + x);
  return pixel[0] == 255 && pixel[1] == 255 && pixel[2] == 255;
}

TEST(text_stands_where_its_anchor_says) {
  struct canvas canvas;
  CHECK_OK(canvas_open(&canvas, 60, 30));
  CHECK(canvas_text_width(2, "II") == 22);
  canvas_text(&canvas, 50, 4, 2, CANVAS_RIGHT, false, (struct colour){0, 0, 0}, "II");
  /* the stem of I is its third column */
  CHECK(!is_white(&canvas, 50 - 22 + 4, 6) && !is_white(&canvas, 50 - 22 + 4 + 12, 6));
  CHECK(is_white(&canvas, 50, 6) && is_white(&canvas, 50 - 23, 6));
  canvas_text(&canvas, -3, -3, 2, CANVAS_LEFT, true, (struct colour){0, 0, 0}, "cut off");
  canvas_close(&canvas);
}

TEST(letters_beyond_ascii_are_question_marks) {
  CHECK(font_glyph('\x80') == font_glyph('?'));
  CHECK(font_glyph('a') != font_glyph('b'));
}

static int count_colour(const struct canvas *canvas, int red, int low, int high) {
  int found = 0;
  for (int i = 0; i < canvas->width * canvas->height; i++) {
    const uint8_t *pixel = canvas->pixels + 3 * i;
    found += pixel[0] == red && pixel[2] >= low && pixel[2] <= high;
  }
  return found;
}

TEST(bars_cover_what_they_count) {
  static const double x[] = {0.5, 1.5}, y[] = {1, 3};
  struct canvas canvas;
  struct chart chart = {.series_count = 1,
                        .series = {{.mark = CHART_BARS, .count = 2, .x = x, .y = y, .width = 1}}};
  CHECK_OK(canvas_open(&canvas, 310, 292));
  chart_draw(&canvas, 0, 0, 310, 292, &chart);
  /* 200 x 200 pixels between the axes, 2 x 3 units: four squares of one unit are covered */
  int blended = 0;
  for (int i = 0; i < canvas.width * canvas.height; i++) {
    const uint8_t *pixel = canvas.pixels + 3 * i;
    blended += pixel[2] > pixel[0] + 40;
  }
  CHECK_NEAR(blended, 4.0 / 6 * 200 * 200, 1200);
  CHECK(count_colour(&canvas, 255, 255, 255) > 10000);
  canvas_close(&canvas);
}

TEST(pages_are_png_files) {
  static const double values[] = {1, NAN, 3, INFINITY, 0.5};
  struct chart charts[3] = {
      {.title = "line",
       .series_count = 1,
       .series = {{.name = "a", .mark = CHART_LINE, .count = 5, .y = values}}},
      {.title = "points",
       .same_axes = true,
       .series_count = 1,
       .series = {{.mark = CHART_POINTS, .count = 5, .y = values}}},
      {.title = "nothing", .logarithmic = true},
  };
  char *folder = check_make_folder();
  char *path = file_join(folder, "page.png");
  CHECK_OK(chart_write(path, charts, 3, 2, 320, 240));
  png_image image = {.version = PNG_IMAGE_VERSION};
  CHECK(png_image_begin_read_from_file(&image, path) != 0);
  CHECK(image.width == 640 && image.height == 480);
  png_image_free(&image);
  CHECK_FAILS(chart_write(path, charts, 1, 1, 0, 10), "1 to");
  free(path);
  check_remove_folder(folder);
}

int main(void) {
  RUN(values_are_counted_in_bins);
  RUN(text_stands_where_its_anchor_says);
  RUN(letters_beyond_ascii_are_question_marks);
  RUN(bars_cover_what_they_count);
  RUN(pages_are_png_files);
  return check_result();
}
