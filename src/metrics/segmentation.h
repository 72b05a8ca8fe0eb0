/* How well a segmentation agrees with the truth, structure by structure: counts of voxels, Dice,
 * intersection over union, distances of surfaces, and the rule for structures that are empty. */
#pragma once
#include <stdint.h>
#include "base/status.h"
#include "metrics/metrics.h"

/* Voxels of a structure: in both, in the prediction alone, in the truth alone. */
struct metrics_counts {
  int64_t tp, fp, fn;
};

/* Adds the counts of classes 0 .. classes - 1 (at most 256) of two label maps; other values count
 * as none of them. */
void metrics_count_labels(const uint8_t *truth, const uint8_t *predicted, int64_t voxels,
                          int classes, struct metrics_counts *counts);

/* Adds the counts of structures that may overlap, one bit each: structure c is bit c%8 of plane c/8
 * of [slices][ceil(structures / 8)][area], as in data/dataset.h. */
void metrics_count_bits(const uint8_t *truth, const uint8_t *predicted, int structures,
                        int64_t slices, int64_t area, struct metrics_counts *counts);

/* Adds the counts of one structure whose voxels are those that are not 0. */
void metrics_count_mask(const uint8_t *truth, const uint8_t *predicted, int64_t voxels,
                        struct metrics_counts *counts);

/* What a structure scores that truth, prediction or both do not have. Programs disagree, so that
 * numbers can be compared only with the rule beside them:
 *                          Dice, IoU         surface Dice      Hausdorff distance
 *                      neither  no truth   neither  no truth   neither  no truth  missed
 *   strict               -         0         -         0         -         D        D
 *   nnunet               -         0         -         0         -         D        D
 *   totalsegmentator     -         -         -         -         -         -        D
 *   monai                -         -         -         0         -         -        -
 *   monai_all            1         0         -         0         -         -        -
 * "-": no number (NaN), which means leave out. A structure that is in the truth but missed by the
 * prediction has Dice, IoU and surface Dice 0 everywhere. D: the diagonal of the field of view, the
 * largest distance there can be; without it, distances improve as fewer structures are found.
 * nnunet (nnunetv2/evaluation), totalsegmentator (resources/evaluate.py) and monai (compute_dice
 * with ignore_empty on or off, compute_surface_dice, compute_hausdorff_distance) do as those
 * programs do where they have the number. */
enum metrics_empty {
  METRICS_EMPTY_STRICT,
  METRICS_EMPTY_NNUNET,
  METRICS_EMPTY_TOTALSEGMENTATOR,
  METRICS_EMPTY_MONAI,
  METRICS_EMPTY_MONAI_ALL,
  METRICS_EMPTY_RULES,
};

/* The rule of that name, or -1. */
int metrics_empty_find(const char *name);
const char *metrics_empty_name(enum metrics_empty rule);

/* 2 tp / (2 tp + fp + fn), tp / (tp + fp + fn). */
double metrics_counts_dice(const struct metrics_counts *counts, enum metrics_empty rule);
double metrics_counts_iou(const struct metrics_counts *counts, enum metrics_empty rule);

/* Puts into hausdorff_95, hausdorff and surface_dice what the rule says where truth or prediction
 * are empty; `average` is then NaN. diagonal: of the field of view, mm. */
void metrics_surface_judge(struct metrics_surface *surface, const struct metrics_counts *counts,
                           enum metrics_empty rule, double diagonal);

/* The length of the diagonal of a field of view (edges, not centres of voxels). */
double metrics_diagonal(const int extent[3], const double spacing[3]);

/* The share of the cases where the truth has a structure (present[i]) with dice[i] >= threshold;
 * NaN when there are none. A Dice that is NaN is not one. */
double metrics_success_rate(const double *dice, const uint8_t *present, int64_t count,
                            double threshold);
