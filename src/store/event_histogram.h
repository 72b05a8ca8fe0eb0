/* The numbers of a HistogramProto (tensorboard/compat/proto/summary.proto). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "store/message.h"

enum { HISTOGRAM_BUCKETS = 64 };

struct event_histogram {
  double min, max, num, sum, sum_squares;
  double limit[HISTOGRAM_BUCKETS]; /* upper ends of equally wide buckets */
  double bucket[HISTOGRAM_BUCKETS];
};

/* Counts the finite values; false when there is none. */
bool event_histogram_count(struct event_histogram *histogram, const float *values, int64_t count);

void event_histogram_encode(const struct event_histogram *histogram, struct message *message);
