/* The history of a run: read, condensed, drawn. */
#include "store/history.h"
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "store/chart.h"

enum { PANEL_WIDTH = 560, PANEL_HEIGHT = 400 };
static const char validation_prefix[] = "validation_";

/* Points of all columns: column 0 is the step. */
struct points {
  int count;
  double *values; /* [columns][count] */
};

struct history {
  char *text;   /* of the table; names point into it */
  char **names; /* [columns] */
  int columns;
  int64_t rows, block; /* steps; how many make a point */
  char *first_row;
  struct points training, validation;
  int64_t *counted; /* [columns]: of the block at hand */
};

static bool is_validation(const struct history *history, int column) {
  return strncmp(history->names[column], validation_prefix, sizeof validation_prefix - 1) == 0;
}

/* --- reading --- */

/* Cuts the header into names; moves first_row behind it. */
static enum status read_header(struct history *history, const char *path) {
  char *end = strchr(history->text, '\n');
  REQUIRE(end && strncmp(history->text, "step", 4) == 0, STATUS_FAILED,
          "%s: expected a table whose first column is step, found another", path);
  *end = '\0';
  history->first_row = end + 1;
  history->columns = 1;
  for (const char *at = history->text; *at; at++) history->columns += *at == ',';
  history->names = calloc((size_t)history->columns, sizeof *history->names);
  REQUIRE(history->names, STATUS_FAILED, "%s: out of memory", path);
  char *rest = history->text;
  for (int c = 0; c < history->columns; c++) history->names[c] = strsep(&rest, ",");
  return STATUS_OK;
}

/* The fields of the row at `row`, NaN where there is nothing; the next row, NULL at the end. A line
 * that was not finished is none. */
static const char *read_row(const struct history *history, const char *row, double *fields) {
  const char *end = strchr(row, '\n');
  if (!end) return NULL;
  for (int c = 0; c < history->columns; c++) {
    char *after = NULL;
    bool there = row < end && *row != ',';
    fields[c] = there ? strtod(row, &after) : NAN;
    if (there) row = after;
    const char *comma = memchr(row, ',', (size_t)(end - row));
    row = comma ? comma + 1 : end;
  }
  return end + 1;
}

static bool has_validation(const struct history *history, const double *fields) {
  for (int c = 1; c < history->columns; c++)
    if (is_validation(history, c) && !isnan(fields[c])) return true;
  return false;
}

static void count_rows(struct history *history, double *fields) {
  for (const char *row = history->first_row; (row = read_row(history, row, fields));) {
    history->rows++;
    history->validation.count += has_validation(history, fields);
  }
  history->block = (history->rows + HISTORY_POINTS - 1) / HISTORY_POINTS;
  if (history->block < 1) history->block = 1;
  history->training.count = (int)((history->rows + history->block - 1) / history->block);
}

/* Column 0 keeps the last step, the others the mean of what is a number. */
static void add_to_block(struct history *history, int point, const double *fields) {
  int count = history->training.count;
  double *values = history->training.values;
  values[point] = fields[0];
  for (int c = 1; c < history->columns; c++) {
    double *mean = &values[(size_t)c * (size_t)count + (size_t)point];
    if (isnan(fields[c])) continue;
    int64_t before = history->counted[c]++;
    *mean = before ? *mean + (fields[c] - *mean) / (double)(before + 1) : fields[c];
  }
}

static void fill(struct history *history, double *fields) {
  int64_t number = 0;
  int validations = 0;
  for (const char *row = history->first_row; (row = read_row(history, row, fields)); number++) {
    if (number % history->block == 0)
      memset(history->counted, 0, (size_t)history->columns * sizeof *history->counted);
    add_to_block(history, (int)(number / history->block), fields);
    if (!has_validation(history, fields)) continue;
    for (int c = 0; c < history->columns; c++)
      history->validation
          .values[(size_t)c * (size_t)history->validation.count + (size_t)validations] = fields[c];
    validations++;
  }
}

static double *make_points(const struct history *history, int count) {
  size_t values = (size_t)history->columns * (size_t)count;
  double *points = malloc((values + 1) * sizeof *points);
  for (size_t i = 0; points && i < values; i++) points[i] = NAN;
  return points;
}

static enum status read_table(struct history *history, const char *path) {
  size_t bytes;
  TRY(file_read(path, SIZE_MAX - 1, &history->text, &bytes));
  TRY(read_header(history, path));
  double *fields = malloc((size_t)history->columns * sizeof *fields);
  REQUIRE(fields, STATUS_FAILED, "%s: out of memory", path);
  count_rows(history, fields);
  history->counted = calloc((size_t)history->columns, sizeof *history->counted);
  history->training.values = make_points(history, history->training.count);
  history->validation.values = make_points(history, history->validation.count);
  bool enough = history->counted && history->training.values && history->validation.values;
  if (enough) fill(history, fields);
  free(fields);
  REQUIRE(enough, STATUS_FAILED, "%s: out of memory", path);
  return STATUS_OK;
}

static void close_history(struct history *history) {
  free(history->text);
  free(history->names);
  free(history->counted);
  free(history->training.values);
  free(history->validation.values);
}

/* --- JSON --- */

static json_t *list_of(const double *values, int count) {
  json_t *list = json_array();
  for (int i = 0; i < count; i++)
    json_array_append_new(list, isfinite(values[i]) ? json_real(values[i]) : json_null());
  return list;
}

static json_t *steps_of(const struct points *points) {
  json_t *list = json_array();
  for (int i = 0; i < points->count; i++)
    json_array_append_new(list, json_integer((json_int_t)points->values[i]));
  return list;
}

static json_t *lists_of(const struct history *history, const struct points *points,
                        bool validation) {
  json_t *object = json_object();
  json_object_set_new(object, "step", steps_of(points));
  for (int c = 1; c < history->columns; c++) {
    if (is_validation(history, c) != validation) continue;
    const char *name = history->names[c] + (validation ? sizeof validation_prefix - 1 : 0);
    json_object_set_new(object, name,
                        list_of(points->values + (size_t)c * (size_t)points->count, points->count));
  }
  return object;
}

static enum status write_json(const struct history *history, const char *path) {
  json_t *report = json_pack("{s:I, s:I, s:o, s:o}", "steps", (json_int_t)history->rows,
                             "steps_per_point", (json_int_t)history->block, "training",
                             lists_of(history, &history->training, false), "validation",
                             lists_of(history, &history->validation, true));
  char *text = report ? json_dumps(report, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;
  json_decref(report);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = file_replace(path, text, strlen(text));
  free(text);
  return status;
}

/* --- charts --- */

static int find_column(const struct history *history, const char *prefix, const char *name) {
  size_t length = strlen(prefix);
  for (int c = 1; name && c < history->columns; c++)
    if (strncmp(history->names[c], prefix, length) == 0 &&
        strcmp(history->names[c] + length, name) == 0)
      return c;
  return -1;
}

/* Values over more than a decade, none of them below 0. */
static bool is_wide(const double *values, int count) {
  double low = INFINITY, high = 0;
  for (int i = 0; i < count; i++) {
    if (isnan(values[i])) continue;
    low = fmin(low, values[i]);
    high = fmax(high, values[i]);
  }
  return low > 0 && high > 10 * low;
}

static void add_chart(struct chart *charts, int *count, const struct history *history,
                      const struct points *points, int column, const char *title) {
  if (column < 0 || points->count == 0) return;
  const double *values = points->values + (size_t)column * (size_t)points->count;
  charts[(*count)++] = (struct chart){
      .title = title,
      .x_label = "step",
      .logarithmic = !is_validation(history, column) && is_wide(values, points->count),
      .series_count = 1,
      .series = {{.mark = points->count > 1 ? CHART_LINE : CHART_POINTS,
                  .count = points->count,
                  .x = points->values,
                  .y = values}},
  };
}

static enum status write_charts(const struct history *history, const char *score,
                                const char *path) {
  struct chart charts[4];
  char title[128];
  int count = 0;
  const struct points *training = &history->training;
  snprintf(title, sizeof title, "Validation: %s", score ? score : "");
  add_chart(charts, &count, history, training, find_column(history, "", "loss"), "Training loss");
  add_chart(charts, &count, history, &history->validation,
            find_column(history, validation_prefix, score), title);
  add_chart(charts, &count, history, training, find_column(history, "", "learning_rate"),
            "Learning rate");
  add_chart(charts, &count, history, training, find_column(history, "", "gradient_norm"),
            "Norm of the gradient");
  if (count == 0) return STATUS_OK;
  return chart_write(path, charts, count, count > 1 ? 2 : 1, PANEL_WIDTH, PANEL_HEIGHT);
}

static enum status write_files(const struct history *history, const char *directory,
                               const char *score) {
  if (history->rows == 0) return STATUS_OK;
  char *json = file_join(directory, "training_history.json");
  char *picture = file_join(directory, "training_history.png");
  enum status status = json && picture ? write_json(history, json)
                                       : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                     "%s: out of memory", directory);
  if (!status) status = write_charts(history, score, picture);
  free(json);
  free(picture);
  return status;
}

enum status history_write(const char *table, const char *directory, const char *score) {
  struct history history = {0};
  enum status status = read_table(&history, table);
  if (!status) status = write_files(&history, directory, score);
  close_history(&history);
  return status;
}
