/* Charts as PNG files: axes with round ticks, lines, bars and points; several charts on one page.
 */
#pragma once
#include "base/status.h"
#include "store/canvas.h"

enum chart_mark {
  CHART_LINE,   /* y over x; a NaN interrupts it */
  CHART_POINTS, /* a dot for each pair */
  CHART_BARS,   /* a bar from 0 to y, centred at x, `width` wide */
};

struct chart_series {
  const char *name; /* for the legend; NULL: not in it */
  enum chart_mark mark;
  int count;
  const double *x, *y; /* x NULL: 0, 1, 2, ... */
  double width;        /* of bars, in units of x */
};

enum { CHART_MOST_SERIES = 8 };

/* Ranges are those of the data, widened to round numbers; bars include 0. */
struct chart {
  const char *title, *x_label, *y_label; /* any may be NULL */
  bool same_axes;                        /* one range for both axes, and their diagonal */
  bool logarithmic;                      /* the y axis; values of 0 and below are left out */
  int series_count;
  struct chart_series series[CHART_MOST_SERIES];
};

/* Draws a chart into a rectangle of a canvas. A chart without finite values has empty axes. */
void chart_draw(struct canvas *canvas, int x, int y, int width, int height,
                const struct chart *chart);

/* Writes (or replaces) a page of charts, `columns` side by side, each width x height pixels. */
CHECKED enum status chart_write(const char *path, const struct chart *charts, int count,
                                int columns, int width, int height);

/* Counts values in `bins` equal bins from low to high (values beyond are in the outermost):
 * middles[bins] and counts[bins]. Returns the bins' width. NaN is not counted. */
double chart_count(const double *values, int count, double low, double high, int bins,
                   double *middles, double *counts);
