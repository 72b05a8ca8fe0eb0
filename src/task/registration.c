/* Deformable registration (VoxelMorph): opening, pairs, inputs. */
#include "task/registration.h"
#include <string.h>
#include "base/random.h"
#include "model/deformation.h"
#include "task/common.h"

static bool mode_is(const struct task_run *run, const char *mode) {
  return strcmp(run->config->registration.pairs, mode) == 0;
}

/* How many pairs registration_fixed_pair knows. */
static int fixed_pairs(const struct task_run *run, enum split split) {
  int subjects = run->subject_count[split];
  if (run->atlas >= 0) return subjects;
  return subjects > 0 ? subjects - 1 : 0;
}

int64_t registration_count(const struct task_run *run, enum purpose purpose, enum split split) {
  if (purpose != PURPOSE_TRAINING) return fixed_pairs(run, split);
  if (run->config->registration.pairs_per_epoch > 0)
    return run->config->registration.pairs_per_epoch;
  return mode_is(run, "random") ? run->subject_count[split] : fixed_pairs(run, split);
}

struct pair registration_fixed_pair(const struct task_run *run, enum split split, int64_t index) {
  const int *subjects = run->subjects[split];
  if (run->atlas >= 0) return (struct pair){run->atlas, subjects[index]};
  return (struct pair){subjects[index + 1], subjects[index]};
}

static struct pair random_pair(const struct task_run *run, int64_t epoch, int64_t index) {
  uint32_t subjects = (uint32_t)run->subject_count[SPLIT_TRAIN];
  struct random stream = random_stream((uint64_t)run->config->root.seed, RANDOM_PAIRS,
                                       (uint32_t)epoch, (uint32_t)index);
  uint32_t moving = random_below(&stream, subjects);
  uint32_t fixed = random_below(&stream, subjects - 1);
  if (fixed >= moving) fixed++; /* any subject but the moving one, each as likely */
  return (struct pair){run->subjects[SPLIT_TRAIN][moving], run->subjects[SPLIT_TRAIN][fixed]};
}

struct pair registration_training_pair(struct task_run *run, int64_t epoch, int64_t index) {
  if (mode_is(run, "random")) return random_pair(run, epoch, index);
  int pairs = fixed_pairs(run, SPLIT_TRAIN);
  return registration_fixed_pair(run, SPLIT_TRAIN, task_shuffle(run, &epoch, index, pairs));
}

/* The atlas on itself teaches nothing and scores perfectly. */
static void leave_out(struct task_run *run, int subject) {
  for (int split = 0; split < SPLIT_COUNT; split++) {
    int kept = 0;
    for (int i = 0; i < run->subject_count[split]; i++)
      if (run->subjects[split][i] != subject)
        run->subjects[split][kept++] = run->subjects[split][i];
    run->subject_count[split] = kept;
  }
}

static enum status find_atlas(struct task_run *run) {
  const char *id = run->config->registration.atlas;
  REQUIRE(*id, STATUS_USAGE, "registration.atlas: expected the id of a subject, found nothing");
  run->atlas = dataset_find(&run->dataset, id);
  REQUIRE(run->atlas >= 0, STATUS_USAGE, "registration.atlas: no subject \"%s\" in %s", id,
          run->config->data.shards);
  leave_out(run, run->atlas);
  return STATUS_OK;
}

/* Warps are between voxels of one grid: padded subjects have grids of their own. */
static enum status check_grids(const struct task_run *run) {
  const struct dataset *dataset = &run->dataset;
  for (int i = 0; i < dataset->subject_count; i++)
    REQUIRE(memcmp(dataset->subjects[i].box_count, dataset->extent, sizeof dataset->extent) == 0,
            STATUS_USAGE,
            "%s: expected subjects on one grid, found a padded one, %s; set data.grid = "
            "\"common\" and prepare again",
            run->config->data.shards, dataset->subjects[i].id);
  return STATUS_OK;
}

static enum status check_extents(const struct task_run *run) {
  int multiple;
  TRY(deformation_multiple(run->config, &multiple));
  const int *extent = run->dataset.extent;
  for (int axis = 0; axis < 3; axis++)
    REQUIRE(extent[axis] % multiple == 0, STATUS_USAGE,
            "%s: expected extents that are multiples of %d (the network's poolings and levels), "
            "found %d %d "
            "%d; set data.multiple = %d and prepare again",
            run->config->data.shards, multiple, extent[0], extent[1], extent[2], multiple);
  return STATUS_OK;
}

static enum status registration_open(struct task_run *run, const struct config *config) {
  TRY(task_open_dataset(run, config));
  REQUIRE(run->dataset.channels == 1, STATUS_USAGE,
          "%s: expected images of 1 channel for task registration, found %d", config->data.shards,
          run->dataset.channels);
  TRY(check_grids(run));
  if (mode_is(run, "atlas")) TRY(find_atlas(run));
  int needed = mode_is(run, "atlas") ? 1 : 2;
  REQUIRE(run->subject_count[SPLIT_TRAIN] >= needed, STATUS_USAGE,
          "%s: expected at least %d training subjects, found %d", config->data.shards, needed,
          run->subject_count[SPLIT_TRAIN]);
  REQUIRE(config->loss.lam_dice == 0 || run->dataset.has_labels, STATUS_USAGE,
          "loss.lam_dice: expected 0 since %s has no labels, found %g", config->data.shards,
          config->loss.lam_dice);
  REQUIRE(config->loss.lam_sim > 0 || config->loss.lam_smooth > 0 || config->loss.lam_dice > 0,
          STATUS_USAGE, "loss: expected lam_sim, lam_smooth or lam_dice above 0, found none");
  return check_extents(run);
}

static enum status registration_fill(struct task_run *run, enum purpose purpose, enum split split,
                                     int64_t epoch, int64_t index, void *const *inputs) {
  struct pair pair = split == SPLIT_TRAIN && purpose == PURPOSE_TRAINING
                         ? registration_training_pair(run, epoch, index)
                         : registration_fixed_pair(run, split, index);
  struct dataset *dataset = &run->dataset;
  TRY(task_put_image(run, purpose, pair.moving, inputs, INPUT_MOVING));
  TRY(task_put_image(run, purpose, pair.fixed, inputs, INPUT_FIXED));
  if (purpose == PURPOSE_TRAINING && run->config->loss.lam_dice > 0) {
    TRY(task_put_labels(run, purpose, pair.moving, inputs, INPUT_MOVING_LABELS));
    TRY(task_put_labels(run, purpose, pair.fixed, inputs, INPUT_FIXED_LABELS));
  }
  dataset_release_pages(dataset, pair.moving);
  dataset_release_pages(dataset, pair.fixed);
  return STATUS_OK;
}

static const char *registration_best(const struct task_run *run) {
  return run->dataset.has_labels ? "dice" : "correlation";
}

extern const struct task task_registration;
const struct task task_registration = {
    .name = "registration",
    .help = "deformable registration of pairs of volumes (VoxelMorph)",
    .open = registration_open,
    .build = registration_build,
    .count = registration_count,
    .fill = registration_fill,
    .columns = registration_columns,
    .best = registration_best,
    .score = registration_score,
    .draw = registration_draw,
    .predict = registration_predict,
    .predict_usage = "MOVING FIXED [MOVING_LABELS]",
};
