/* Convolution, norm, shortcut: how residual networks are put together. */
#include "model/residual.h"
#include <stdio.h>
#include <string.h>
#include "kernels/conv/conv.h"
#include "model/blocks.h"

enum { NAME_BYTES = 80 };

static bool has_norm(const struct residual_builder *builder) {
  return strcmp(builder->config->model.norm, "none") != 0;
}

static enum status add_conv(const struct residual_builder *builder, const char *name,
                            const struct residual_conv *options, int *x) {
  char full[2 * NAME_BYTES];
  struct conv_arguments arguments = {
      .out_channels = options->channels, .bias = !has_norm(builder), .slope = 1};
  for (int i = 0; i < 3; i++) {
    arguments.kernel[i] = options->kernel[i];
    arguments.stride[i] = options->stride[i];
    arguments.padding[i] = options->kernel[i] / 2;
  }
  snprintf(full, sizeof full, "%s%s", builder->prefix, name);
  return graph_add(builder->graph, "conv", full, &arguments, sizeof arguments, x, 1, x);
}

enum status residual_norm(const struct residual_builder *builder, const char *name, int shortcut,
                          double slope, int *x) {
  char full[2 * NAME_BYTES];
  const struct block_norm how = {.kind = builder->config->model.norm,
                                 .groups = (int)builder->config->model.norm_groups,
                                 .affine = true,
                                 .running = builder->graph->evaluation,
                                 .epsilon = 1e-5,
                                 .slope = slope};
  snprintf(full, sizeof full, "%s%s", builder->prefix, name);
  return block_normalise(builder->graph, full, *x, &how, shortcut, x);
}

enum status residual_conv_norm(const struct residual_builder *builder, const char *conv,
                               const char *norm, struct residual_conv options, int shortcut,
                               double slope, int *x) {
  TRY(add_conv(builder, conv, &options, x));
  return residual_norm(builder, norm, shortcut, slope, x);
}

/* Where in the network a block is. */
struct place {
  const struct residual_builder *builder;
  int stage, block;
};

static enum status part(const struct place *place, const char *conv_tail, const char *norm_tail,
                        struct residual_conv options, int shortcut, double slope, int *x) {
  char conv[NAME_BYTES], norm[NAME_BYTES];
  snprintf(conv, sizeof conv, "layer%d.%d.%s", place->stage, place->block, conv_tail);
  snprintf(norm, sizeof norm, "layer%d.%d.%s", place->stage, place->block, norm_tail);
  return residual_conv_norm(place->builder, conv, norm, options, shortcut, slope, x);
}

static struct residual_conv conv_of(int channels, const int kernel[3], const int stride[3]) {
  struct residual_conv conv = {.channels = channels};
  memcpy(conv.kernel, kernel, sizeof conv.kernel);
  memcpy(conv.stride, stride, sizeof conv.stride);
  return conv;
}

static const int ONE[3] = {1, 1, 1};

static enum status basic(const struct place *place, const struct residual_stage *stage,
                         const int stride[3], int shortcut, int *x) {
  TRY(part(place, "conv1", "bn1", conv_of(stage->channels, stage->kernel, stride), -1, 0, x));
  return part(place, "conv2", "bn2", conv_of(stage->channels, stage->kernel, ONE), shortcut, 0, x);
}

static enum status bottleneck(const struct place *place, const struct residual_stage *stage,
                              const int stride[3], int shortcut, int *x) {
  TRY(part(place, "conv1", "bn1", conv_of(stage->middle, ONE, ONE), -1, 0, x));
  TRY(part(place, "conv2", "bn2", conv_of(stage->middle, stage->kernel, stride), -1, 0, x));
  return part(place, "conv3", "bn3", conv_of(stage->channels, ONE, ONE), shortcut, 0, x);
}

static enum status block(const struct place *place, const struct residual_stage *stage, int *x) {
  const int *stride = place->block == 0 ? stage->stride : ONE;
  bool same = memcmp(stride, ONE, sizeof ONE) == 0 &&
              graph_shape(place->builder->graph, *x).c == stage->channels;
  int shortcut = *x;
  if (!same)
    TRY(part(place, "downsample.0", "downsample.1", conv_of(stage->channels, ONE, stride), -1, 1,
             &shortcut));
  return stage->middle > 0 ? bottleneck(place, stage, stride, shortcut, x)
                           : basic(place, stage, stride, shortcut, x);
}

enum status residual_stage(const struct residual_builder *builder, int number,
                           const struct residual_stage *stage, int *x) {
  for (int i = 0; i < stage->blocks; i++) TRY(block(&(struct place){builder, number, i}, stage, x));
  return STATUS_OK;
}
