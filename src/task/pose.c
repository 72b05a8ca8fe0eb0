/* The pose task: opening, samples, inputs. */
#include "task/pose.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "model/model.h"
#include "task/common.h"

static bool is_centroid(const struct config *config) {
  return strcmp(config->pose.canonical, "centroid") == 0;
}

bool pose_is_pair(const struct config *config) {
  return strcmp(config->pose.mode, "pair") == 0;
}

void pose_centre(const struct task_run *run, int subject, double centre[3]) {
  const struct dataset_subject *found = &run->dataset.subjects[subject];
  memcpy(centre, found->centroid, sizeof found->centroid);
  if (is_centroid(run->config)) return;
  struct grid box = {.affine = found->affine};
  memcpy(box.extent, found->box_count, sizeof box.extent);
  const double first[3] = {found->box_first[0], found->box_first[1], found->box_first[2]};
  double origin[3];
  affine_apply(&found->affine, first, origin);
  for (int axis = 0; axis < 3; axis++) box.affine.m[axis][3] = origin[axis];
  grid_get_centre(&box, centre);
}

/* --- opening --- */

static enum status check_grid(const struct config *config) {
  REQUIRE(config->pose.size.count == 3 && config->pose.spacing.count == 3, STATUS_USAGE,
          "pose.size, pose.spacing: expected 3 numbers each, found %d and %d",
          config->pose.size.count, config->pose.spacing.count);
  const struct model *model;
  TRY(model_find(config->model.name, &model));
  int multiple = model->multiple(config);
  const int64_t *size = config->pose.size.value;
  for (int axis = 0; axis < 3; axis++)
    REQUIRE(size[axis] % multiple == 0, STATUS_USAGE,
            "pose.size: expected multiples of %d (the network's), found %lld %lld %lld", multiple,
            (long long)size[0], (long long)size[1], (long long)size[2]);
  return STATUS_OK;
}

static enum status check_ranges(const struct config *config) {
  REQUIRE(config->pose.rotation_range > 0 && config->pose.translation_range > 0, STATUS_USAGE,
          "pose.rotation_range, pose.translation_range: expected more than 0, found %g and %g",
          config->pose.rotation_range, config->pose.translation_range);
  return STATUS_OK;
}

static enum status check_subjects(const struct task_run *run) {
  const struct dataset *dataset = &run->dataset;
  REQUIRE(run->subject_count[SPLIT_TRAIN] > 0, STATUS_USAGE,
          "%s: expected training subjects, found none", run->config->data.shards);
  for (int i = 0; i < dataset->subject_count && is_centroid(run->config); i++)
    REQUIRE(!isnan(dataset->subjects[i].centroid[0]), STATUS_USAGE,
            "pose.canonical: expected labelled subjects for \"centroid\", found none for %s",
            dataset->subjects[i].id);
  return STATUS_OK;
}

/* How far a subject's field of view reaches from its centre along its nearest border. */
static double reach_of(const struct task_run *run, int subject) {
  const struct dataset_subject *found = &run->dataset.subjects[subject];
  struct affine inverse;
  double centre[3], voxel[3], reach = INFINITY;
  pose_centre(run, subject, centre);
  if (affine_invert(&found->affine, &inverse)) return 0;
  affine_apply(&inverse, centre, voxel);
  for (int axis = 0; axis < 3; axis++) {
    double low = voxel[axis] - found->box_first[axis];
    double high = found->box_count[axis] - 1 - low;
    reach = fmin(reach, fmin(low, high) * found->spacing[axis]);
  }
  return reach;
}

/* With "crop" nothing should be seen that was not measured: the mask moved by the largest
 * translation must stay within every volume. */
static void warn_of_borders(const struct task_run *run) {
  const struct config *config = run->config;
  double range = config->pose.translation_range * sqrt(3), reach = INFINITY;
  int nearest = 0;
  for (int i = 0; i < run->dataset.subject_count; i++) {
    double found = reach_of(run, i);
    if (found < reach) nearest = i;
    reach = fmin(reach, found);
  }
  double needed = pose_mask_radius(config) + range;
  if (strcmp(config->pose.fill, "crop") == 0 && needed > reach)
    log_info(
        "pose.fill = \"crop\": the mask reaches %.0f mm from the centre when moved, the field of "
        "view of %s %.0f mm: voxels outside it repeat its border (pose.mask_radius = %.0f would "
        "avoid that)",
        needed, run->dataset.subjects[nearest].id, reach, fmax(0, floor(reach - range)));
}

static enum status pose_open(struct task_run *run, const struct config *config) {
  TRY(check_grid(config));
  TRY(check_ranges(config));
  TRY(task_open_dataset(run, config));
  REQUIRE(run->dataset.channels == 1, STATUS_USAGE,
          "%s: expected images of 1 channel for task pose, found %d", config->data.shards,
          run->dataset.channels);
  TRY(check_subjects(run));
  warn_of_borders(run);
  return task_reserve_order(run, run->subject_count[SPLIT_TRAIN] * config->pose.variants_per_image);
}

/* --- samples --- */

static int64_t variants_of(const struct config *config, enum purpose purpose) {
  return purpose == PURPOSE_TRAINING ? config->pose.variants_per_image
                                     : config->pose.evaluation_variants;
}

static int64_t pose_count(const struct task_run *run, enum purpose purpose, enum split split) {
  return run->subject_count[split] * variants_of(run->config, purpose);
}

struct pose_sample pose_sample_of(struct task_run *run, enum purpose purpose, enum split split,
                                  int64_t epoch, int64_t index) {
  int64_t variants = variants_of(run->config, purpose);
  bool training = purpose == PURPOSE_TRAINING && split == SPLIT_TRAIN;
  if (training) index = task_shuffle(run, &epoch, index, (int)pose_count(run, purpose, split));
  return (struct pose_sample){.subject = run->subjects[split][index / variants],
                              .epoch = training ? epoch : -1,
                              .variant = index % variants};
}

/* --- inputs --- */

static enum status fill_motion(const struct task_run *run, const struct pose_sample *sample,
                               const struct pose *pose, struct affine_motion *motion) {
  const struct dataset_subject *subject = &run->dataset.subjects[sample->subject];
  double centre[3];
  pose_centre(run, sample->subject, centre);
  TRY(pose_affine_motion(run->config, pose, centre, &subject->affine, subject->box_first,
                         subject->box_count, motion));
  if (strcmp(run->config->pose.fill, "noise") != 0) return STATUS_OK;
  pose_find_noise(dataset_image(&run->dataset, sample->subject), run->dataset.extent,
                  subject->box_first, subject->box_count, motion);
  pose_find_key(run->config, subject->id, sample->epoch, sample->variant, motion);
  return STATUS_OK;
}

static enum status pose_fill(struct task_run *run, enum purpose purpose, enum split split,
                             int64_t epoch, int64_t index, void *const *inputs) {
  const struct config *config = run->config;
  struct dataset *dataset = &run->dataset;
  const struct pose_sample sample = pose_sample_of(run, purpose, split, epoch, index);
  const struct pose pose = pose_motion(run, sample.epoch, sample.subject, sample.variant),
                    still = {0};
  bool pair = pose_is_pair(config);
  TRY(task_put_image(run, purpose, sample.subject, inputs, POSE_SOURCE));
  TRY(fill_motion(run, &sample, &pose, inputs[POSE_MOTION]));
  if (pair) TRY(task_put_image(run, purpose, sample.subject, inputs, POSE_REFERENCE));
  if (pair) TRY(fill_motion(run, &sample, &still, inputs[POSE_REFERENCE_MOTION]));
  if (purpose == PURPOSE_TRAINING) {
    float *target = inputs[pair ? POSE_REFERENCE_MOTION + 1 : POSE_REFERENCE];
    for (int i = 0; i < 3; i++) target[i] = (float)pose.rotation[i];
    for (int i = 0; i < 3; i++) target[3 + i] = (float)pose.translation[i];
  }
  dataset_release_pages(dataset, sample.subject);
  return STATUS_OK;
}

static const char *pose_best(const struct task_run *run) {
  (void)run;
  return "closeness";
}

extern const struct task task_pose;
const struct task task_pose = {
    .name = "pose",
    .help = "six numbers of the rigid motion that a volume has undergone",
    .open = pose_open,
    .build = pose_build,
    .count = pose_count,
    .fill = pose_fill,
    .columns = pose_columns,
    .best = pose_best,
    .score = pose_score,
    .report = pose_report,
    .draw = pose_draw,
    .predict = pose_predict,
    .predict_usage = "VOLUME_OR_FOLDER...",
};
