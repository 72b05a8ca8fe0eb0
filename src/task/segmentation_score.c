/* How good the segmentation of a subject is: Dice, intersection over union, distances of surfaces
 * and counts of voxels, while training on the prepared grid, then on that of the source files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "task/segmentation_measure.h"
#include "task/segmentation_picture.h"
#include "task/segmentation_scores.h"

enum { MOST_PICTURES = 16 }; /* subjects of a split that are drawn */

/* A subject being scored. */
struct scene {
  struct task_run *run;
  struct segmentation_view view;
  struct segmentation_table table;
  enum metrics_empty rule;
  int subject;
  bool drawn;
  const struct task_network *network;
  struct segmentation_measure *measures; /* [classes] */
  double *categories;                    /* [categories]: probabilities */
  double voxel_ml;
};

/* --- what to measure --- */

static enum status measure_prediction(struct scene *scene,
                                      const struct segmentation_prediction *prediction) {
  const struct dataset *dataset = &scene->run->dataset;
  const struct config *config = scene->run->config;
  struct segmentation_truth truth = {0};
  bool source = strcmp(config->segmentation.geometry, "source") == 0;
  enum status status =
      segmentation_truth_open(&truth, &scene->view, dataset, scene->subject, source);
  if (!status) status = segmentation_measure_all(&truth, prediction, scene->rule, scene->measures);
  if (!status) scene->voxel_ml = fabs(affine_determinant(&truth.grid.affine)) / 1000;
  segmentation_truth_close(&truth);
  if (status || !scene->drawn) return status;
  return segmentation_write_picture(scene->run, &scene->view, scene->subject, prediction);
}

static enum status measure_all(struct scene *scene) {
  const struct dataset *dataset = &scene->run->dataset;
  const struct segmentation_box box = segmentation_own_box(dataset, scene->subject);
  struct segmentation_prediction prediction = {0};
  const struct segmentation_planes planes = {.take = segmentation_prediction_take,
                                             .categories = scene->categories,
                                             .context = &prediction};
  enum status status = segmentation_prediction_open(
      &prediction, &scene->view, dataset->extent, &dataset->subjects[scene->subject].affine, &box);
  if (!status)
    status =
        segmentation_infer_subject(&scene->view, dataset, scene->subject, scene->network, &planes);
  if (!status) status = measure_prediction(scene, &prediction);
  segmentation_prediction_close(&prediction);
  return status;
}

/* --- the row --- */

static double class_value(const struct scene *scene, enum segmentation_kind kind, int c) {
  const struct segmentation_measure *measure = &scene->measures[c];
  switch (kind) {
    case SEGMENTATION_CLASS_DICE:
      return metrics_counts_dice(&measure->counts, scene->rule);
    case SEGMENTATION_CLASS_IOU:
      return metrics_counts_iou(&measure->counts, scene->rule);
    case SEGMENTATION_CLASS_TP:
      return (double)measure->counts.tp;
    case SEGMENTATION_CLASS_FP:
      return (double)measure->counts.fp;
    case SEGMENTATION_CLASS_FN:
      return (double)measure->counts.fn;
    case SEGMENTATION_CLASS_HD95:
      return measure->hd95;
    default:
      return measure->nsd;
  }
}

/* Over classes `first` and above, leaving out what is no number. */
static double mean_of(const struct scene *scene, enum segmentation_kind kind, int first) {
  double sum = 0;
  int count = 0;
  for (int c = first; c < scene->table.classes; c++) {
    double value = class_value(scene, kind, c);
    if (isnan(value)) continue;
    sum += value;
    count++;
  }
  return count ? sum / count : NAN;
}

static void count_found(const struct scene *scene, int first, double *row) {
  row[SEGMENTATION_PRESENT] = row[SEGMENTATION_MISSED] = row[SEGMENTATION_SPURIOUS] = 0;
  for (int c = first; c < scene->table.classes; c++) {
    const struct metrics_counts *counts = &scene->measures[c].counts;
    bool truth = counts->tp + counts->fn > 0, predicted = counts->tp + counts->fp > 0;
    row[SEGMENTATION_PRESENT] += truth;
    row[SEGMENTATION_MISSED] += truth && !predicted;
    row[SEGMENTATION_SPURIOUS] += !truth && predicted;
  }
}

/* The likeliest category beside the true one. */
static void fill_verdicts(const struct scene *scene, double *row) {
  const struct segmentation_table *table = &scene->table;
  int truth = scene->run->dataset.subjects[scene->subject].category, predicted = 0;
  for (int c = 1; c < table->categories; c++)
    if (scene->categories[c] > scene->categories[predicted]) predicted = c;
  const double verdicts[SEGMENTATION_VERDICTS] = {
      [SEGMENTATION_CATEGORY_CORRECT] = truth < 0 ? NAN : truth == predicted,
      [SEGMENTATION_CATEGORY] = truth < 0 ? NAN : truth,
      [SEGMENTATION_CATEGORY_PREDICTED] = predicted,
  };
  for (int i = 0; i < table->verdicts; i++)
    row[segmentation_table_verdict(table, (enum segmentation_verdict)i)] = verdicts[i];
}

static void fill_row(const struct scene *scene, double *row) {
  const struct segmentation_table *table = &scene->table;
  int first = table->overlapping ? 0 : 1;
  row[SEGMENTATION_DICE] = mean_of(scene, SEGMENTATION_CLASS_DICE, first);
  row[SEGMENTATION_IOU] = mean_of(scene, SEGMENTATION_CLASS_IOU, first);
  if (table->detailed) {
    row[SEGMENTATION_IOU_ALL] =
        table->overlapping ? NAN : mean_of(scene, SEGMENTATION_CLASS_IOU, 0);
    row[SEGMENTATION_HD95] = mean_of(scene, SEGMENTATION_CLASS_HD95, first);
    row[SEGMENTATION_NSD] = mean_of(scene, SEGMENTATION_CLASS_NSD, first);
    row[SEGMENTATION_VOXEL_ML] = scene->voxel_ml;
    count_found(scene, first, row);
  }
  for (int kind = 0; kind < table->kinds; kind++)
    for (int c = table->first; c < table->first + table->listed; c++)
      row[segmentation_table_column(table, (enum segmentation_kind)kind, c)] =
          class_value(scene, (enum segmentation_kind)kind, c);
  fill_verdicts(scene, row);
}

static enum status score_scene(struct scene *scene, bool detailed, double *row) {
  int rule = metrics_empty_find(scene->run->config->segmentation.empty);
  REQUIRE(rule >= 0, STATUS_USAGE, "segmentation.empty: found \"%s\", which is no rule",
          scene->run->config->segmentation.empty);
  scene->rule = (enum metrics_empty)rule;
  scene->measures = calloc((size_t)scene->view.classes, sizeof *scene->measures);
  scene->categories = calloc((size_t)scene->table.categories + 1, sizeof(double));
  enum status status = STATUS_OK;
  if (!scene->measures || !scene->categories)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "evaluation: out of memory");
  else if (detailed)
    status = measure_all(scene);
  else
    status = segmentation_count_planes(&scene->view, &scene->run->dataset, scene->subject,
                                       scene->network, scene->categories, scene->measures);
  if (!status) fill_row(scene, row);
  free(scene->measures);
  free(scene->categories);
  return status;
}

enum status segmentation_score(struct task_run *run, enum split split, int64_t index, bool detailed,
                               const struct task_network *network, const void *const *inputs,
                               double *row, char *label) {
  (void)inputs;
  struct scene scene = {.run = run, .subject = run->subjects[split][index], .network = network};
  scene.drawn = detailed && run->config->output.images && index < MOST_PICTURES;
  TRY(segmentation_look(run->config, run->dataset.extent, &scene.view));
  TRY(segmentation_table_plan(run, detailed, &scene.table));
  TRY(dataset_verify(&run->dataset, scene.subject));
  snprintf(label, TASK_LABEL_BYTES, "%.150s", run->dataset.subjects[scene.subject].id);
  return score_scene(&scene, detailed, row);
}
