/* Counts of voxels, and what they make. */
#include "metrics/segmentation.h"
#include <math.h>
#include <string.h>

void metrics_count_labels(const uint8_t *truth, const uint8_t *predicted, int64_t voxels,
                          int classes, struct metrics_counts *counts) {
  int64_t in_truth[256] = {0}, in_prediction[256] = {0}, in_both[256] = {0};
  for (int64_t p = 0; p < voxels; p++) {
    in_truth[truth[p]]++;
    in_prediction[predicted[p]]++;
    in_both[truth[p]] += truth[p] == predicted[p];
  }
  for (int c = 0; c < classes; c++) {
    counts[c].tp += in_both[c];
    counts[c].fp += in_prediction[c] - in_both[c];
    counts[c].fn += in_truth[c] - in_both[c];
  }
}

/* One byte of each voxel's bits: how many voxels have which pair of truth and prediction is counted
 * for each of its eight structures. */
static void count_plane(const uint8_t *truth, const uint8_t *predicted, int64_t area, int bits,
                        struct metrics_counts *counts) {
  for (int64_t p = 0; p < area; p++) {
    unsigned either = truth[p] | predicted[p];
    for (; either; either &= either - 1) {
      int bit = __builtin_ctz(either);
      if (bit >= bits) break;
      bool is_truth = truth[p] >> bit & 1, is_predicted = predicted[p] >> bit & 1;
      counts[bit].tp += is_truth && is_predicted;
      counts[bit].fp += !is_truth;
      counts[bit].fn += !is_predicted;
    }
  }
}

void metrics_count_bits(const uint8_t *truth, const uint8_t *predicted, int structures,
                        int64_t slices, int64_t area, struct metrics_counts *counts) {
  for (int64_t s = 0; s < slices; s++)
    for (int first = 0; first < structures; first += 8) {
      int bits = structures - first < 8 ? structures - first : 8;
      count_plane(truth, predicted, area, bits, counts + first);
      truth += area;
      predicted += area;
    }
}

void metrics_count_mask(const uint8_t *truth, const uint8_t *predicted, int64_t voxels,
                        struct metrics_counts *counts) {
  int64_t in_truth = 0, in_prediction = 0, in_both = 0;
  for (int64_t p = 0; p < voxels; p++) {
    in_truth += truth[p] != 0;
    in_prediction += predicted[p] != 0;
    in_both += truth[p] && predicted[p];
  }
  counts->tp += in_both;
  counts->fp += in_prediction - in_both;
  counts->fn += in_truth - in_both;
}

/* Values where truth, prediction or both are empty; distances in diagonals. */
static const struct {
  const char *name;
  double overlap_neither, overlap_no_truth, surface_no_truth, distance_no_truth, distance_missed;
} rules[METRICS_EMPTY_RULES] = {
    [METRICS_EMPTY_STRICT] = {"strict", NAN, 0, 0, 1, 1},
    [METRICS_EMPTY_NNUNET] = {"nnunet", NAN, 0, 0, 1, 1},
    [METRICS_EMPTY_TOTALSEGMENTATOR] = {"totalsegmentator", NAN, NAN, NAN, NAN, 1},
    [METRICS_EMPTY_MONAI] = {"monai", NAN, NAN, 0, NAN, NAN},
    [METRICS_EMPTY_MONAI_ALL] = {"monai_all", 1, 0, 0, NAN, NAN},
};

int metrics_empty_find(const char *name) {
  for (int i = 0; i < METRICS_EMPTY_RULES; i++)
    if (strcmp(rules[i].name, name) == 0) return i;
  return -1;
}

const char *metrics_empty_name(enum metrics_empty rule) {
  return rules[rule].name;
}

/* The value by the rule, or `value`. */
static double judge_overlap(const struct metrics_counts *counts, enum metrics_empty rule,
                            double value) {
  if (counts->tp + counts->fn) return value;
  return counts->fp ? rules[rule].overlap_no_truth : rules[rule].overlap_neither;
}

double metrics_counts_dice(const struct metrics_counts *counts, enum metrics_empty rule) {
  double both = 2.0 * (double)counts->tp;
  return judge_overlap(counts, rule, both / (both + (double)(counts->fp + counts->fn)));
}

double metrics_counts_iou(const struct metrics_counts *counts, enum metrics_empty rule) {
  double both = (double)counts->tp;
  return judge_overlap(counts, rule, both / (both + (double)(counts->fp + counts->fn)));
}

void metrics_surface_judge(struct metrics_surface *surface, const struct metrics_counts *counts,
                           enum metrics_empty rule, double diagonal) {
  bool truth = counts->tp + counts->fn > 0, predicted = counts->tp + counts->fp > 0;
  if (truth && predicted) return;
  double distance = NAN, share = NAN;
  if (truth) {
    distance = rules[rule].distance_missed * diagonal;
    share = 0;
  } else if (predicted) {
    distance = rules[rule].distance_no_truth * diagonal;
    share = rules[rule].surface_no_truth;
  }
  *surface = (struct metrics_surface){
      .hausdorff_95 = distance, .hausdorff = distance, .average = NAN, .surface_dice = share};
}

double metrics_diagonal(const int extent[3], const double spacing[3]) {
  double squares = 0;
  for (int axis = 0; axis < 3; axis++)
    squares += extent[axis] * spacing[axis] * (extent[axis] * spacing[axis]);
  return sqrt(squares);
}

double metrics_success_rate(const double *dice, const uint8_t *present, int64_t count,
                            double threshold) {
  int64_t cases = 0, successes = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!present[i]) continue;
    cases++;
    successes += dice[i] >= threshold;
  }
  return cases ? (double)successes / (double)cases : NAN;
}
