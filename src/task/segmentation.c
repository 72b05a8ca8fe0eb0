/* The segmentation task: what it is run on, opening, how many samples there are. */
#include "task/segmentation.h"
#include <string.h>
#include "kernels/common/logits.h"
#include "kernels/window/window.h"
#include "model/model.h"
#include "task/augment.h"
#include "task/common.h"
#include "task/segmentation_sample.h"

/* --- what the network sees --- */

bool segmentation_samples(const struct config *config, const char *kind) {
  return strcmp(config->segmentation.sample, kind) == 0;
}

static enum status check_windows(const struct config *config) {
  const struct real_list *windows = &config->segmentation.windows;
  REQUIRE(windows->count % 2 == 0 && windows->count / 2 <= WINDOW_MOST, STATUS_USAGE,
          "segmentation.windows: expected pairs of low and high, at most %d, found %d numbers",
          WINDOW_MOST, windows->count);
  for (int i = 0; i < windows->count; i += 2)
    REQUIRE(windows->value[i] < windows->value[i + 1], STATUS_USAGE,
            "segmentation.windows: expected low below high, found %g and %g", windows->value[i],
            windows->value[i + 1]);
  REQUIRE(windows->count == 0 || config->data.channels == 1, STATUS_USAGE,
          "segmentation.windows: expected data.channels = 1, found %lld",
          (long long)config->data.channels);
  REQUIRE(config->segmentation.window_range.count == 2, STATUS_USAGE,
          "segmentation.window_range: expected 2 numbers, found %d",
          config->segmentation.window_range.count);
  return STATUS_OK;
}

static enum status check_classes(const struct segmentation_view *view) {
  const struct config *config = view->config;
  int weights = config->segmentation.class_weights.count, least = view->overlapping ? 1 : 2;
  REQUIRE(view->classes >= least && (view->overlapping || view->classes <= LOGITS_MOST_CLASSES),
          STATUS_USAGE, "model.classes: expected %d to %d with the background, found %d", least,
          LOGITS_MOST_CLASSES, view->classes);
  REQUIRE(weights == 0 || (!view->overlapping && weights == view->classes), STATUS_USAGE,
          "segmentation.class_weights: expected %s, found %d numbers",
          view->overlapping ? "none for structures that overlap" : "one for each of model.classes",
          weights);
  return STATUS_OK;
}

static enum status check_window(const struct segmentation_view *view) {
  const struct model *model;
  TRY(model_find(view->config->model.name, &model));
  int multiple = model->multiple(view->config);
  const int *window = view->window;
  REQUIRE(!segmentation_samples(view->config, "slice") || multiple == 1 ||
              view->config->model.dimensions == 2,
          STATUS_USAGE, "model.dimensions: expected 2 for slices, found 3");
  for (int axis = view->config->model.dimensions == 2; axis < 3; axis++)
    REQUIRE(window[axis] % multiple == 0, STATUS_USAGE,
            "%s: expected extents that are multiples of %d (the network's), found %d %d %d",
            segmentation_samples(view->config, "patch") ? "segmentation.patch" : "the volumes",
            multiple, window[0], window[1], window[2]);
  return STATUS_OK;
}

static enum status find_coarseness(const struct config *config, int coarser[3]) {
  const struct model *model;
  TRY(model_find(config->model.name, &model));
  REQUIRE(model->coarser > 0, STATUS_USAGE,
          "model.name: expected a network that gives logits of voxels, found \"%s\"",
          config->model.name);
  for (int axis = 0; axis < 3; axis++) coarser[axis] = model->coarser;
  if (config->model.dimensions == 2) coarser[0] = 1;
  return STATUS_OK;
}

bool segmentation_overlaps(const struct config *config) {
  return strcmp(config->data.layout, "totalsegmentator") == 0;
}

enum status segmentation_look(const struct config *config, const int extent[3],
                              struct segmentation_view *view) {
  const struct int_list *patch = &config->segmentation.patch;
  bool patches = segmentation_samples(config, "patch");
  *view = (struct segmentation_view){
      .config = config,
      .classes = (int)config->model.classes,
      .categories = (int)config->segmentation.categories,
      .stored = (int)config->data.channels,
      .overlapping = segmentation_overlaps(config),
  };
  TRY(check_windows(config));
  REQUIRE(!patches || patch->count == 3, STATUS_USAGE,
          "segmentation.patch: expected 3 numbers, found %d", patch->count);
  memcpy(view->planned, extent, sizeof view->planned);
  for (int axis = 0; axis < 3; axis++)
    view->window[axis] = patches ? (int)patch->value[axis] : extent[axis];
  if (segmentation_samples(config, "slice")) view->window[0] = 1;
  TRY(find_coarseness(config, view->coarser));
  TRY(check_classes(view));
  TRY(augment_check(config, segmentation_dimensions(view)));
  return check_window(view);
}

struct segmentation_inputs segmentation_inputs_of(const struct segmentation_view *view,
                                                  enum purpose purpose) {
  const struct config *config = view->config;
  struct segmentation_inputs inputs = {.image = 0, -1, -1, -1, -1, .count = 1};
  bool training = purpose != PURPOSE_PREDICTION;
  if (training) inputs.truth = inputs.count++;
  if (training && augment_input_count(config) > 0) {
    inputs.change = inputs.count;
    inputs.count += augment_input_count(config);
  }
  if (config->model.dropout > 0 && (training || config->segmentation.passes > 0))
    inputs.dropout = inputs.count++;
  if (training && view->categories > 0) inputs.category = inputs.count++;
  return inputs;
}

int segmentation_dimensions(const struct segmentation_view *view) {
  bool planes = view->window[0] == 1 || view->config->model.dimensions == 2;
  return planes ? 2 : 3;
}

void segmentation_find_source(const struct task_run *run, const struct segmentation_view *view,
                              int extent[3]) {
  const struct dataset *dataset = &run->dataset;
  const struct real_list *wanted = &view->config->data.spacing;
  double spacing[3] = {1, 1, 1};
  int volume[3];
  memcpy(extent, view->window, sizeof volume);
  if (!augment_moves(view->config)) return; /* the network sees what is read */
  memcpy(volume, dataset->extent, sizeof volume);
  if (view->window[0] == 1) volume[0] = 1;
  for (int axis = 0; axis < 3; axis++) {
    if (dataset->subject_count > 0) spacing[axis] = dataset->subjects[0].spacing[axis];
    if (wanted->count == 3 && wanted->value[axis] > 0) spacing[axis] = wanted->value[axis];
  }
  augment_source_extent(view->config, view->window, spacing, segmentation_dimensions(view), volume,
                        extent);
}

/* --- opening --- */

static enum status check_truth(const struct task_run *run, const struct segmentation_view *view) {
  const struct dataset *dataset = &run->dataset;
  const char *shards = run->config->data.shards;
  bool there = view->overlapping ? dataset->has_masks : dataset->has_labels;
  REQUIRE(there, STATUS_USAGE, "%s: expected %s, found none", shards,
          view->overlapping ? "masks of structures" : "label maps");
  int found = view->overlapping ? dataset->structure_count : dataset->classes;
  REQUIRE(found == view->classes, STATUS_USAGE,
          "model.classes: expected %d, as many as %s has %s, found %d", found, shards,
          view->overlapping ? "structures" : "classes with the background", view->classes);
  REQUIRE(
      view->categories == 0 || (dataset->categories > 0 && dataset->categories <= view->categories),
      STATUS_USAGE, "segmentation.categories: expected %d, as many as %s has, found %d",
      dataset->categories, shards, view->categories);
  REQUIRE(run->subject_count[SPLIT_TRAIN] > 0, STATUS_USAGE,
          "%s: expected training subjects, found none", shards);
  return STATUS_OK;
}

static enum status check_grid(const struct config *config) {
  bool slices = strcmp(config->data.grid, "slices") == 0;
  REQUIRE(slices == segmentation_samples(config, "slice"), STATUS_USAGE,
          "segmentation.sample, data.grid: expected \"slice\" and \"slices\" together, found "
          "\"%s\" and \"%s\"",
          config->segmentation.sample, config->data.grid);
  return STATUS_OK;
}

static enum status segmentation_open(struct task_run *run, const struct config *config) {
  struct segmentation_view view;
  TRY(check_grid(config));
  TRY(task_open_dataset(run, config));
  TRY(segmentation_look(config, run->dataset.extent, &view));
  TRY(check_truth(run, &view));
  return segmentation_open_samples(run, &view);
}

static const char *segmentation_best(const struct task_run *run) {
  (void)run;
  return "dice";
}

extern const struct task task_segmentation;
const struct task task_segmentation = {
    .name = "segmentation",
    .help = "the class of each voxel, or the structures it is of: volumes, patches, slices",
    .runs_itself = true,
    .open = segmentation_open,
    .build = segmentation_build,
    .count = segmentation_count,
    .fill = segmentation_fill,
    .columns = segmentation_columns,
    .best = segmentation_best,
    .score = segmentation_score,
    .report = segmentation_report,
    .draw = segmentation_draw,
    .predict = segmentation_predict,
    .predict_usage = "VOLUME_OR_FOLDER...",
};
