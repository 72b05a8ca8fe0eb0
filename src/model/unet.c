/* The U-Net (Ronneberger, Fischer, Brox, MICCAI 2015; Cicek et al., MICCAI 2016) with norms and
 * padded convolutions: pairs of 3x3x3 convolutions, max-pooling, transposed convolutions, and
 * logits of classes at the input's resolution; along two axes or three. 7,766,293 parameters by
 * default for 117 classes of slices. With model.attention what is below says how much of each voxel
 * of a skip counts (Oktay et al., "Attention U-Net", MIDL 2018), at the skip's own resolution. */
#include <stdio.h>
#include "kernels/conv/conv.h"
#include "model/blocks.h"
#include "model/model.h"
#include "model/residual.h"

enum { NAME_BYTES = 80 };
static const struct int_list FEATURES = {4, {32, 64, 128, 256}};

static bool is_planar(const struct residual_builder *builder) {
  return builder->config->model.dimensions == 2;
}

/* What every step of building needs. */
struct unet {
  struct residual_builder builder;
  int dropout; /* the samples' keys */
};

/* The two convolutions of a level: "NAME.conv.0", norm "NAME.conv.1"; "NAME.conv.3", "NAME.conv.4".
 */
static enum status pair(const struct residual_builder *builder, const char *name, int channels,
                        int *x) {
  struct residual_conv options = {.channels = channels, .stride = {1, 1, 1}};
  char conv[NAME_BYTES], norm[NAME_BYTES];
  block_axes(options.kernel, is_planar(builder), 3, 1);
  for (int i = 0; i < 2; i++) {
    snprintf(conv, sizeof conv, "%s.conv.%d", name, 3 * i);
    snprintf(norm, sizeof norm, "%s.conv.%d", name, 3 * i + 1);
    TRY(residual_conv_norm(builder, conv, norm, options, -1, 0, x));
  }
  return STATUS_OK;
}

static enum status down(const struct residual_builder *builder, int level, int channels, int *skip,
                        int *x) {
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "downs.%d", level);
  TRY(pair(builder, name, channels, x));
  *skip = *x;
  snprintf(name, sizeof name, "%sdowns.%d.pool", builder->prefix, level);
  return block_halve(builder->graph, name, *x, is_planar(builder), x);
}

/* Dropout after a level's convolutions. number: from the bottom. */
static enum status drop(const struct unet *unet, const char *level, int number, int *x) {
  const struct residual_builder *builder = &unet->builder;
  const struct block_dropout dropout = {unet->dropout, builder->config->model.dropout, number};
  char name[NAME_BYTES + sizeof ".dropout"];
  snprintf(name, sizeof name, "%s%s.dropout", builder->prefix, level);
  return block_dropout(builder->graph, name, *x, &dropout, x);
}

/* A convolution of one voxel without more: one logit for each. */
static enum status gate_logit(const struct residual_builder *builder, const char *name, int *x) {
  const struct conv_arguments arguments = {
      .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 1, .bias = true, .slope = 1};
  return graph_add(builder->graph, "conv", name, &arguments, sizeof arguments, x, 1, x);
}

/* skip becomes skip * sigmoid(psi(ReLU(W_x(skip) + W_g(x)))); half as many channels in between. */
static enum status attend(const struct residual_builder *builder, int number, int channels, int x,
                          int *skip) {
  const struct residual_conv narrow = {channels > 1 ? channels / 2 : 1, {1, 1, 1}, {1, 1, 1}};
  char conv[NAME_BYTES], norm[NAME_BYTES], name[NAME_BYTES];
  int inside = *skip;
  snprintf(conv, sizeof conv, "attentions.%d.W_g.0", number);
  snprintf(norm, sizeof norm, "attentions.%d.W_g.1", number);
  TRY(residual_conv_norm(builder, conv, norm, narrow, -1, 1, &x));
  snprintf(conv, sizeof conv, "attentions.%d.W_x.0", number);
  snprintf(norm, sizeof norm, "attentions.%d.W_x.1", number);
  TRY(residual_conv_norm(builder, conv, norm, narrow, x, 0, &inside));
  snprintf(name, sizeof name, "%sattentions.%d.psi", builder->prefix, number);
  TRY(gate_logit(builder, name, &inside));
  const int inputs[2] = {*skip, inside};
  snprintf(name, sizeof name, "%sattentions.%d", builder->prefix, number);
  return graph_add(builder->graph, "gate", name, NULL, 0, inputs, 2, skip);
}

/* Doubling number `number` (from the bottom) and what it does with the level's skip. */
static enum status up(const struct unet *unet, int number, int channels, int skip, int *x) {
  const struct residual_builder *builder = &unet->builder;
  const struct block_up options = {
      .channels = channels, .kernel = 2, .planes = is_planar(builder), .bias = true};
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "%sups.%d", builder->prefix, 2 * number);
  TRY(block_up(builder->graph, name, *x, &options, x));
  if (builder->config->model.attention) TRY(attend(builder, number, channels, *x, &skip));
  const int both[2] = {skip, *x};
  snprintf(name, sizeof name, "%sups.%d.cat", builder->prefix, 2 * number + 1);
  TRY(block_concat(builder->graph, name, both, 2, x));
  snprintf(name, sizeof name, "ups.%d", 2 * number + 1);
  TRY(pair(builder, name, channels, x));
  return drop(unet, name, number + 1, x);
}

static enum status unet_build(struct graph *graph, const struct config *config, const char *prefix,
                              const struct model_request *request, struct model_result *result) {
  const struct unet unet = {{graph, config, prefix}, request->dropout};
  const struct int_list features = model_numbers(&config->model.features, &FEATURES);
  int skips[CONFIG_LIST_LENGTH], levels = features.count, x;
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "%sinputs.cat", prefix);
  TRY(block_concat(graph, name, request->inputs, request->input_count, &x));
  for (int i = 0; i < levels; i++)
    TRY(down(&unet.builder, i, (int)features.value[i], &skips[i], &x));
  TRY(pair(&unet.builder, "bottleneck", 2 * (int)features.value[levels - 1], &x));
  TRY(drop(&unet, "bottleneck", 0, &x));
  result->bottleneck = x;
  for (int i = levels - 1; i >= 0; i--)
    TRY(up(&unet, levels - 1 - i, (int)features.value[i], skips[i], &x));
  snprintf(name, sizeof name, "%sfinal_conv", prefix);
  return block_logits(graph, name, x, (int)config->model.classes, config->model.prior,
                      &result->output);
}

static int unet_multiple(const struct config *config) {
  return 1 << model_numbers(&config->model.features, &FEATURES).count;
}

extern const struct model model_unet;
const struct model model_unet = {
    .name = "unet",
    .help = "U-Net in two or three dimensions: logits of classes at the input's resolution",
    .build = unet_build,
    .multiple = unet_multiple,
    .coarser = 1,
};
