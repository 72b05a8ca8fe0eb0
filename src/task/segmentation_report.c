/* What evaluation writes beyond the tables of every task: files by case and structure, pooled
 * counts, success rates, charts. */
#include "task/segmentation_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

double segmentation_result(const struct segmentation_results *results, int sample,
                           enum segmentation_kind kind, int c) {
  int column = segmentation_table_column(&results->table, kind, c);
  if (column < 0) return NAN;
  return results->scores
      ->rows[(size_t)sample * (size_t)results->scores->columns->count + (size_t)column];
}

struct metrics_counts segmentation_result_counts(const struct segmentation_results *results,
                                                 int sample, int c) {
  return (struct metrics_counts){
      .tp = (int64_t)segmentation_result(results, sample, SEGMENTATION_CLASS_TP, c),
      .fp = (int64_t)segmentation_result(results, sample, SEGMENTATION_CLASS_FP, c),
      .fn = (int64_t)segmentation_result(results, sample, SEGMENTATION_CLASS_FN, c),
  };
}

int segmentation_first_class(const struct segmentation_results *results) {
  return results->table.overlapping ? 0 : 1;
}

/* --- the table of cases and structures --- */

static void print_number(FILE *out, double value, const char *format) {
  fputc(',', out);
  if (!isnan(value)) fprintf(out, format, value);
}

static void print_line(FILE *out, const struct segmentation_results *results, int sample, int c) {
  const struct task_scores *scores = results->scores;
  const struct metrics_counts counts = segmentation_result_counts(results, sample, c);
  double millilitres =
      scores->rows[(size_t)sample * (size_t)scores->columns->count + SEGMENTATION_VOXEL_ML];
  text_print_quoted(out, scores->labels + (size_t)sample * TASK_LABEL_BYTES);
  fputc(',', out);
  text_print_quoted(out, results->names[c]);
  print_number(out, segmentation_result(results, sample, SEGMENTATION_CLASS_DICE, c), "%.9g");
  print_number(out, segmentation_result(results, sample, SEGMENTATION_CLASS_IOU, c), "%.9g");
  print_number(out, segmentation_result(results, sample, SEGMENTATION_CLASS_HD95, c), "%.9g");
  print_number(out, segmentation_result(results, sample, SEGMENTATION_CLASS_NSD, c), "%.9g");
  fprintf(out, ",%lld,%lld,%lld", (long long)counts.tp, (long long)counts.fp, (long long)counts.fn);
  print_number(out, (double)(counts.tp + counts.fn) * millilitres, "%.9g");
  print_number(out, (double)(counts.tp + counts.fp) * millilitres, "%.9g");
  fputc('\n', out);
}

static enum status write_csv_text(const struct segmentation_results *results, const char *path) {
  size_t bytes;
  char *text = NULL;
  FILE *out = open_memstream(&text, &bytes);
  REQUIRE(out, STATUS_FAILED, "%s: out of memory", path);
  fputs("case,structure,dice,iou,hd95_mm,nsd,tp,fp,fn,truth_ml,prediction_ml\n", out);
  for (int i = 0; i < results->scores->count; i++)
    for (int c = segmentation_first_class(results); c < results->table.classes; c++)
      print_line(out, results, i, c);
  enum status status =
      fclose(out) == 0 ? file_replace(path, text, bytes)
                       : status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  free(text);
  return status;
}

enum status segmentation_write_csv(const struct segmentation_results *results) {
  const char *directory = results->run->config->output.dir;
  char *path = file_format("%s/evaluation_results_%s.csv", directory, results->scores->name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
  enum status status = write_csv_text(results, path);
  if (!status) log_info("wrote %s", path);
  free(path);
  return status;
}

enum status segmentation_report(const struct task_run *run, const struct task_scores *scores) {
  struct segmentation_results results = {.run = run, .scores = scores};
  int rule = metrics_empty_find(run->config->segmentation.empty);
  if (rule >= 0) results.rule = (enum metrics_empty)rule;
  TRY(segmentation_table_plan(run, true, &results.table));
  results.names = calloc((size_t)results.table.classes, sizeof *results.names);
  REQUIRE(results.names, STATUS_FAILED, "report: out of memory");
  for (int c = 0; c < results.table.classes; c++)
    segmentation_class_name(run, results.table.overlapping, c, results.names[c]);
  enum status status = segmentation_write_json(&results);
  if (!status) status = segmentation_write_csv(&results);
  if (!status) status = segmentation_write_figures(&results);
  free(results.names);
  return status;
}
