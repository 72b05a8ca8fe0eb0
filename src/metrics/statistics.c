/* Summaries of scores. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/metrics.h"

double metrics_mean(const double *values, int count) {
  double sum = 0;
  int counted = 0;
  for (int i = 0; i < count; i++) {
    if (isnan(values[i])) continue;
    sum += values[i];
    counted++;
  }
  return counted ? sum / counted : NAN;
}

static int by_value(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

int metrics_sort(double *values, int count) {
  int kept = 0;
  for (int i = 0; i < count; i++)
    if (!isnan(values[i])) values[kept++] = values[i];
  qsort(values, (size_t)kept, sizeof *values, by_value);
  return kept;
}

double metrics_quantile(const double *sorted, int count, double share) {
  if (count == 0) return NAN;
  double place = share * (count - 1);
  int below = (int)place;
  if (below >= count - 1) return sorted[count - 1];
  return sorted[below] + (place - below) * (sorted[below + 1] - sorted[below]);
}
