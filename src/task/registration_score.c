/* How good a registration is, pair by pair. Labels are warped by nearest neighbour, as Learn2Reg
 * scores them; "before" columns score the unwarped moving labels. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/metrics.h"
#include "task/registration.h"

static void add_column(struct task_columns *columns, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_column(struct task_columns *columns, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(columns->name[columns->count++], TASK_COLUMN_BYTES, format, arguments);
  va_end(arguments);
}

/* The number that class `c` (from 1) has in the source label maps. */
static long long label_value(const struct dataset *dataset, int c) {
  return dataset->label_value_count ? (long long)dataset->label_values[c - 1] : c;
}

/* Columns per foreground label when detailed. */
static const char *const label_columns[] = {"dice_before_%lld", "dice_%lld", "hd95_before_%lld",
                                            "hd95_%lld"};
enum {
  LABEL_COLUMNS = sizeof label_columns / sizeof *label_columns,
  SHORT_COLUMNS = 4,
  DETAILED_COLUMNS = 9
};

enum status registration_columns(const struct task_run *run, bool detailed,
                                 struct task_columns *columns) {
  const struct dataset *dataset = &run->dataset;
  static const char *const names[DETAILED_COLUMNS] = {"dice_before",  "dice",        "correlation",
                                                      "fold_percent", "hd95_before", "hd95",
                                                      "sdlogj_l2r",   "ndv_percent", "ndp_percent"};
  columns->count = 0;
  for (int i = 0; i < (detailed ? DETAILED_COLUMNS : SHORT_COLUMNS); i++)
    add_column(columns, "%s", names[i]);
  if (!detailed || !dataset->has_labels) return STATUS_OK;
  int needed = DETAILED_COLUMNS + LABEL_COLUMNS * (dataset->classes - 1);
  REQUIRE(needed <= TASK_MAX_COLUMNS, STATUS_USAGE,
          "evaluate: expected at most %d labels, found %d; choose some with data.labels",
          (TASK_MAX_COLUMNS - DETAILED_COLUMNS) / LABEL_COLUMNS, dataset->classes - 1);
  for (int kind = 0; kind < LABEL_COLUMNS; kind++)
    for (int c = 1; c < dataset->classes; c++) {
      char name[TASK_COLUMN_BYTES];
      snprintf(name, sizeof name, label_columns[kind], label_value(dataset, c));
      add_column(columns, "%s", name);
    }
  return STATUS_OK;
}

/* Pearson's correlation of two images. */
static double correlation(const float *a, const float *b, int64_t count) {
  double sum_a = 0, sum_b = 0, aa = 0, bb = 0, ab = 0;
  for (int64_t i = 0; i < count; i++) {
    sum_a += a[i];
    sum_b += b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
    ab += (double)a[i] * b[i];
  }
  double n = (double)count;
  double variances = (aa - sum_a * sum_a / n) * (bb - sum_b * sum_b / n);
  return variances > 0 ? (ab - sum_a * sum_b / n) / sqrt(variances) : NAN;
}

/* A pair being scored. */
struct scene {
  const struct dataset *dataset;
  const uint8_t *moving, *fixed; /* label maps */
  uint8_t *warped;               /* moving labels, warped */
  double spacing[3];
  int64_t voxels;
};

/* hd95[c] of labels that both maps have, as Dice counts them (NaN elsewhere). */
static enum status surface_distances(const struct scene *scene, const uint8_t *labels,
                                     const double *dice, double *hd95) {
  for (int c = 1; c < scene->dataset->classes; c++) {
    struct metrics_surface surface = {.hausdorff_95 = NAN};
    if (!isnan(dice[c]))
      TRY(metrics_surface_distance(labels, scene->fixed, c, scene->dataset->extent, scene->spacing,
                                   &surface));
    hd95[c] = isinf(surface.hausdorff_95) ? NAN : surface.hausdorff_95;
  }
  return STATUS_OK;
}

static enum status score_details(const struct scene *scene, const double *before,
                                 const double *after, double *row) {
  enum { CLASSES = 256 };
  double hd95_before[CLASSES], hd95[CLASSES];
  int labels = scene->dataset->classes - 1;
  TRY(surface_distances(scene, scene->moving, before, hd95_before));
  TRY(surface_distances(scene, scene->warped, before, hd95));
  row[4] = metrics_mean(hd95_before + 1, labels);
  row[5] = metrics_mean(hd95 + 1, labels);
  const double *kinds[LABEL_COLUMNS] = {before, after, hd95_before, hd95};
  for (int kind = 0; kind < LABEL_COLUMNS; kind++)
    memcpy(row + DETAILED_COLUMNS + kind * labels, kinds[kind] + 1,
           sizeof(double) * (size_t)labels);
  return STATUS_OK;
}

static enum status score_labels(struct scene *scene, const float *displacement, bool detailed,
                                double *row) {
  enum { CLASSES = 256 };
  double before[CLASSES], after[CLASSES];
  int classes = scene->dataset->classes;
  metrics_warp_labels(scene->moving, displacement, scene->dataset->extent, scene->warped);
  metrics_dice(scene->fixed, scene->moving, scene->moving, scene->voxels, classes, before);
  metrics_dice(scene->fixed, scene->moving, scene->warped, scene->voxels, classes, after);
  row[0] = metrics_mean(before + 1, classes - 1);
  row[1] = metrics_mean(after + 1, classes - 1);
  return detailed ? score_details(scene, before, after, row) : STATUS_OK;
}

static void score_regularity(const struct scene *scene, const float *displacement, double *row) {
  const int *extent = scene->dataset->extent;
  struct metrics_diffeomorphism diffeomorphism =
      metrics_digital_diffeomorphism(displacement, extent, scene->moving);
  row[6] = metrics_deviation_log_jacobian_l2r(displacement, extent);
  row[7] = diffeomorphism.volume_percent;
  row[8] = diffeomorphism.point_percent;
}

static enum status score_scene(struct scene *scene, bool detailed, const float *displacement,
                               double *row) {
  for (int i = 0; i < SHORT_COLUMNS; i++) row[i] = NAN;
  for (int i = SHORT_COLUMNS; detailed && i < DETAILED_COLUMNS; i++) row[i] = NAN;
  row[3] = metrics_fold_percent(displacement, scene->dataset->extent);
  if (detailed) score_regularity(scene, displacement, row);
  if (!scene->dataset->has_labels) return STATUS_OK;
  scene->warped = malloc((size_t)scene->voxels);
  REQUIRE(scene->warped, STATUS_FAILED, "evaluation: out of memory");
  enum status status = score_labels(scene, displacement, detailed, row);
  free(scene->warped);
  return status;
}

enum status registration_score(struct task_run *run, enum split split, int64_t index, bool detailed,
                               const struct task_network *network, const void *const *inputs,
                               double *row, char *label) {
  struct pair pair = registration_fixed_pair(run, split, index);
  const struct dataset *dataset = &run->dataset;
  const void *displacement, *warped;
  TRY(network->output(network->context, "displacement", &displacement));
  TRY(network->output(network->context, "warped", &warped));
  struct scene scene = {.dataset = dataset,
                        .moving = dataset_label(dataset, pair.moving),
                        .fixed = dataset_label(dataset, pair.fixed)};
  const int *extent = dataset->extent;
  scene.voxels = (int64_t)extent[0] * extent[1] * extent[2];
  memcpy(scene.spacing, dataset->subjects[pair.fixed].spacing, sizeof scene.spacing);
  snprintf(label, TASK_LABEL_BYTES, "%.70s -> %.70s", dataset->subjects[pair.moving].id,
           dataset->subjects[pair.fixed].id);
  TRY(score_scene(&scene, detailed, displacement, row));
  row[2] = correlation(warped, inputs[INPUT_FIXED], scene.voxels);
  return STATUS_OK;
}
