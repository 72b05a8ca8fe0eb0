/* Histograms of errors, and predicted over true numbers. */
#include <math.h>
#include <stdlib.h>
#include "base/file.h"
#include "store/chart.h"
#include "task/pose_report.h"

enum { PANELS = 6, COLUMNS = 3, PANEL_WIDTH = 520, PANEL_HEIGHT = 400, BINS = 24 };

struct panel {
  const char *column, *title, *unit;
};

static const struct panel errors[PANELS] = {
    {"distance_mm", "Translation, Euclidean", "mm"},
    {"geodesic_deg", "Rotation, geodesic", "degrees"},
    {"corner_mm", "Corners of the field of view", "mm"},
    {"translation_mae_mm", "Translation, mean over axes", "mm"},
    {"rotation_mae_deg", "Rotation, mean over axes", "degrees"},
    {"structure_mm", "Centroids of the labels", "mm"},
};
static const struct panel axes[PANELS] = {
    {"tx", "Tx", "mm"},      {"ty", "Ty", "mm"},      {"tz", "Tz", "mm"},
    {"rx", "Rx", "degrees"}, {"ry", "Ry", "degrees"}, {"rz", "Rz", "degrees"},
};

/* A page being made: what its charts point to. */
struct page {
  struct chart charts[PANELS];
  double *values[PANELS][2];
  double middles[PANELS][BINS], counts[PANELS][BINS];
  char titles[PANELS][96];
};

static enum status take(const struct task_scores *scores, const char *prefix, const char *name,
                        double **values) {
  char column[2 * TASK_COLUMN_BYTES];
  snprintf(column, sizeof column, "%s%s", prefix, name);
  int found = task_scores_column(scores, column);
  REQUIRE(found >= 0, STATUS_FAILED, "report: there is no column %s", column);
  return task_scores_take(scores, found, values);
}

static enum status make_histogram(struct page *page, int i, const struct task_scores *scores) {
  double highest = 0;
  TRY(take(scores, "", errors[i].column, &page->values[i][0]));
  const double *values = page->values[i][0];
  for (int k = 0; k < scores->count; k++) highest = fmax(highest, values[k]);
  if (highest == 0) highest = 1;
  double width =
      chart_count(values, scores->count, 0, highest, BINS, page->middles[i], page->counts[i]);
  page->charts[i] = (struct chart){
      .title = errors[i].title,
      .x_label = errors[i].unit,
      .y_label = "poses",
      .series_count = 1,
      .series = {{.mark = CHART_BARS,
                  .count = BINS,
                  .x = page->middles[i],
                  .y = page->counts[i],
                  .width = width}},
  };
  return STATUS_OK;
}

static enum status make_scatter(struct page *page, int i, const struct task_scores *scores) {
  TRY(take(scores, "true_", axes[i].column, &page->values[i][0]));
  TRY(take(scores, "predicted_", axes[i].column, &page->values[i][1]));
  snprintf(page->titles[i], sizeof page->titles[i], "%s, %s", axes[i].title, axes[i].unit);
  page->charts[i] = (struct chart){
      .title = page->titles[i],
      .x_label = "true",
      .y_label = "predicted",
      .same_axes = true,
      .series_count = 1,
      .series = {{.mark = CHART_POINTS,
                  .count = scores->count,
                  .x = page->values[i][0],
                  .y = page->values[i][1]}},
  };
  return STATUS_OK;
}

static enum status fill_and_write(struct page *page, const struct task_scores *scores,
                                  enum status (*make)(struct page *, int,
                                                      const struct task_scores *),
                                  const char *path) {
  for (int i = 0; i < PANELS; i++) TRY(make(page, i, scores));
  return chart_write(path, page->charts, PANELS, COLUMNS, PANEL_WIDTH, PANEL_HEIGHT);
}

static enum status write_page(const struct task_run *run, const struct task_scores *scores,
                              const char *kind,
                              enum status (*make)(struct page *, int, const struct task_scores *)) {
  struct page *page = calloc(1, sizeof *page);
  char *path = file_format("%s/pose_%s_%s.png", run->config->output.dir, kind, scores->name);
  enum status status =
      page && path ? fill_and_write(page, scores, make, path)
                   : status_fail(STATUS_FAILED, __FILE__, __LINE__, "report: out of memory");
  for (int i = 0; page && i < PANELS; i++)
    for (int k = 0; k < 2; k++) free(page->values[i][k]);
  free(page);
  free(path);
  return status;
}

enum status pose_write_figures(const struct task_run *run, const struct task_scores *scores) {
  TRY(write_page(run, scores, "errors", make_histogram));
  return write_page(run, scores, "scatter", make_scatter);
}
