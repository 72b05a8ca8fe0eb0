/* VoxelMorph's U-Net, as published twice: the official PyTorch package's VxmDense (Dalca,
 * Balakrishnan, Guttag, Sabuncu, Medical Image Analysis 57, 2019; 327,331 parameters by default),
 * and MONAI's VoxelMorphUNet (244,323), which pools once less, concatenates the skip first and
 * starts the last convolution like any other. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "kernels/conv/conv.h"
#include "model/blocks.h"
#include "model/model.h"

enum { NAME_BYTES = 80, VELOCITY_CHANNELS = 3 };
static const double OFFICIAL_FLOW_DEVIATION = 1e-5;

/* What every step of building needs. */
struct builder {
  struct graph *graph;
  const struct config *config;
  const char *prefix;
};

static bool is_monai(const struct config *config) {
  return strcmp(config->model.variant, "monai") == 0;
}

static void name_node(const struct builder *builder, char name[NAME_BYTES], const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void name_node(const struct builder *builder, char name[NAME_BYTES], const char *format,
                      ...) {
  int used = snprintf(name, NAME_BYTES, "%s", builder->prefix);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(name + used, (size_t)(NAME_BYTES - used), format, arguments);
  va_end(arguments);
}

static enum status conv(const struct builder *builder, const char *name, int channels, int *x) {
  return block_conv3(builder->graph, name, *x, channels, builder->config->model.slope, x);
}

static enum status halve(const struct builder *builder, const char *after, int *x) {
  char name[NAME_BYTES + 8];
  snprintf(name, sizeof name, "%s.pool", after);
  return block_halve(builder->graph, name, *x, false, x);
}

/* x becomes concat(doubled x, skip), or concat(skip, doubled x). */
static enum status join(const struct builder *builder, const char *at, int skip, bool skip_first,
                        int *x) {
  char name[NAME_BYTES + 8];
  snprintf(name, sizeof name, "%s.up", at);
  int doubled;
  TRY(block_double(builder->graph, name, *x, &doubled));
  snprintf(name, sizeof name, "%s.cat", at);
  const int inputs[2] = {skip_first ? skip : doubled, skip_first ? doubled : skip};
  return block_concat(builder->graph, name, inputs, 2, x);
}

static enum status build_final(const struct builder *builder, const char *block_format, int *x) {
  const struct int_list *final = &builder->config->model.final;
  char name[NAME_BYTES];
  for (int i = 0; i < final->count; i++) {
    name_node(builder, name, block_format, i); /* one of the two formats below */
    TRY(conv(builder, name, (int) final->value[i], x));
  }
  return STATUS_OK;
}

static enum status official_encoder(const struct builder *builder, int *skips, int *x) {
  const struct int_list *encoder = &builder->config->model.encoder;
  char name[NAME_BYTES];
  for (int i = 0; i < encoder->count; i++) {
    name_node(builder, name, "unet_model.encoder.%d.0.main", i);
    TRY(conv(builder, name, (int)encoder->value[i], x));
    skips[i] = *x;
    TRY(halve(builder, name, x));
  }
  return STATUS_OK;
}

static enum status official_decoder(const struct builder *builder, const int *skips, int *x) {
  const struct int_list *decoder = &builder->config->model.decoder;
  char name[NAME_BYTES];
  for (int i = 0; i < decoder->count; i++) {
    name_node(builder, name, "unet_model.decoder.%d.0.main", i);
    TRY(conv(builder, name, (int)decoder->value[i], x));
    TRY(join(builder, name, skips[decoder->count - 1 - i], false, x));
  }
  return STATUS_OK;
}

static enum status build_official(const struct builder *builder, int x, int *output) {
  const struct config *config = builder->config;
  REQUIRE(config->model.encoder.count == config->model.decoder.count, STATUS_USAGE,
          "model.decoder: expected as many levels as model.encoder (%d), found %d",
          config->model.encoder.count, config->model.decoder.count);
  int skips[CONFIG_LIST_LENGTH];
  TRY(official_encoder(builder, skips, &x));
  TRY(official_decoder(builder, skips, &x));
  TRY(build_final(builder, "unet_model.remaining.%d.main", &x));
  char name[NAME_BYTES];
  name_node(builder, name, "flow");
  return block_head3(builder->graph, name, x, VELOCITY_CHANNELS, OFFICIAL_FLOW_DEVIATION, output);
}

/* Level i of MONAI's U-Net sits inside the submodule of level i-1's skip connection: its name is a
 * path. */
static void name_monai_level(const struct builder *builder, char name[NAME_BYTES], int level,
                             const char *tail) {
  name_node(builder, name, "net.0");
  for (int i = 0; i < level; i++) strncat(name, ".1.submodule", NAME_BYTES - strlen(name) - 1);
  strncat(name, tail, NAME_BYTES - strlen(name) - 1);
}

static enum status monai_encoder(const struct builder *builder, int levels, int *skips, int *x) {
  const struct int_list *features = &builder->config->model.encoder;
  char name[NAME_BYTES];
  for (int i = 0; i < levels; i++) {
    name_monai_level(builder, name, i, i == 0 ? ".0.conv" : ".0.1.conv");
    TRY(conv(builder, name, (int)features->value[i == 0 ? 0 : 2 * i], x));
    skips[i] = *x;
    TRY(halve(builder, name, x));
  }
  name_monai_level(builder, name, levels, ".0.1.conv");
  return conv(builder, name, (int)features->value[features->count - 1], x);
}

/* Level i's own output: what the level above it was told to expect, for the top model.decoder. */
static int monai_output(const struct config *config, int level) {
  return (int)(level == 0 ? config->model.decoder.value[0]
                          : config->model.encoder.value[2 * level - 1]);
}

static enum status build_monai(const struct builder *builder, int x, int *output) {
  const struct config *config = builder->config;
  int count = config->model.encoder.count, levels = count / 2;
  REQUIRE(count >= 2 && count % 2 == 0 && config->model.decoder.count == 1, STATUS_USAGE,
          "model.variant monai: expected an even number of features in model.encoder and one in "
          "model.decoder, found %d and %d",
          count, config->model.decoder.count);
  REQUIRE(levels <= 4, STATUS_USAGE, "model.encoder: expected at most 8 features, found %d", count);
  int skips[CONFIG_LIST_LENGTH];
  char name[NAME_BYTES];
  TRY(monai_encoder(builder, levels, skips, &x));
  for (int i = levels - 1; i >= 0; i--) {
    name_monai_level(builder, name, i, i == 0 ? ".2.conv" : ".2.0.conv");
    TRY(join(builder, name, skips[i], true, &x));
    TRY(conv(builder, name, monai_output(config, i), &x));
  }
  TRY(build_final(builder, "net.1.final_conv_%d.conv", &x));
  name_node(builder, name, "net.1.final_conv_out.conv");
  return block_head3(builder->graph, name, x, VELOCITY_CHANNELS, 0, output);
}

static enum status vxm_build(struct graph *graph, const struct config *config, const char *prefix,
                             const struct model_request *request, struct model_result *result) {
  const struct builder builder = {graph, config, prefix};
  char name[NAME_BYTES];
  name_node(&builder, name, "inputs.cat");
  int x;
  TRY(block_concat(graph, name, request->inputs, request->input_count, &x));
  result->bottleneck = -1;
  return (is_monai(config) ? build_monai : build_official)(&builder, x, &result->output);
}

static int vxm_multiple(const struct config *config) {
  int count = config->model.encoder.count;
  return 1 << (is_monai(config) ? count / 2 : count);
}

extern const struct model model_vxm;
const struct model model_vxm = {
    .name = "vxm",
    .help = "VoxelMorph's U-Net: velocity field from a moving and a fixed image",
    .build = vxm_build,
    .multiple = vxm_multiple,
};
