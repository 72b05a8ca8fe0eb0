/* Counts and distances, class by class. */
#include "task/segmentation_measure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum status segmentation_infer_subject(const struct segmentation_view *view,
                                       const struct dataset *dataset, int subject,
                                       const struct task_network *network,
                                       const struct segmentation_planes *planes) {
  const struct dataset_subject *entry = &dataset->subjects[subject];
  int extent[3];
  memcpy(extent, dataset->extent, sizeof extent);
  /* slices are run one by one: those of padding behind the subject's own need not be */
  if (view->window[0] == 1 && view->stored == 1)
    extent[0] = entry->box_first[0] + entry->box_count[0];
  return segmentation_infer(view, network, dataset_image(dataset, subject), extent, planes);
}

/* --- as planes come --- */

struct counting {
  const struct segmentation_view *view;
  const struct dataset *dataset;
  int subject;
  struct segmentation_box box;
  struct segmentation_measure *measures;
  uint8_t *truth, *predicted; /* classes of a plane's own voxels; NULL for masks */
};

/* A plane's voxel, by its place in the box. */
static size_t voxel_in_plane(const struct counting *work, int h, int w) {
  return (size_t)(work->box.first[1] + h) * (size_t)work->dataset->extent[2] +
         (size_t)(work->box.first[2] + w);
}

static void find_classes(const struct counting *work, int h, const uint8_t *labels,
                         const float *probabilities) {
  size_t area = (size_t)work->dataset->extent[1] * (size_t)work->dataset->extent[2];
  size_t row = (size_t)h * (size_t)work->box.extent[2];
  for (int w = 0; w < work->box.extent[2]; w++) {
    const float *at = probabilities + voxel_in_plane(work, h, w);
    int best = 0;
    for (int c = 1; c < work->view->classes; c++)
      if (at[(size_t)c * area] > at[(size_t)best * area]) best = c;
    work->predicted[row + (size_t)w] = (uint8_t)best;
    work->truth[row + (size_t)w] = labels[voxel_in_plane(work, h, w)];
  }
}

static void count_labels(const struct counting *work, int d, const float *probabilities) {
  size_t area = (size_t)work->dataset->extent[1] * (size_t)work->dataset->extent[2];
  const uint8_t *labels = dataset_label(work->dataset, work->subject) + (size_t)d * area;
  struct metrics_counts counts[256] = {{0}};
#pragma omp parallel for schedule(static)
  for (int h = 0; h < work->box.extent[1]; h++) find_classes(work, h, labels, probabilities);
  metrics_count_labels(work->truth, work->predicted,
                       (int64_t)work->box.extent[1] * work->box.extent[2], work->view->classes,
                       counts);
  for (int c = 0; c < work->view->classes; c++) {
    work->measures[c].counts.tp += counts[c].tp;
    work->measures[c].counts.fp += counts[c].fp;
    work->measures[c].counts.fn += counts[c].fn;
  }
}

static void count_structure(const struct counting *work, int c, const uint8_t *bits,
                            const float *probabilities) {
  const float threshold = (float)work->view->config->segmentation.threshold;
  struct metrics_counts *counts = &work->measures[c].counts;
  for (int h = 0; h < work->box.extent[1]; h++)
    for (int w = 0; w < work->box.extent[2]; w++) {
      size_t voxel = voxel_in_plane(work, h, w);
      bool truth = bits[voxel] >> c % 8 & 1, predicted = probabilities[voxel] >= threshold;
      counts->tp += truth && predicted;
      counts->fp += !truth && predicted;
      counts->fn += truth && !predicted;
    }
}

static void count_structures(const struct counting *work, int d, const float *probabilities) {
  const struct dataset *dataset = work->dataset;
  size_t area = (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
  const uint8_t *bits =
      dataset_mask(dataset, work->subject) + (size_t)d * (size_t)dataset->mask_planes * area;
#pragma omp parallel for schedule(static)
  for (int c = 0; c < work->view->classes; c++)
    count_structure(work, c, bits + (size_t)(c / 8) * area, probabilities + (size_t)c * area);
}

static enum status count_plane(void *context, int d, const float *probabilities) {
  const struct counting *work = context;
  if (d < work->box.first[0] || d >= work->box.first[0] + work->box.extent[0]) return STATUS_OK;
  if (work->view->overlapping)
    count_structures(work, d, probabilities);
  else
    count_labels(work, d, probabilities);
  return STATUS_OK;
}

enum status segmentation_count_planes(const struct segmentation_view *view,
                                      const struct dataset *dataset, int subject,
                                      const struct task_network *network, double *categories,
                                      struct segmentation_measure *measures) {
  struct counting work = {.view = view,
                          .dataset = dataset,
                          .subject = subject,
                          .box = segmentation_own_box(dataset, subject),
                          .measures = measures};
  const struct segmentation_planes planes = {
      .take = count_plane, .categories = categories, .context = &work};
  size_t area = (size_t)work.box.extent[1] * (size_t)work.box.extent[2];
  for (int c = 0; c < view->classes; c++)
    measures[c] = (struct segmentation_measure){{0}, NAN, NAN};
  work.truth = malloc(2 * area);
  REQUIRE(work.truth, STATUS_FAILED, "evaluation: out of memory");
  work.predicted = work.truth + area;
  enum status status = segmentation_infer_subject(view, dataset, subject, network, &planes);
  free(work.truth);
  return status;
}

/* --- on any grid --- */

struct comparison {
  const struct segmentation_truth *truth;
  const struct config *config;
  enum metrics_empty rule;
  double spacing[3];
  uint8_t *a, *b; /* truth and prediction, on the truth's grid */
};

/* Distances of the label in the maps a and b. */
static enum status measure_surface(const struct comparison *work, int label,
                                   const struct metrics_box *box,
                                   struct segmentation_measure *measure) {
  struct metrics_surface surface = {NAN, NAN, NAN, NAN};
  const struct metrics_counts *counts = &measure->counts;
  const int *extent = work->truth->grid.extent;
  measure->hd95 = measure->nsd = NAN;
  if (!work->config->segmentation.distances) return STATUS_OK;
  if (counts->tp + counts->fn > 0 && counts->tp + counts->fp > 0)
    TRY(metrics_surface_within(work->a, work->b, label, box, extent, work->spacing,
                               work->config->segmentation.tolerance, &surface));
  metrics_surface_judge(&surface, counts, work->rule, metrics_diagonal(extent, work->spacing));
  measure->hd95 = surface.hausdorff_95;
  measure->nsd = surface.surface_dice;
  return STATUS_OK;
}

static enum status compare_labels(const struct comparison *work,
                                  struct segmentation_measure *measures) {
  int classes = work->truth->view->classes;
  struct metrics_counts counts[256] = {{0}};
  struct metrics_box boxes[256];
  metrics_count_labels(work->a, work->b, grid_count(&work->truth->grid), classes, counts);
  for (int c = 0; c < classes; c++) boxes[c] = metrics_box_empty();
  metrics_find_boxes(work->a, work->truth->grid.extent, classes, boxes);
  metrics_find_boxes(work->b, work->truth->grid.extent, classes, boxes);
  for (int c = 0; c < classes; c++) {
    measures[c] = (struct segmentation_measure){counts[c], NAN, NAN};
    if (c > 0) TRY(measure_surface(work, c, &boxes[c], &measures[c]));
  }
  return STATUS_OK;
}

static enum status compare_masks(const struct comparison *work,
                                 struct segmentation_measure *measure) {
  struct metrics_box boxes[2] = {metrics_box_empty(), metrics_box_empty()};
  *measure = (struct segmentation_measure){{0}, NAN, NAN};
  metrics_count_mask(work->a, work->b, grid_count(&work->truth->grid), &measure->counts);
  metrics_find_boxes(work->a, work->truth->grid.extent, 2, boxes);
  metrics_find_boxes(work->b, work->truth->grid.extent, 2, boxes);
  return measure_surface(work, 1, &boxes[1], measure);
}

static enum status compare(struct comparison *work,
                           const struct segmentation_prediction *prediction,
                           struct segmentation_measure *measures) {
  const struct segmentation_truth *truth = work->truth;
  if (!truth->view->overlapping) {
    TRY(segmentation_prediction_labels(prediction, &truth->grid, work->b));
    return compare_labels(work, measures);
  }
  for (int c = 0; c < truth->view->classes; c++) {
    TRY(segmentation_truth_mask(truth, c, work->a));
    TRY(segmentation_prediction_mask(prediction, c, &truth->grid, work->b));
    TRY(compare_masks(work, &measures[c]));
  }
  return STATUS_OK;
}

enum status segmentation_measure_all(const struct segmentation_truth *truth,
                                     const struct segmentation_prediction *prediction,
                                     enum metrics_empty rule,
                                     struct segmentation_measure *measures) {
  size_t voxels = (size_t)grid_count(&truth->grid);
  struct comparison work = {.truth = truth, .config = truth->view->config, .rule = rule};
  affine_get_spacing(&truth->grid.affine, work.spacing);
  uint8_t *own = truth->labels ? NULL : malloc(voxels);
  work.a = truth->labels ? truth->labels : own;
  work.b = malloc(voxels);
  enum status status = work.a && work.b ? compare(&work, prediction, measures)
                                        : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                      "evaluation: out of memory");
  free(own);
  free(work.b);
  return status;
}
