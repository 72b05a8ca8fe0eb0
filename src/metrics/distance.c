/* Distance transform, one axis after another. */
#include "metrics/distance.h"
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Work of one thread on one line: the values, the parabolas of the envelope and where each begins.
 */
struct line {
  double *value, *begin;
  int *site;
};

static double place_where_equal(const double *value, int p, int q, double step) {
  double at_p = p * step, at_q = q * step;
  return ((value[q] + at_q * at_q) - (value[p] + at_p * at_p)) / (2 * (at_q - at_p));
}

/* The parabolas that are lowest somewhere; how many. */
static int build_envelope(const struct line *line, int count, double step) {
  int top = 0;
  for (int q = 0; q < count; q++) {
    if (isinf(line->value[q])) continue;
    double begin = -INFINITY;
    while (top > 0) {
      begin = place_where_equal(line->value, line->site[top - 1], q, step);
      if (begin > line->begin[top - 1]) break;
      top--;
      begin = -INFINITY;
    }
    line->site[top] = q;
    line->begin[top++] = begin;
  }
  return top;
}

static void transform_line(const struct line *line, double *squared, int64_t stride, int count,
                           double step) {
  for (int q = 0; q < count; q++) line->value[q] = squared[q * stride];
  int top = build_envelope(line, count, step), at = 0;
  if (!top) return;
  for (int q = 0; q < count; q++) {
    while (at + 1 < top && line->begin[at + 1] < q * step) at++;
    double apart = (q - line->site[at]) * step;
    squared[q * stride] = line->value[line->site[at]] + apart * apart;
  }
}

static struct line line_of_thread(char *memory, int count) {
  size_t values = (size_t)count * sizeof(double);
  char *own = memory + (size_t)omp_get_thread_num() * 3 * values;
  return (struct line){(double *)own, (double *)(own + values), (int *)(own + 2 * values)};
}

static void transform_axis(double *squared, const int extent[3], int axis, double step,
                           char *memory) {
  int64_t inner = axis == 2 ? 1 : axis == 1 ? extent[2] : (int64_t)extent[1] * extent[2];
  int64_t lines = (int64_t)extent[0] * extent[1] * extent[2] / extent[axis];
#pragma omp parallel
  {
    struct line line = line_of_thread(memory, extent[axis]);
#pragma omp for schedule(static)
    for (int64_t l = 0; l < lines; l++)
      transform_line(&line, squared + l / inner * inner * extent[axis] + l % inner, inner,
                     extent[axis], step);
  }
}

CHECKED enum status metrics_distance_transform(double *squared, const int extent[3],
                                               const double spacing[3]) {
  int longest = extent[0] > extent[1] ? extent[0] : extent[1];
  longest = longest > extent[2] ? longest : extent[2];
  char *memory = calloc((size_t)omp_get_max_threads(), (size_t)longest * 3 * sizeof(double));
  REQUIRE(memory, STATUS_FAILED, "out of memory for distances");
  for (int axis = 2; axis >= 0; axis--)
    transform_axis(squared, extent, axis, spacing[axis], memory);
  free(memory);
  return STATUS_OK;
}
