/* The graph of the pose task: the volume moved on its way in, the network, the loss. */
#include <math.h>
#include <string.h>
#include "kernels/loss_pose/loss_pose.h"
#include "model/model.h"
#include "task/pose.h"

static const struct {
  const char *name;
  enum affine_fill fill;
} fills[] = {
    {"zero", AFFINE_ZERO},
    {"edge", AFFINE_EDGE},
    {"noise", AFFINE_NOISE},
    {"crop", AFFINE_CROP},
};

static enum affine_fill fill_of(const char *name) {
  size_t i = 0;
  while (strcmp(fills[i].name, name) != 0) i++; /* the config has checked the name */
  return fills[i].fill;
}

/* A box fits in the sphere of the mask's radius. */
static void set_mask(const struct config *config, struct affine_arguments *arguments) {
  const char *mask = config->pose.mask;
  bool sphere = strcmp(mask, "sphere") == 0, box = strcmp(mask, "box") == 0;
  arguments->mask = sphere ? AFFINE_SPHERE : box ? AFFINE_BOX : AFFINE_NO_MASK;
  double radius = pose_mask_radius(config) / (box ? sqrt(3) : 1);
  for (int axis = 0; axis < 3; axis++)
    arguments->radius[axis] = (float)(radius / config->pose.spacing.value[axis]);
}

/* A volume, and where the network's voxels lie in it. */
static enum status add_inputs(struct graph *graph, int samples, const int extent[3],
                              const char *volume, const char *motion, int inputs[2]) {
  const struct shape voxels = {samples, 1, extent[0], extent[1], extent[2]};
  const struct shape numbers = {samples, AFFINE_MOTION, 1, 1, 1};
  TRY(graph_input(graph, volume, voxels, graph->dtype, false, &inputs[0]));
  return graph_input(graph, motion, numbers, graph->dtype, false, &inputs[1]);
}

static enum status add_moved(struct graph *graph, const struct config *config, const char *name,
                             const int inputs[2], int *moved) {
  struct affine_arguments arguments = {.mode = AFFINE_LINEAR, .fill = fill_of(config->pose.fill)};
  for (int axis = 0; axis < 3; axis++) arguments.size[axis] = (int)config->pose.size.value[axis];
  set_mask(config, &arguments);
  return graph_add(graph, "affine", name, &arguments, sizeof arguments, inputs, 2, moved);
}

/* The volume as moved, and in mode pair before that as it was. */
static enum status add_images(struct graph *graph, const struct config *config, int samples,
                              const int extent[3], int images[2], int *count) {
  int own[2], reference[2];
  TRY(add_inputs(graph, samples, extent, "source", "motion", own));
  *count = 0;
  if (pose_is_pair(config)) {
    TRY(add_inputs(graph, samples, extent, "reference", "reference_motion", reference));
    TRY(add_moved(graph, config, "still", reference, &images[(*count)++]));
  }
  return add_moved(graph, config, "moved", own, &images[(*count)++]);
}

enum status pose_build_image(const struct task_run *run, const struct config *config,
                             enum purpose purpose, int samples, const int extent[3],
                             struct graph *graph) {
  (void)run;
  (void)purpose;
  int inputs[2], image;
  TRY(add_inputs(graph, samples, extent, "source", "motion", inputs));
  TRY(add_moved(graph, config, "moved", inputs, &image));
  return graph_output(graph, "image", image);
}

static const struct {
  const char *name;
  enum pose_loss kind;
} losses[] = {
    {"mse", POSE_MSE},
    {"geodesic", POSE_GEODESIC},
    {"corner", POSE_CORNER},
};

static enum pose_loss loss_of(const char *name) {
  size_t i = 0;
  while (strcmp(losses[i].name, name) != 0) i++;
  return losses[i].kind;
}

static enum status add_loss(struct graph *graph, const struct config *config, int samples,
                            int estimate) {
  struct loss_pose_arguments arguments = {
      .kind = loss_of(config->pose.loss),
      .rotation_range = config->pose.rotation_range,
      .translation_range = config->pose.translation_range,
      .weight = 1,
  };
  pose_half_sides(config, arguments.half_extent);
  const struct shape shape = {samples, POSE_NUMBERS, 1, 1, 1};
  int target, value;
  TRY(graph_input(graph, "target", shape, graph->dtype, false, &target));
  const int inputs[2] = {estimate, target};
  TRY(graph_add(graph, "loss_pose", config->pose.loss, &arguments, sizeof arguments, inputs, 2,
                &value));
  return graph_loss(graph, value, 1);
}

enum status pose_build(const struct task_run *run, const struct config *config,
                       enum purpose purpose, int samples, const int extent[3],
                       struct graph *graph) {
  (void)run;
  const struct model *model;
  struct model_result result;
  int images[2], count = 0;
  TRY(model_find(config->model.name, &model));
  TRY(add_images(graph, config, samples, extent, images, &count));
  const struct model_request request = {images, count, -1};
  TRY(model->build(graph, config, "", &request, &result));
  if (purpose == PURPOSE_TRAINING) return add_loss(graph, config, samples, result.output);
  TRY(graph_output(graph, "image", images[count - 1]));
  return graph_output(graph, "estimate", result.output);
}
