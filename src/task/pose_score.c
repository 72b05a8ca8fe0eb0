/* How good an estimate is: errors along the axes and of the whole motion, beside those of two
 * predictors that see nothing (identity, and the mean pose of training), and how well labels fall
 * back into place when the volume is moved back. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/metrics.h"
#include "metrics/pose.h"
#include "task/pose.h"

/* Columns of every predictor. */
static const char *const error_names[] = {
    "error_rx",     "error_ry",    "error_rz",         "error_tx",
    "error_ty",     "error_tz",    "rotation_mae_deg", "translation_mae_mm",
    "geodesic_deg", "distance_mm", "corner_mm",        "structure_mm",
    "within_2",     "within_5",    "within_10",        "corner_within_10",
};
enum {
  ERROR_ROTATION_MAE = POSE_NUMBERS,
  ERROR_TRANSLATION_MAE,
  ERROR_GEODESIC,
  ERROR_DISTANCE,
  ERROR_CORNER,
  ERROR_STRUCTURE,
  ERROR_SUCCESS,
  ERROR_COLUMNS = ERROR_SUCCESS + POSE_SUCCESSES,
};

/* While training: these of the network's. */
static const int short_errors[] = {ERROR_ROTATION_MAE, ERROR_TRANSLATION_MAE, ERROR_GEODESIC,
                                   ERROR_DISTANCE, ERROR_CORNER};
enum { SHORT_ERRORS = sizeof short_errors / sizeof *short_errors };

static const char *const numbers[POSE_NUMBERS] = {"rx", "ry", "rz", "tx", "ty", "tz"};

enum predictor { NETWORK, IDENTITY, MEAN, PREDICTORS };
static const char *const predictor_prefix[PREDICTORS] = {"", "identity_", "mean_"};

/* Detailed columns: closeness, errors of all predictors, true and predicted numbers, overlaps. */
enum {
  COLUMN_ERRORS = 1,
  COLUMN_TRUE = COLUMN_ERRORS + PREDICTORS * ERROR_COLUMNS,
  COLUMN_PREDICTED = COLUMN_TRUE + POSE_NUMBERS,
  COLUMN_DICE_MOVED = COLUMN_PREDICTED + POSE_NUMBERS,
  COLUMN_DICE_RESTORED,
};

static void add_column(struct task_columns *columns, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_column(struct task_columns *columns, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(columns->name[columns->count++], TASK_COLUMN_BYTES, format, arguments);
  va_end(arguments);
}

enum status pose_columns(const struct task_run *run, bool detailed, struct task_columns *columns) {
  columns->count = 0;
  add_column(columns, "closeness");
  for (int i = 0; i < SHORT_ERRORS && !detailed; i++)
    add_column(columns, "%s", error_names[short_errors[i]]);
  if (!detailed) return STATUS_OK;
  for (int p = 0; p < PREDICTORS; p++)
    for (int i = 0; i < ERROR_COLUMNS; i++)
      add_column(columns, "%s%s", predictor_prefix[p], error_names[i]);
  for (int i = 0; i < POSE_NUMBERS; i++) add_column(columns, "true_%s", numbers[i]);
  for (int i = 0; i < POSE_NUMBERS; i++) add_column(columns, "predicted_%s", numbers[i]);
  if (!run->dataset.has_labels) return STATUS_OK;
  add_column(columns, "dice_moved");
  add_column(columns, "dice_restored");
  return STATUS_OK;
}

/* A sample being scored. */
struct scene {
  const struct task_run *run;
  const struct dataset_subject *subject;
  const uint8_t *labels; /* NULL: none */
  double centre[3], half[3];
  struct pose truth;
  double structures[256][3]; /* centroids of the labels from the centre, mm */
  int structure_count;
};

static void score_errors(const struct scene *scene, const struct pose *estimate, double *row) {
  struct metrics_pose error = metrics_pose_compare(estimate, &scene->truth, scene->half);
  for (int axis = 0; axis < 3; axis++) {
    row[axis] = error.rotation[axis];
    row[3 + axis] = error.translation[axis];
  }
  row[ERROR_ROTATION_MAE] = metrics_mean(error.rotation, 3);
  row[ERROR_TRANSLATION_MAE] = metrics_mean(error.translation, 3);
  row[ERROR_GEODESIC] = error.geodesic;
  row[ERROR_DISTANCE] = error.distance;
  row[ERROR_CORNER] = error.corner;
  row[ERROR_STRUCTURE] = metrics_pose_distance(
      estimate, &scene->truth, (const double(*)[3])scene->structures, scene->structure_count);
  for (int i = 0; i < POSE_SUCCESSES; i++)
    row[ERROR_SUCCESS + i] = metrics_pose_succeeds(&error, (enum metrics_pose_success)i);
}

/* The mean of the fixed poses of all training subjects. */
static struct pose mean_pose(const struct task_run *run) {
  struct pose mean = {0};
  int64_t variants = run->config->pose.variants_per_image;
  double count = (double)(run->subject_count[SPLIT_TRAIN] * variants);
  for (int i = 0; i < run->subject_count[SPLIT_TRAIN]; i++)
    for (int64_t v = 0; v < variants; v++) {
      struct pose pose = pose_motion(run, -1, run->subjects[SPLIT_TRAIN][i], v);
      for (int axis = 0; axis < 3; axis++) {
        mean.rotation[axis] += pose.rotation[axis] / count;
        mean.translation[axis] += pose.translation[axis] / count;
      }
    }
  return mean;
}

/* --- labels --- */

static void find_structures(struct scene *scene) {
  double sum[256][3] = {{0}}, count[256] = {0};
  const int *extent = scene->run->dataset.extent;
  const uint8_t *label = scene->labels;
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++, label++) {
        if (!*label) continue;
        const int voxel[3] = {i, j, k};
        for (int axis = 0; axis < 3; axis++) sum[*label][axis] += voxel[axis];
        count[*label]++;
      }
  for (int c = 1; c < 256; c++) {
    if (count[c] == 0) continue;
    double *place = scene->structures[scene->structure_count++];
    const double voxel[3] = {sum[c][0] / count[c], sum[c][1] / count[c], sum[c][2] / count[c]};
    affine_apply(&scene->subject->affine, voxel, place);
    for (int axis = 0; axis < 3; axis++) place[axis] -= scene->centre[axis];
  }
}

/* result(v) = labels at map(v), nearest, 0 outside. */
static void pull_labels(const uint8_t *labels, const int extent[3], const struct affine *map,
                        uint8_t *result) {
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        const double voxel[3] = {i, j, k};
        double place[3];
        int64_t from = 0;
        bool inside = true;
        affine_apply(map, voxel, place);
        for (int axis = 0; axis < 3; axis++) {
          double nearest = floor(place[axis] + 0.5);
          inside = inside && nearest >= 0 && nearest < extent[axis];
          from = from * extent[axis] + (inside ? (int64_t)nearest : 0);
        }
        result[((int64_t)i * extent[1] + j) * extent[2] + k] = inside ? labels[from] : 0;
      }
}

/* The mean Dice of labels before and after a motion of the world, pulled through `pull`. */
static enum status dice_after(const struct scene *scene, const struct affine *pull, double *dice) {
  const struct dataset *dataset = &scene->run->dataset;
  const int *extent = dataset->extent;
  int64_t voxels = (int64_t)extent[0] * extent[1] * extent[2];
  struct affine inverse, outer, map;
  double each[256];
  TRY(affine_invert(&scene->subject->affine, &inverse));
  outer = affine_compose(&inverse, pull);
  map = affine_compose(&outer, &scene->subject->affine);
  uint8_t *pulled = malloc((size_t)voxels);
  REQUIRE(pulled, STATUS_FAILED, "evaluation: out of memory");
  pull_labels(scene->labels, extent, &map, pulled);
  metrics_dice(scene->labels, scene->labels, pulled, voxels, dataset->classes, each);
  free(pulled);
  *dice = metrics_mean(each + 1, dataset->classes - 1);
  return STATUS_OK;
}

/* Moved by T and then back by the estimate P^-1, a volume is pulled through T^-1 P. */
static enum status score_overlaps(const struct scene *scene, const struct pose *estimate,
                                  double *row) {
  struct pose back = rigid_inverse(&scene->truth);
  struct affine inverse = rigid_affine(&back, scene->centre);
  struct affine forward = rigid_affine(estimate, scene->centre);
  struct affine both = affine_compose(&inverse, &forward);
  TRY(dice_after(scene, &inverse, &row[COLUMN_DICE_MOVED]));
  return dice_after(scene, &both, &row[COLUMN_DICE_RESTORED]);
}

/* --- rows --- */

static enum status score_details(struct scene *scene, const struct pose *estimate, double *row) {
  static const struct pose still;
  const struct pose mean = mean_pose(scene->run);
  const struct pose *const estimates[PREDICTORS] = {estimate, &still, &mean};
  if (scene->labels) find_structures(scene);
  for (int p = 0; p < PREDICTORS; p++)
    score_errors(scene, estimates[p], row + COLUMN_ERRORS + p * ERROR_COLUMNS);
  for (int axis = 0; axis < 3; axis++) {
    row[COLUMN_TRUE + axis] = scene->truth.rotation[axis];
    row[COLUMN_TRUE + 3 + axis] = scene->truth.translation[axis];
    row[COLUMN_PREDICTED + axis] = estimate->rotation[axis];
    row[COLUMN_PREDICTED + 3 + axis] = estimate->translation[axis];
  }
  return scene->labels ? score_overlaps(scene, estimate, row) : STATUS_OK;
}

static enum status score_scene(struct scene *scene, const struct pose *estimate, bool detailed,
                               double *row) {
  double errors[ERROR_COLUMNS];
  score_errors(scene, estimate, errors);
  row[0] = -errors[ERROR_CORNER];
  for (int i = 0; i < SHORT_ERRORS && !detailed; i++)
    row[COLUMN_ERRORS + i] = errors[short_errors[i]];
  return detailed ? score_details(scene, estimate, row) : STATUS_OK;
}

enum status pose_score(struct task_run *run, enum split split, int64_t index, bool detailed,
                       const struct task_network *network, const void *const *inputs, double *row,
                       char *label) {
  (void)inputs;
  const struct pose_sample sample = pose_sample_of(run, PURPOSE_PREDICTION, split, -1, index);
  const void *output;
  struct pose estimate;
  TRY(network->output(network->context, "estimate", &output));
  pose_read_estimate(run->config, output, &estimate);
  struct scene *scene = calloc(1, sizeof *scene);
  REQUIRE(scene, STATUS_FAILED, "evaluation: out of memory");
  scene->run = run;
  scene->subject = &run->dataset.subjects[sample.subject];
  if (run->dataset.has_labels) scene->labels = dataset_label(&run->dataset, sample.subject);
  scene->truth = pose_motion(run, sample.epoch, sample.subject, sample.variant);
  pose_centre(run, sample.subject, scene->centre);
  pose_half_sides(run->config, scene->half);
  snprintf(label, TASK_LABEL_BYTES, "%.140s #%lld", scene->subject->id, (long long)sample.variant);
  enum status status = score_scene(scene, &estimate, detailed, row);
  free(scene);
  return status;
}
