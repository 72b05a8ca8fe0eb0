/* The graph of registration: network, deformation, and the losses of the config. With the
 * bidirectional option the similarity and the label overlap of both directions count half each. */
#include <stdio.h>
#include <string.h>
#include "kernels/loss_dice_warp/loss_dice_warp.h"
#include "kernels/loss_lncc/loss_lncc.h"
#include "kernels/loss_smooth/loss_smooth.h"
#include "kernels/warp/warp.h"
#include "model/deformation.h"
#include "task/registration.h"

static enum warp_padding padding_of(const char *name) {
  return strcmp(name, "border") == 0 ? WARP_BORDER : WARP_ZEROS;
}

/* One direction: moving warped by displacement, to be like fixed. */
struct direction {
  const char *name; /* "" or "inverse_" */
  int moving, fixed, moving_labels, fixed_labels, displacement, warped;
  double share; /* of the loss weights */
};

static enum status add_warped(struct graph *graph, const struct config *config,
                              struct direction *direction) {
  const struct warp_arguments arguments = {.padding = padding_of(config->model.warp_padding),
                                           .mode = WARP_LINEAR};
  char name[64];
  snprintf(name, sizeof name, "%swarped", direction->name);
  const int inputs[2] = {direction->moving, direction->displacement};
  return graph_add(graph, "warp", name, &arguments, sizeof arguments, inputs, 2,
                   &direction->warped);
}

static enum status add_similarity(struct graph *graph, const struct config *config,
                                  const struct direction *direction) {
  bool lncc = strcmp(config->loss.similarity, "lncc") == 0;
  const struct loss_lncc_arguments arguments = {.window = (int)config->loss.window};
  char name[64];
  snprintf(name, sizeof name, "%s%s", direction->name, config->loss.similarity);
  const int inputs[2] = {direction->warped, direction->fixed};
  int value;
  TRY(graph_add(graph, lncc ? "loss_lncc" : "loss_mse", name, lncc ? &arguments : NULL,
                lncc ? sizeof arguments : 0, inputs, 2, &value));
  return graph_loss(graph, value, config->loss.lam_sim * direction->share);
}

static enum status add_overlap(struct graph *graph, const struct config *config, int classes,
                               const struct direction *direction) {
  const struct loss_dice_warp_arguments arguments = {
      .classes = classes,
      .include_background = config->loss.dice_background,
      .padding = padding_of(config->loss.dice_padding),
      .smooth_numerator = 1e-5,
      .smooth_denominator = 1e-5,
  };
  char name[64];
  snprintf(name, sizeof name, "%sdice", direction->name);
  const int inputs[3] = {direction->moving_labels, direction->fixed_labels,
                         direction->displacement};
  int value;
  TRY(graph_add(graph, "loss_dice_warp", name, &arguments, sizeof arguments, inputs, 3, &value));
  return graph_loss(graph, value, config->loss.lam_dice * direction->share);
}

static const struct {
  const char *name;
  enum loss_smooth_kind kind;
} smoothness[] = {
    {"bending", SMOOTH_BENDING},
    {"bending_compact", SMOOTH_BENDING_COMPACT},
    {"l1", SMOOTH_L1},
    {"l2", SMOOTH_L2},
    {"diffusion", SMOOTH_DIFFUSION},
};

static enum loss_smooth_kind smoothness_of(const char *name) {
  size_t i = 0;
  while (strcmp(smoothness[i].name, name) != 0) i++; /* the config has checked the name */
  return smoothness[i].kind;
}

/* VoxelMorph's training script multiplies the gradient loss by the velocity grid's spacing. */
static enum status add_smoothness(struct graph *graph, const struct config *config, int velocity,
                                  int level, double share) {
  struct loss_smooth_arguments arguments = {.kind = smoothness_of(config->loss.smoothness),
                                            .multiply = 1};
  bool gradient = arguments.kind == SMOOTH_L1 || arguments.kind == SMOOTH_L2;
  if (gradient && config->model.integration_steps > 0)
    arguments.multiply = (double)config->model.integration_downsize;
  char name[64];
  snprintf(name, sizeof name, "smoothness");
  if (level > 0) snprintf(name, sizeof name, "level%d.smoothness", level);
  int value;
  TRY(graph_add(graph, "loss_smooth", name, &arguments, sizeof arguments, &velocity, 1, &value));
  return graph_loss(graph, value, config->loss.lam_smooth * share);
}

static enum status add_losses(struct graph *graph, const struct config *config, int classes,
                              const struct direction *direction) {
  if (config->loss.lam_sim > 0) TRY(add_similarity(graph, config, direction));
  if (config->loss.lam_dice > 0) TRY(add_overlap(graph, config, classes, direction));
  return STATUS_OK;
}

static enum status add_all_losses(struct graph *graph, const struct config *config, int classes,
                                  const struct deformation *deformation, struct direction forward) {
  struct direction inverse = {
      .name = "inverse_",
      .moving = forward.fixed,
      .fixed = forward.moving,
      .moving_labels = forward.fixed_labels,
      .fixed_labels = forward.moving_labels,
      .displacement = deformation->inverse,
      .share = 0.5,
  };
  if (deformation->inverse >= 0) forward.share = 0.5;
  TRY(add_losses(graph, config, classes, &forward));
  if (deformation->inverse >= 0) {
    if (config->loss.lam_sim > 0) TRY(add_warped(graph, config, &inverse));
    TRY(add_losses(graph, config, classes, &inverse));
  }
  if (config->loss.lam_smooth == 0) return STATUS_OK;
  for (int level = 0; level < deformation->level_count; level++)
    TRY(add_smoothness(graph, config, deformation->velocity[level], level,
                       1.0 / deformation->level_count));
  return STATUS_OK;
}

static enum status add_label_inputs(struct graph *graph, struct shape shape,
                                    struct direction *direction) {
  TRY(graph_input(graph, "moving_labels", shape, DTYPE_U8, false, &direction->moving_labels));
  return graph_input(graph, "fixed_labels", shape, DTYPE_U8, false, &direction->fixed_labels);
}

enum status registration_build(const struct task_run *run, const struct config *config,
                               enum purpose purpose, int samples, const int extent[3],
                               struct graph *graph) {
  struct shape shape = {samples, 1, extent[0], extent[1], extent[2]};
  struct direction forward = {.name = "", .share = 1};
  TRY(graph_input(graph, "moving", shape, graph->dtype, false, &forward.moving));
  TRY(graph_input(graph, "fixed", shape, graph->dtype, false, &forward.fixed));
  bool training = purpose == PURPOSE_TRAINING;
  if (training && config->loss.lam_dice > 0) TRY(add_label_inputs(graph, shape, &forward));
  struct deformation deformation;
  TRY(deformation_build(graph, config, forward.moving, forward.fixed,
                        training && config->registration.bidirectional, &deformation));
  forward.displacement = deformation.displacement;
  if (!training || config->loss.lam_sim > 0) TRY(add_warped(graph, config, &forward));
  if (training) return add_all_losses(graph, config, run->dataset.classes, &deformation, forward);
  TRY(graph_output(graph, "displacement", forward.displacement));
  return graph_output(graph, "warped", forward.warped);
}
