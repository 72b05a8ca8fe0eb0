/* Residual encoders with a decoder of transposed convolutions, which give every voxel of half the
 * input's resolution its logits: a loss reads them interpolated. A stem of 7x7x7 without pooling,
 * four stages (He, Zhang, Ren, Sun, CVPR 2016) of which the last three halve, three doublings. The
 * presets are the readings of "a ResNet-50 of widths 64 to 512"; counts are for 2 inputs and 5
 * classes. */
#include <stdio.h>
#include <string.h>
#include "model/blocks.h"
#include "model/model.h"
#include "model/residual.h"

enum { NAME_BYTES = 80 };
static const struct int_list FEATURES = {4, {64, 128, 256, 512}}, BLOCKS = {4, {3, 4, 6, 3}};

/* A stage of f features gives f * widening channels; its bottlenecks' middle has f / narrowing. */
struct preset {
  const char *name;
  int narrowing; /* 0: basic blocks */
  int widening;
  bool in_plane; /* convolutions of the stages are thin along the last axis, that of the slices */
  int up;        /* extent of the transposed convolutions' kernel */
  bool skips;    /* each doubling meets the stage of its resolution in a 3x3x3 convolution */
};

static const struct preset presets[] = {
    {"resnet50e2_unet", 2, 1, false, 4, true},  /* 25,549,381 */
    {"resnet34_inplane", 0, 1, true, 3, false}, /* 25,965,253 */
    {"resnet34_full", 0, 1, false, 2, false},   /* 64,869,061 */
    {"resnet50_x4", 1, 4, false, 2, false},     /* 50,700,229 */
};

struct seg {
  struct residual_builder builder;
  struct preset preset;
  struct int_list features, blocks;
  bool planes;
  int dropout;                   /* the samples' keys */
  int stage[CONFIG_LIST_LENGTH]; /* what each gave */
};

static enum status find_preset(const char *name, struct preset *preset) {
  for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
    if (strcmp(presets[i].name, name) != 0) continue;
    *preset = presets[i];
    return STATUS_OK;
  }
  FAIL(STATUS_USAGE, "model.preset: unknown preset \"%s\"", name);
}

static enum status open_seg(struct seg *seg) {
  const struct config *config = seg->builder.config;
  TRY(find_preset(config->model.preset, &seg->preset));
  seg->features = model_numbers(&config->model.features, &FEATURES);
  seg->blocks = model_numbers(&config->model.blocks, &BLOCKS);
  seg->planes = config->model.dimensions == 2;
  REQUIRE(seg->features.count == seg->blocks.count, STATUS_USAGE,
          "model.blocks: expected as many stages as model.features (%d), found %d",
          seg->features.count, seg->blocks.count);
  for (int i = 0; i < seg->features.count && seg->preset.narrowing > 0; i++)
    REQUIRE(seg->features.value[i] % seg->preset.narrowing == 0, STATUS_USAGE,
            "model.features: expected multiples of %d for %s, found %d", seg->preset.narrowing,
            seg->preset.name, (int)seg->features.value[i]);
  return STATUS_OK;
}

static enum status build_stem(const struct seg *seg, int *x) {
  struct residual_conv stem = {.channels = (int)seg->features.value[0]};
  block_axes(stem.kernel, seg->planes, 7, 1);
  block_axes(stem.stride, seg->planes, 2, 1);
  return residual_conv_norm(&seg->builder, "conv1", "bn1", stem, -1, 0, x);
}

static enum status build_stage(struct seg *seg, int i, int *x) {
  int features = (int)seg->features.value[i], narrowing = seg->preset.narrowing;
  struct residual_stage stage = {.blocks = (int)seg->blocks.value[i],
                                 .middle = narrowing > 0 ? features / narrowing : 0,
                                 .channels = features * seg->preset.widening};
  block_axes(stage.kernel, seg->planes, 3, 1);
  block_axes(stage.stride, seg->planes, i == 0 ? 1 : 2, 1);
  if (seg->preset.in_plane) stage.kernel[2] = 1;
  TRY(residual_stage(&seg->builder, i + 1, &stage, x));
  seg->stage[i] = *x;
  return STATUS_OK;
}

/* x meets stage i. */
static enum status join_stage(const struct seg *seg, int i, int *x) {
  const struct residual_builder *builder = &seg->builder;
  struct residual_conv options = {.channels = (int)seg->features.value[i], .stride = {1, 1, 1}};
  char name[NAME_BYTES], conv[NAME_BYTES], norm[NAME_BYTES];
  const int both[2] = {seg->stage[i], *x};
  snprintf(name, sizeof name, "%scat%d", builder->prefix, i + 1);
  TRY(block_concat(builder->graph, name, both, 2, x));
  snprintf(conv, sizeof conv, "dec%d", i + 1);
  snprintf(norm, sizeof norm, "dec_bn%d", i + 1);
  block_axes(options.kernel, seg->planes, 3, 1);
  return residual_conv_norm(builder, conv, norm, options, -1, 0, x);
}

/* x, of twice the spacing, comes to the resolution of stage i. */
static enum status build_up(const struct seg *seg, int i, int *x) {
  const struct residual_builder *builder = &seg->builder;
  const struct block_up up = {.channels = (int)seg->features.value[i],
                              .kernel = seg->preset.up,
                              .planes = seg->planes,
                              .bias = strcmp(builder->config->model.norm, "none") == 0};
  const struct block_dropout dropout = {seg->dropout, builder->config->model.dropout, i};
  char name[NAME_BYTES], norm[NAME_BYTES];
  snprintf(name, sizeof name, "%sup%d", builder->prefix, i + 1);
  snprintf(norm, sizeof norm, "up_bn%d", i + 1);
  TRY(block_up(builder->graph, name, *x, &up, x));
  TRY(residual_norm(builder, norm, -1, 0, x));
  if (seg->preset.skips) TRY(join_stage(seg, i, x));
  snprintf(name, sizeof name, "%sdropout%d", builder->prefix, i + 1);
  return block_dropout(builder->graph, name, *x, &dropout, x);
}

static enum status resnet_seg_build(struct graph *graph, const struct config *config,
                                    const char *prefix, const struct model_request *request,
                                    struct model_result *result) {
  struct seg seg = {.builder = {graph, config, prefix}, .dropout = request->dropout};
  char name[NAME_BYTES];
  int x;
  TRY(open_seg(&seg));
  snprintf(name, sizeof name, "%sinputs.cat", prefix);
  TRY(block_concat(graph, name, request->inputs, request->input_count, &x));
  TRY(build_stem(&seg, &x));
  for (int i = 0; i < seg.features.count; i++) TRY(build_stage(&seg, i, &x));
  result->bottleneck = x;
  for (int i = seg.features.count - 2; i >= 0; i--) TRY(build_up(&seg, i, &x));
  snprintf(name, sizeof name, "%shead", prefix);
  return block_logits(graph, name, x, (int)config->model.classes, config->model.prior,
                      &result->output);
}

static int resnet_seg_multiple(const struct config *config) {
  return 1 << model_numbers(&config->model.features, &FEATURES).count;
}

extern const struct model model_resnet_seg;
const struct model model_resnet_seg = {
    .name = "resnet_seg",
    .help = "residual encoder and decoder: logits of classes at half the input's resolution",
    .build = resnet_seg_build,
    .multiple = resnet_seg_multiple,
    .coarser = 2,
};
