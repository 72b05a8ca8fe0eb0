/* Summaries of a split's scores. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/metrics.h"
#include "task/task.h"

int task_scores_column(const struct task_scores *scores, const char *name) {
  for (int i = 0; i < scores->columns->count; i++)
    if (strcmp(scores->columns->name[i], name) == 0) return i;
  return -1;
}

enum status task_scores_take(const struct task_scores *scores, int column, double **values) {
  *values = malloc(sizeof **values * (size_t)(scores->count + 1));
  REQUIRE(*values, STATUS_FAILED, "evaluation: out of memory");
  for (int i = 0; i < scores->count; i++)
    (*values)[i] = scores->rows[(size_t)i * (size_t)scores->columns->count + (size_t)column];
  return STATUS_OK;
}

enum status task_scores_summarize(const struct task_scores *scores, int column,
                                  struct task_summary *summary) {
  double *values;
  TRY(task_scores_take(scores, column, &values));
  int count = metrics_sort(values, scores->count);
  double mean = metrics_mean(values, count), squares = 0;
  for (int i = 0; i < count; i++) squares += (values[i] - mean) * (values[i] - mean);
  *summary = (struct task_summary){
      .count = count,
      .mean = mean,
      .deviation = count ? sqrt(squares / count) : NAN,
      .median = metrics_quantile(values, count, 0.5),
      .p95 = metrics_quantile(values, count, 0.95),
  };
  free(values);
  return STATUS_OK;
}
