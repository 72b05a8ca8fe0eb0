/* Charts of a split's scores: how they are distributed, and which structures are best. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/log.h"
#include "store/chart.h"
#include "store/font.h"
#include "store/picture.h"
#include "task/segmentation_colours.h"
#include "task/segmentation_report.h"

enum { BINS = 25, PANEL_WIDTH = 520, PANEL_HEIGHT = 400, COLUMNS = 2, PANELS = 4 };

static const struct {
  enum segmentation_kind kind;
  const char *title, *unit;
  bool is_share; /* 0 to 1 */
} panels[PANELS] = {
    {SEGMENTATION_CLASS_DICE, "Dice", "Dice", true},
    {SEGMENTATION_CLASS_IOU, "Intersection over union", "IoU", true},
    {SEGMENTATION_CLASS_NSD, "Surface Dice", "share of the surface", true},
    {SEGMENTATION_CLASS_HD95, "Hausdorff distance, 95 %", "mm", false},
};

struct page {
  struct chart charts[PANELS];
  double middles[PANELS][BINS], counts[PANELS][BINS];
  double *values; /* of one number: [cases * classes] */
};

/* Of the pairs of case and structure where the truth has the structure. */
static int take(const struct segmentation_results *results, enum segmentation_kind kind,
                double *values) {
  int count = 0;
  for (int i = 0; i < results->scores->count; i++)
    for (int c = segmentation_first_class(results); c < results->table.classes; c++) {
      const struct metrics_counts counts = segmentation_result_counts(results, i, c);
      if (counts.tp + counts.fn > 0) values[count++] = segmentation_result(results, i, kind, c);
    }
  return count;
}

static void make_panel(struct page *page, int panel, const struct segmentation_results *results) {
  int count = take(results, panels[panel].kind, page->values);
  double highest = 0;
  for (int i = 0; i < count; i++) highest = fmax(highest, page->values[i]);
  if (panels[panel].is_share || !(highest > 0)) highest = 1;
  double width =
      chart_count(page->values, count, 0, highest, BINS, page->middles[panel], page->counts[panel]);
  page->charts[panel] = (struct chart){
      .title = panels[panel].title,
      .x_label = panels[panel].unit,
      .y_label = "structures of cases",
      .series_count = 1,
      .series = {{.mark = CHART_BARS,
                  .count = BINS,
                  .x = page->middles[panel],
                  .y = page->counts[panel],
                  .width = width}},
  };
}

static enum status write_distribution(const struct segmentation_results *results,
                                      const char *path) {
  size_t pairs = (size_t)results->scores->count * (size_t)results->table.classes;
  int count = results->table.kinds > SEGMENTATION_CLASS_NSD ? PANELS : 2;
  struct page *page = calloc(1, sizeof *page);
  double *values = malloc(sizeof(double) * (pairs + 1));
  enum status status =
      page && values ? STATUS_OK
                     : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  if (!status) {
    page->values = values;
    for (int i = 0; i < count; i++) make_panel(page, i, results);
    status = chart_write(path, page->charts, count, COLUMNS, PANEL_WIDTH, PANEL_HEIGHT);
  }
  free(values);
  free(page);
  return status;
}

/* --- ranking --- */

enum { ROW = 20, NAME_LETTERS = 40, BAR = 420, EDGE = 12, HEAD = 48, SCALE = 2, AXIS = 30 };

static const struct colour ink = {40, 40, 40}, faint = {225, 225, 225};

struct rank {
  int c, cases;
  double mean, deviation;
};

/* Of a structure's Dice over the cases whose truth has it. */
static struct rank rank_class(const struct segmentation_results *results, int c) {
  struct rank rank = {.c = c};
  double sum = 0, squares = 0;
  for (int i = 0; i < results->scores->count; i++) {
    const struct metrics_counts counts = segmentation_result_counts(results, i, c);
    if (counts.tp + counts.fn == 0) continue;
    double dice = segmentation_result(results, i, SEGMENTATION_CLASS_DICE, c);
    sum += dice;
    squares += dice * dice;
    rank.cases++;
  }
  rank.mean = rank.cases ? sum / rank.cases : NAN;
  rank.deviation = rank.cases ? sqrt(fmax(0, squares / rank.cases - rank.mean * rank.mean)) : NAN;
  return rank;
}

/* Best first; equals in their own order. */
static int compare(const void *left, const void *right) {
  const struct rank *a = left, *b = right;
  if (a->mean != b->mean) return a->mean > b->mean ? -1 : 1;
  return (a->c > b->c) - (a->c < b->c);
}

static int rank_all(const struct segmentation_results *results, struct rank *ranks) {
  int count = 0;
  for (int c = segmentation_first_class(results); c < results->table.classes; c++) {
    struct rank rank = rank_class(results, c);
    if (rank.cases) ranks[count++] = rank;
  }
  qsort(ranks, (size_t)count, sizeof *ranks, compare);
  return count;
}

static int bar_left(void) {
  return EDGE + NAME_LETTERS * FONT_STEP * SCALE + EDGE;
}

static void draw_axis(struct canvas *canvas, int rows) {
  int bottom = HEAD + rows * ROW;
  for (int i = 0; i <= 10; i++) {
    int x = bar_left() + i * BAR / 10;
    char text[16];
    snprintf(text, sizeof text, "%.1f", i / 10.0);
    canvas_rectangle(canvas, x, HEAD - 4, x, bottom, faint, 1);
    if (i % 2 == 0) canvas_text(canvas, x, bottom + 6, SCALE, CANVAS_MIDDLE, false, ink, text);
  }
}

/* Name, bar, whisker of one deviation, number. */
static void draw_rank(struct canvas *canvas, int y, const struct segmentation_results *results,
                      const struct rank *rank) {
  char name[NAME_LETTERS + 1], text[48];
  int left = bar_left(), middle = y + ROW / 2;
  double low = fmax(0, rank->mean - rank->deviation), high = fmin(1, rank->mean + rank->deviation);
  snprintf(name, sizeof name, "%.*s", NAME_LETTERS, results->names[rank->c]);
  snprintf(text, sizeof text, "%.3f (%d)", rank->mean, rank->cases);
  canvas_text(canvas, left - EDGE, y + 2, SCALE, CANVAS_RIGHT, false, ink, name);
  canvas_rectangle(canvas, left, y + 3, left + (int)lround(rank->mean * BAR), y + ROW - 4,
                   segmentation_colour(rank->c + (results->table.overlapping ? 1 : 0)), 0.8);
  canvas_line(canvas, left + low * BAR, middle, left + high * BAR, middle, ink);
  canvas_text(canvas, left + BAR + EDGE, y + 2, SCALE, CANVAS_LEFT, false, ink, text);
}

static enum status draw_ranking(const struct segmentation_results *results,
                                const struct rank *ranks, int count, const char *path) {
  struct canvas canvas;
  int width = bar_left() + BAR + EDGE + 16 * FONT_STEP * SCALE;
  TRY(canvas_open(&canvas, width, HEAD + (count ? count : 1) * ROW + AXIS));
  canvas_text(&canvas, width / 2, EDGE, SCALE, CANVAS_MIDDLE, false, ink,
              "Mean Dice of structures (in how many cases), one deviation");
  draw_axis(&canvas, count ? count : 1);
  for (int i = 0; i < count; i++) draw_rank(&canvas, HEAD + i * ROW, results, &ranks[i]);
  enum status status = picture_write(path, canvas.width, canvas.height, 3, canvas.pixels);
  canvas_close(&canvas);
  return status;
}

static enum status write_ranking(const struct segmentation_results *results, const char *path) {
  struct rank *ranks = calloc((size_t)results->table.classes, sizeof *ranks);
  REQUIRE(ranks, STATUS_FAILED, "%s: out of memory", path);
  int count = rank_all(results, ranks);
  enum status status = draw_ranking(results, ranks, count, path);
  free(ranks);
  return status;
}

static enum status write_as(const struct segmentation_results *results, const char *kind,
                            enum status (*write)(const struct segmentation_results *,
                                                 const char *)) {
  const char *directory = results->run->config->output.dir;
  char *path = file_format("%s/%s_%s.png", directory, kind, results->scores->name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
  enum status status = write(results, path);
  if (!status) log_info("wrote %s", path);
  free(path);
  return status;
}

enum status segmentation_write_figures(const struct segmentation_results *results) {
  TRY(write_as(results, "metrics_distribution", write_distribution));
  return write_as(results, "structure_ranking", write_ranking);
}
