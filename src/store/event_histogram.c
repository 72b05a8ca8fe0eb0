/* Counting values into the buckets of a histogram. */
#include "store/event_histogram.h"
#include <math.h>

enum {
  FIELD_MIN = 1,
  FIELD_MAX,
  FIELD_NUM,
  FIELD_SUM,
  FIELD_SUM_SQUARES,
  FIELD_LIMIT,
  FIELD_BUCKET
};

static void measure(struct event_histogram *histogram, const float *values, int64_t count) {
  *histogram = (struct event_histogram){.min = INFINITY, .max = -INFINITY};
  for (int64_t i = 0; i < count; i++) {
    double value = values[i];
    if (!isfinite(value)) continue;
    histogram->num++;
    histogram->sum += value;
    histogram->sum_squares += value * value;
    histogram->min = fmin(histogram->min, value);
    histogram->max = fmax(histogram->max, value);
  }
}

bool event_histogram_count(struct event_histogram *histogram, const float *values, int64_t count) {
  measure(histogram, values, count);
  if (histogram->num == 0) return false;
  double width = (histogram->max - histogram->min) / HISTOGRAM_BUCKETS;
  for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
    histogram->limit[i] = histogram->min + width * (i + 1);
  histogram->limit[HISTOGRAM_BUCKETS - 1] = histogram->max;
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(values[i])) continue;
    int bucket = width > 0 ? (int)((values[i] - histogram->min) / width) : 0;
    histogram->bucket[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1]++;
  }
  return true;
}

void event_histogram_encode(const struct event_histogram *histogram, struct message *message) {
  message_double(message, FIELD_MIN, histogram->min);
  message_double(message, FIELD_MAX, histogram->max);
  message_double(message, FIELD_NUM, histogram->num);
  message_double(message, FIELD_SUM, histogram->sum);
  message_double(message, FIELD_SUM_SQUARES, histogram->sum_squares);
  message_packed_doubles(message, FIELD_LIMIT, histogram->limit, HISTOGRAM_BUCKETS);
  message_packed_doubles(message, FIELD_BUCKET, histogram->bucket, HISTOGRAM_BUCKETS);
}
