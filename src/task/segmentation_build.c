/* The graph of segmentation: windows of the image's values, the network. */
#include <string.h>
#include "kernels/loss_ce/loss_ce.h"
#include "kernels/window/window.h"
#include "model/blocks.h"
#include "model/model.h"
#include "task/augment.h"
#include "task/segmentation_losses.h"
#include "task/segmentation_sample.h"

/* The values of a graph under construction. */
struct build {
  const struct segmentation_view *view;
  struct graph *graph;
  int samples;
  int image, truth, dropout, category;
  struct augment_inputs change;
};

/* --- inputs --- */

static enum status add_image(struct build *build, const int extent[3]) {
  const struct shape shape = {build->samples, build->view->stored, extent[0], extent[1], extent[2]};
  return graph_input(build->graph, "image", shape, build->graph->dtype, false, &build->image);
}

/* What a training sample has besides its image, in the order of segmentation_inputs_of. */
static enum status add_training_inputs(struct build *build, const int extent[3]) {
  const struct segmentation_view *view = build->view;
  int planes = view->overlapping ? (view->classes + 7) / 8 : 1;
  const struct shape shape = {build->samples, planes, extent[0], extent[1], extent[2]};
  TRY(graph_input(build->graph, "truth", shape, DTYPE_U8, false, &build->truth));
  return augment_add_inputs(build->graph, view->config, build->samples, view->window,
                            segmentation_dimensions(view), &build->change);
}

static enum status add_key(struct build *build) {
  const struct shape shape = {build->samples, DROPOUT_KEY, 1, 1, 1};
  return graph_input(build->graph, "dropout", shape, build->graph->dtype, false, &build->dropout);
}

static enum status add_inputs(struct build *build, const struct task_run *run,
                              enum purpose purpose) {
  const struct segmentation_view *view = build->view;
  bool training = purpose != PURPOSE_PREDICTION;
  int extent[3];
  memcpy(extent, view->window, sizeof extent);
  if (training) segmentation_find_source(run, view, extent);
  TRY(add_image(build, extent));
  if (training) TRY(add_training_inputs(build, extent));
  if (segmentation_inputs_of(view, purpose).dropout >= 0) TRY(add_key(build));
  const struct shape one = {build->samples, 1, 1, 1, 1};
  if (segmentation_inputs_of(view, purpose).category < 0) return STATUS_OK;
  return graph_input(build->graph, "category", one, DTYPE_U8, false, &build->category);
}

/* --- from the source to what the network sees --- */

static enum status add_moved(struct build *build) {
  const struct config *config = build->view->config;
  const int *window = build->view->window;
  if (!augment_moves(config)) return STATUS_OK;
  TRY(augment_add_moved(build->graph, config, window, "moved", build->image, &build->change, false,
                        &build->image));
  return augment_add_moved(build->graph, config, window, "moved_truth", build->truth,
                           &build->change, true, &build->truth);
}

static enum status add_windows(struct build *build) {
  const struct config *config = build->view->config;
  const double *bounds = config->segmentation.windows.value;
  struct window_arguments arguments = {.count = config->segmentation.windows.count / 2};
  if (arguments.count == 0) return STATUS_OK;
  for (int i = 0; i < arguments.count; i++) {
    arguments.low[i] = (float)bounds[2 * i];
    arguments.high[i] = (float)bounds[2 * i + 1];
  }
  arguments.from = (float)config->segmentation.window_range.value[0];
  arguments.to = (float)config->segmentation.window_range.value[1];
  return graph_add(build->graph, "window", "windows", &arguments, sizeof arguments, &build->image,
                   1, &build->image);
}

/* --- the category of the whole --- */

static enum status add_category(struct build *build, enum purpose purpose, int features) {
  const struct config *config = build->view->config;
  static const struct loss_ce_arguments arguments;
  int logits, value;
  if (build->view->categories == 0 || purpose == PURPOSE_SUMS) return STATUS_OK;
  REQUIRE(features >= 0, STATUS_USAGE,
          "segmentation.categories: expected a network with a bottleneck, found %s",
          config->model.name);
  TRY(block_classify(build->graph, "category", features, (int)config->segmentation.category_hidden,
                     build->view->categories, &logits));
  if (purpose == PURPOSE_PREDICTION) return graph_output(build->graph, "category", logits);
  const int inputs[] = {logits, build->category};
  TRY(graph_add(build->graph, "loss_ce", "category", &arguments, sizeof arguments, inputs, 2,
                &value));
  return graph_loss(build->graph, value, config->segmentation.lam_category);
}

enum status segmentation_build(const struct task_run *run, const struct config *config,
                               enum purpose purpose, int samples, const int extent[3],
                               struct graph *graph) {
  struct segmentation_view view;
  const struct model *model;
  bool training = purpose != PURPOSE_PREDICTION;
  TRY(segmentation_look(config, extent, &view));
  TRY(model_find(config->model.name, &model));
  struct build build = {.view = &view, .graph = graph, .samples = samples, .dropout = -1};
  TRY(add_inputs(&build, run, purpose));
  if (training) TRY(add_moved(&build));
  TRY(add_windows(&build));
  if (training) TRY(augment_add_contrast(graph, config, build.image, &build.change, &build.image));
  const struct model_request request = {&build.image, 1, build.dropout};
  struct model_result result;
  TRY(model->build(graph, config, "", &request, &result));
  TRY(add_category(&build, purpose, result.bottleneck));
  if (training) return segmentation_add_losses(&view, purpose, result.output, build.truth, graph);
  return graph_output(graph, "logits", result.output);
}
