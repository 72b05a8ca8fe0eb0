/* Axes and what is drawn between them. */
#include "store/chart.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "store/font.h"
#include "store/picture.h"

static const struct colour ink = {40, 40, 40}, faint = {225, 225, 225}, paper = {255, 255, 255};
static const struct colour palette[CHART_MOST_SERIES] = {
    {31, 119, 180},  {255, 127, 14}, {44, 160, 44},  {214, 39, 40},
    {148, 103, 189}, {140, 86, 75},  {23, 190, 207}, {127, 127, 127},
};

enum { MARGIN_LEFT = 92, MARGIN_RIGHT = 18, MARGIN_TOP = 34, MARGIN_BOTTOM = 58 };
enum { TICKS_WANTED = 5, TICK_LENGTH = 5, DOT_RADIUS = 3 };

/* A range of values along a side of the frame. */
struct axis {
  double low, high, step; /* ticks are at multiples of step */
  bool logarithmic;       /* low, high and step are then of the decimal logarithm */
  int begin, end;         /* pixels of low and high */
};

struct frame {
  struct canvas *canvas;
  const struct chart *chart;
  struct axis x, y;
};

static double x_of(const struct chart_series *series, int i) {
  return series->x ? series->x[i] : i;
}

static double value_along(const struct axis *axis, double value) {
  return axis->logarithmic ? (value > 0 ? log10(value) : NAN) : value;
}

static double pixel_of(const struct axis *axis, double value) {
  double share = (value_along(axis, value) - axis->low) / (axis->high - axis->low);
  return axis->begin + share * (axis->end - axis->begin);
}

/* --- ranges --- */

static void include(struct axis *axis, double value) {
  double along = value_along(axis, value);
  if (!isfinite(along)) return;
  axis->low = fmin(axis->low, along);
  axis->high = fmax(axis->high, along);
}

static void include_series(struct frame *frame, const struct chart_series *series) {
  bool bars = series->mark == CHART_BARS;
  double beside = bars ? series->width / 2 : 0;
  for (int i = 0; i < series->count; i++) {
    if (!isfinite(value_along(&frame->y, series->y[i])) || !isfinite(x_of(series, i))) continue;
    include(&frame->x, x_of(series, i) - beside);
    include(&frame->x, x_of(series, i) + beside);
    include(&frame->y, series->y[i]);
  }
  if (bars) include(&frame->y, 0);
}

/* 1, 2 or 5 times a power of ten, so that about TICKS_WANTED steps make the range. */
static double round_step(double range) {
  double rough = range / TICKS_WANTED, power = pow(10, floor(log10(rough)));
  double times = rough / power;
  return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static void round_axis(struct axis *axis) {
  if (!(axis->low <= axis->high)) axis->low = 0, axis->high = 1;
  if (axis->high - axis->low < 1e-12 * (1 + fabs(axis->high))) {
    double beside = axis->high == 0 ? 1 : fabs(axis->high) / 2;
    axis->low -= beside;
    axis->high += beside;
  }
  axis->step = round_step(axis->high - axis->low);
  if (axis->logarithmic && axis->step < 1) axis->step = 1;
  axis->low = floor(axis->low / axis->step + 1e-9) * axis->step;
  axis->high = ceil(axis->high / axis->step - 1e-9) * axis->step;
}

static void find_ranges(struct frame *frame) {
  const struct chart *chart = frame->chart;
  frame->x.low = frame->y.low = INFINITY;
  frame->x.high = frame->y.high = -INFINITY;
  frame->y.logarithmic = chart->logarithmic;
  for (int i = 0; i < chart->series_count; i++) include_series(frame, &chart->series[i]);
  if (chart->same_axes) {
    frame->x.low = frame->y.low = fmin(frame->x.low, frame->y.low);
    frame->x.high = frame->y.high = fmax(frame->x.high, frame->y.high);
  }
  round_axis(&frame->x);
  round_axis(&frame->y);
}

/* --- the frame --- */

static void tick_label(const struct axis *axis, double tick, char text[32]) {
  double value = axis->logarithmic ? pow(10, tick) : tick;
  if (fabs(tick) < axis->step * 1e-6 && !axis->logarithmic) value = 0;
  snprintf(text, 32, "%.4g", value);
}

static double tick_pixel(const struct axis *axis, double tick) {
  return axis->begin + (tick - axis->low) / (axis->high - axis->low) * (axis->end - axis->begin);
}

static int tick_count(const struct axis *axis) {
  return (int)floor((axis->high - axis->low) / axis->step + 1e-6) + 1;
}

static void draw_ticks(const struct frame *frame) {
  struct canvas *canvas = frame->canvas;
  const struct axis *x = &frame->x, *y = &frame->y;
  char text[32];
  for (int i = 0; i < tick_count(x); i++) {
    double tick = x->low + i * x->step;
    int at = (int)lround(tick_pixel(x, tick));
    canvas_rectangle(canvas, at, y->begin, at, y->end, faint, 1);
    canvas_rectangle(canvas, at, y->begin, at, y->begin + TICK_LENGTH, ink, 1);
    tick_label(x, tick, text);
    canvas_text(canvas, at, y->begin + TICK_LENGTH + 4, 2, CANVAS_MIDDLE, false, ink, text);
  }
  for (int i = 0; i < tick_count(y); i++) {
    double tick = y->low + i * y->step;
    int at = (int)lround(tick_pixel(y, tick));
    canvas_rectangle(canvas, x->begin, at, x->end, at, faint, 1);
    canvas_rectangle(canvas, x->begin - TICK_LENGTH, at, x->begin, at, ink, 1);
    tick_label(y, tick, text);
    canvas_text(canvas, x->begin - TICK_LENGTH - 4, at - FONT_HEIGHT, 2, CANVAS_RIGHT, false, ink,
                text);
  }
}

static void draw_frame(const struct frame *frame) {
  struct canvas *canvas = frame->canvas;
  const struct axis *x = &frame->x, *y = &frame->y;
  canvas_rectangle(canvas, x->begin, y->begin, x->end, y->begin, ink, 1);
  canvas_rectangle(canvas, x->begin, y->end, x->end, y->end, ink, 1);
  canvas_rectangle(canvas, x->begin, y->begin, x->begin, y->end, ink, 1);
  canvas_rectangle(canvas, x->end, y->begin, x->end, y->end, ink, 1);
}

static void draw_labels(const struct frame *frame, int left, int top, int bottom) {
  struct canvas *canvas = frame->canvas;
  const struct chart *chart = frame->chart;
  int middle = (frame->x.begin + frame->x.end) / 2, half = (frame->y.begin + frame->y.end) / 2;
  int line = FONT_HEIGHT * 2;
  if (chart->title)
    canvas_text(canvas, middle, top + 8, 2, CANVAS_MIDDLE, false, ink, chart->title);
  if (chart->x_label)
    canvas_text(canvas, middle, bottom - line - 6, 2, CANVAS_MIDDLE, false, ink, chart->x_label);
  if (chart->y_label)
    canvas_text(canvas, left + 4, half, 2, CANVAS_MIDDLE, true, ink, chart->y_label);
}

/* --- data --- */

static void draw_line(const struct frame *frame, const struct chart_series *series,
                      struct colour colour) {
  double before[2] = {NAN, NAN};
  for (int i = 0; i < series->count; i++) {
    double x = pixel_of(&frame->x, x_of(series, i)), y = pixel_of(&frame->y, series->y[i]);
    bool both = isfinite(x) && isfinite(y) && isfinite(before[0]) && isfinite(before[1]);
    if (both) {
      canvas_line(frame->canvas, before[0], before[1], x, y, colour);
      canvas_line(frame->canvas, before[0], before[1] + 1, x, y + 1, colour);
    }
    before[0] = x;
    before[1] = y;
  }
}

static void draw_points(const struct frame *frame, const struct chart_series *series,
                        struct colour colour) {
  for (int i = 0; i < series->count; i++) {
    double x = pixel_of(&frame->x, x_of(series, i)), y = pixel_of(&frame->y, series->y[i]);
    if (isfinite(x) && isfinite(y)) canvas_disc(frame->canvas, x, y, DOT_RADIUS, colour, 0.6);
  }
}

static void draw_bars(const struct frame *frame, const struct chart_series *series,
                      struct colour colour) {
  double floor_pixel = frame->y.logarithmic ? frame->y.begin : pixel_of(&frame->y, 0);
  for (int i = 0; i < series->count; i++) {
    double low = pixel_of(&frame->x, x_of(series, i) - series->width / 2);
    double high = pixel_of(&frame->x, x_of(series, i) + series->width / 2);
    double top = pixel_of(&frame->y, series->y[i]);
    if (!isfinite(low) || !isfinite(high) || !isfinite(top) || top == floor_pixel) continue;
    canvas_rectangle(frame->canvas, (int)lround(low), (int)lround(floor_pixel),
                     (int)lround(high) - 1, (int)lround(top), colour, 0.6);
  }
}

static void draw_diagonal(const struct frame *frame) {
  canvas_line(frame->canvas, frame->x.begin, frame->y.begin, frame->x.end, frame->y.end, ink);
}

static void draw_series(const struct frame *frame) {
  static void (*const draw[])(const struct frame *, const struct chart_series *, struct colour) = {
      [CHART_LINE] = draw_line, [CHART_POINTS] = draw_points, [CHART_BARS] = draw_bars};
  for (int i = 0; i < frame->chart->series_count; i++)
    draw[frame->chart->series[i].mark](frame, &frame->chart->series[i], palette[i]);
}

static void draw_legend(const struct frame *frame) {
  int widest = 0, lines = 0, line = FONT_HEIGHT * 2 + 2;
  for (int i = 0; i < frame->chart->series_count; i++) {
    const char *name = frame->chart->series[i].name;
    if (!name) continue;
    int width = canvas_text_width(2, name);
    widest = width > widest ? width : widest;
    lines++;
  }
  if (!lines) return;
  int right = frame->x.end - 8, left = right - widest - 24, top = frame->y.end + 8;
  canvas_rectangle(frame->canvas, left - 4, top - 4, right + 4, top + lines * line, paper, 0.8);
  for (int i = 0; i < frame->chart->series_count; i++) {
    const char *name = frame->chart->series[i].name;
    if (!name) continue;
    canvas_rectangle(frame->canvas, left, top + 4, left + 14, top + 10, palette[i], 1);
    canvas_text(frame->canvas, left + 22, top, 2, CANVAS_LEFT, false, ink, name);
    top += line;
  }
}

void chart_draw(struct canvas *canvas, int x, int y, int width, int height,
                const struct chart *chart) {
  struct frame frame = {.canvas = canvas, .chart = chart};
  find_ranges(&frame);
  frame.x.begin = x + MARGIN_LEFT;
  frame.x.end = x + width - MARGIN_RIGHT;
  frame.y.begin = y + height - MARGIN_BOTTOM;
  frame.y.end = y + MARGIN_TOP;
  draw_ticks(&frame);
  if (chart->same_axes) draw_diagonal(&frame);
  draw_series(&frame);
  draw_frame(&frame);
  draw_labels(&frame, x, y, y + height);
  draw_legend(&frame);
}

enum status chart_write(const char *path, const struct chart *charts, int count, int columns,
                        int width, int height) {
  struct canvas canvas;
  int rows = (count + columns - 1) / columns;
  TRY(canvas_open(&canvas, columns * width, rows * height));
  for (int i = 0; i < count; i++)
    chart_draw(&canvas, i % columns * width, i / columns * height, width, height, &charts[i]);
  enum status status = picture_write(path, canvas.width, canvas.height, 3, canvas.pixels);
  canvas_close(&canvas);
  return status;
}

double chart_count(const double *values, int count, double low, double high, int bins,
                   double *middles, double *counts) {
  double width = (high - low) / bins;
  for (int i = 0; i < bins; i++) {
    middles[i] = low + (i + 0.5) * width;
    counts[i] = 0;
  }
  for (int i = 0; i < count; i++) {
    if (isnan(values[i])) continue;
    double bin = floor((values[i] - low) / width);
    counts[bin < 0 ? 0 : bin >= bins ? bins - 1 : (int)bin]++;
  }
  return width;
}
