/* A residual network that regresses numbers from a volume: ResNet-18 in three dimensions (He,
 * Zhang, Ren, Sun, CVPR 2016) with a quarter of its channels, a stem of 7x7x7 without pooling, a
 * hidden layer, and an output that starts at 0. 2,095,702 parameters by default. With
 * model.coordinates every voxel's position is a further input (CoordConv, Liu et al., NeurIPS
 * 2018), since averaging over all voxels forgets where things were: 2,112,166. */
#include <stdio.h>
#include <string.h>
#include "model/blocks.h"
#include "model/model.h"
#include "model/residual.h"

enum { NAME_BYTES = 80 };
static const struct int_list FEATURES = {4, {16, 32, 64, 128}}, BLOCKS = {4, {2, 2, 2, 2}};
static const double LAST_DEVIATION = 1e-3; /* so that the first estimates are near the identity */

static enum status add(const struct residual_builder *builder, const char *op, const char *name,
                       const int *inputs, int count, int *x) {
  char full[NAME_BYTES];
  snprintf(full, sizeof full, "%s%s", builder->prefix, name);
  return graph_add(builder->graph, op, full, NULL, 0, inputs, count, x);
}

static enum status build_inputs(const struct residual_builder *builder, const int *inputs,
                                int input_count, int *x) {
  int all[OP_MAX_INPUTS], count = 0;
  REQUIRE(input_count < OP_MAX_INPUTS, STATUS_USAGE, "resnet_pose: expected at most %d inputs",
          OP_MAX_INPUTS - 1);
  if (builder->config->model.coordinates)
    TRY(add(builder, "coordinates", "coordinates", inputs, 1, &all[count++]));
  for (int i = 0; i < input_count; i++) all[count++] = inputs[i];
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "%sinputs.cat", builder->prefix);
  return block_concat(builder->graph, name, all, count, x);
}

static enum status build_stages(const struct residual_builder *builder, int *x) {
  const struct int_list features = model_numbers(&builder->config->model.features, &FEATURES);
  const struct int_list blocks = model_numbers(&builder->config->model.blocks, &BLOCKS);
  REQUIRE(features.count == blocks.count, STATUS_USAGE,
          "model.blocks: expected as many stages as model.features (%d), found %d", features.count,
          blocks.count);
  const struct residual_conv stem = {(int)features.value[0], {7, 7, 7}, {2, 2, 2}};
  TRY(residual_conv_norm(builder, "conv1", "bn1", stem, -1, 0, x));
  for (int i = 0; i < features.count; i++) {
    struct residual_stage stage = {.blocks = (int)blocks.value[i],
                                   .channels = (int)features.value[i]};
    block_axes(stage.kernel, false, 3, 1);
    block_axes(stage.stride, false, i == 0 ? 1 : 2, 1);
    TRY(residual_stage(builder, i + 1, &stage, x));
  }
  return STATUS_OK;
}

static enum status build_head(const struct residual_builder *builder, int *x) {
  const struct config *config = builder->config;
  int numbers = strcmp(config->pose.representation, "rotation6d") == 0 ? 9 : 6;
  char name[NAME_BYTES];
  TRY(add(builder, "average_pool", "avgpool", x, 1, x));
  snprintf(name, sizeof name, "%sfc1", builder->prefix);
  TRY(block_linear(builder->graph, name, *x, (int)config->model.hidden, 0, false, 0, x));
  snprintf(name, sizeof name, "%sfc2", builder->prefix);
  return block_linear(builder->graph, name, *x, numbers, 1, true, LAST_DEVIATION, x);
}

static enum status resnet_pose_build(struct graph *graph, const struct config *config,
                                     const char *prefix, const struct model_request *request,
                                     struct model_result *result) {
  const struct residual_builder builder = {graph, config, prefix};
  result->bottleneck = -1;
  TRY(build_inputs(&builder, request->inputs, request->input_count, &result->output));
  TRY(build_stages(&builder, &result->output));
  return build_head(&builder, &result->output);
}

static int resnet_pose_multiple(const struct config *config) {
  (void)config;
  return 1;
}

extern const struct model model_resnet_pose;
const struct model model_resnet_pose = {
    .name = "resnet_pose",
    .help = "3-D residual network that regresses a rigid motion",
    .build = resnet_pose_build,
    .multiple = resnet_pose_multiple,
};
