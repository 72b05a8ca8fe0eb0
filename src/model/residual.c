/* Convolution, norm, shortcut: how residual networks are put together. */
#include "model/residual.h"
#include <stdio.h>
#include "kernels/conv/conv.h"
#include "model/blocks.h"

enum { NAME_BYTES = 80 };

static enum status add_conv(const struct residual_builder *builder, const char *name,
                            const struct residual_conv *options, int *x) {
  char full[2 * NAME_BYTES];
  struct conv_arguments arguments = {.out_channels = options->channels, .slope = 1};
  for (int i = 0; i < 3; i++) {
    arguments.kernel[i] = options->kernel[i];
    arguments.stride[i] = options->stride[i];
    arguments.padding[i] = options->kernel[i] / 2;
  }
  snprintf(full, sizeof full, "%s%s", builder->prefix, name);
  return graph_add(builder->graph, "conv", full, &arguments, sizeof arguments, x, 1, x);
}

enum status residual_conv_norm(const struct residual_builder *builder, const char *conv,
                               const char *norm, struct residual_conv options, int shortcut,
                               double slope, int *x) {
  char full[2 * NAME_BYTES];
  const struct block_norm how = {.kind = builder->config->model.norm,
                                 .groups = (int)builder->config->model.norm_groups,
                                 .affine = true,
                                 .running = builder->graph->evaluation,
                                 .epsilon = 1e-5,
                                 .slope = slope};
  TRY(add_conv(builder, conv, &options, x));
  snprintf(full, sizeof full, "%s%s", builder->prefix, norm);
  return block_normalise(builder->graph, full, *x, &how, shortcut, x);
}

/* Part `tail` of a block: its name. */
static void name_part(char name[NAME_BYTES], int stage, int block, const char *tail) {
  snprintf(name, NAME_BYTES, "layer%d.%d.%s", stage, block, tail);
}

static enum status part(const struct residual_builder *builder, int stage, int block,
                        const char *conv_tail, const char *norm_tail, struct residual_conv options,
                        int shortcut, double slope, int *x) {
  char conv[NAME_BYTES], norm[NAME_BYTES];
  name_part(conv, stage, block, conv_tail);
  name_part(norm, stage, block, norm_tail);
  return residual_conv_norm(builder, conv, norm, options, shortcut, slope, x);
}

static enum status basic_block(const struct residual_builder *builder, int stage, int block,
                               int channels, int stride, int *x) {
  struct residual_conv first = {channels, {3, 3, 3}, {stride, stride, stride}};
  struct residual_conv second = {channels, {3, 3, 3}, {1, 1, 1}};
  struct residual_conv projection = {channels, {1, 1, 1}, {stride, stride, stride}};
  int shortcut = *x;
  if (stride != 1 || graph_shape(builder->graph, *x).c != channels)
    TRY(part(builder, stage, block, "downsample.0", "downsample.1", projection, -1, 1, &shortcut));
  TRY(part(builder, stage, block, "conv1", "bn1", first, -1, 0, x));
  return part(builder, stage, block, "conv2", "bn2", second, shortcut, 0, x);
}

enum status residual_basic_stage(const struct residual_builder *builder, int number, int blocks,
                                 int channels, int stride, int *x) {
  for (int i = 0; i < blocks; i++)
    TRY(basic_block(builder, number, i, channels, i == 0 ? stride : 1, x));
  return STATUS_OK;
}
