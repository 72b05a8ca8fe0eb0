/* Comparing one subject's prediction with its truth (internal to the task). */
#pragma once
#include "metrics/segmentation.h"
#include "task/segmentation_truth.h"

/* Of one class or structure. */
struct segmentation_measure {
  struct metrics_counts counts;
  double hd95, nsd; /* NaN when they were not asked for */
};

/* Runs the network over the subject's stored image and gives its planes away. */
CHECKED enum status segmentation_infer_subject(const struct segmentation_view *view,
                                               const struct dataset *dataset, int subject,
                                               const struct task_network *network,
                                               const struct segmentation_planes *planes);

/* Counts voxels on the stored grid as the planes come: no probabilities are kept. categories: as in
 * struct segmentation_planes, or NULL. measures[classes]. */
CHECKED enum status segmentation_count_planes(const struct segmentation_view *view,
                                              const struct dataset *dataset, int subject,
                                              const struct task_network *network,
                                              double *categories,
                                              struct segmentation_measure *measures);

/* Counts voxels on the truth's grid and, when segmentation.distances says so, measures distances of
 * surfaces (none of the background). One structure at a time where they overlap. */
CHECKED enum status segmentation_measure_all(const struct segmentation_truth *truth,
                                             const struct segmentation_prediction *prediction,
                                             enum metrics_empty rule,
                                             struct segmentation_measure *measures);
