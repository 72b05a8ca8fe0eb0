/* The written side of a segmentation's evaluation (internal to the task). */
#pragma once
#include "task/segmentation_scores.h"

/* The scores of a split, as tables of cases and classes. */
struct segmentation_results {
  const struct task_run *run;
  const struct task_scores *scores;
  struct segmentation_table table;
  enum metrics_empty rule;
  char (*names)[SEGMENTATION_NAME_BYTES]; /* [classes] */
};

/* Of a class in a case; NaN where there is none. */
double segmentation_result(const struct segmentation_results *results, int sample,
                           enum segmentation_kind kind, int c);

struct metrics_counts segmentation_result_counts(const struct segmentation_results *results,
                                                 int sample, int c);

/* The first class that is counted in means: the background is not. */
int segmentation_first_class(const struct segmentation_results *results);

/* metrics.json (metrics_NAME.json when NAME is not "test"). */
CHECKED enum status segmentation_write_json(const struct segmentation_results *results);

/* evaluation_results_NAME.csv: a line for each case and structure. */
CHECKED enum status segmentation_write_csv(const struct segmentation_results *results);

/* metrics_distribution_NAME.png, structure_ranking_NAME.png. */
CHECKED enum status segmentation_write_figures(const struct segmentation_results *results);
