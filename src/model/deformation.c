/* The deformation pipeline. All fields are in voxels of their own grid. */
#include "model/deformation.h"
#include <stdio.h>
#include <string.h>
#include "kernels/integrate/integrate.h"
#include "kernels/warp/warp.h"
#include "model/blocks.h"

enum { NAME_BYTES = 80 };

struct pipeline {
  struct graph *graph;
  const struct config *config;
  const struct model *model;
  char prefix[24]; /* "" for the finest level, "level1." for the next ... */
};

static void name_of(const struct pipeline *pipeline, const char *what, char name[NAME_BYTES]) {
  snprintf(name, NAME_BYTES, "%s%.48s", pipeline->prefix, what);
}

static enum status resize_to(const struct pipeline *pipeline, const char *what, int input,
                             struct shape shape, double multiply, int *output) {
  char name[NAME_BYTES];
  name_of(pipeline, what, name);
  const int size[3] = {shape.d, shape.h, shape.w};
  return block_resize(pipeline->graph, name, input, size, multiply, output);
}

static enum status warp(const struct pipeline *pipeline, const char *what, int image,
                        int displacement, int *output) {
  const struct warp_arguments arguments = {.padding = WARP_ZEROS, .mode = WARP_LINEAR};
  char name[NAME_BYTES];
  name_of(pipeline, what, name);
  const int inputs[2] = {image, displacement};
  return graph_add(pipeline->graph, "warp", name, &arguments, sizeof arguments, inputs, 2, output);
}

/* outer o inner: u(x) = inner(x) + outer(x + inner(x)). */
static enum status compose(const struct pipeline *pipeline, const char *what, int outer, int inner,
                           int *output) {
  char name[NAME_BYTES];
  snprintf(name, sizeof name, "%s.warp", what);
  int moved;
  TRY(warp(pipeline, name, outer, inner, &moved));
  name_of(pipeline, what, name);
  const int inputs[2] = {inner, moved};
  return graph_add(pipeline->graph, "add", name, NULL, 0, inputs, 2, output);
}

/* The map of +velocity or -velocity at the grid of `full`. */
static enum status expand(const struct pipeline *pipeline, bool negate, int velocity,
                          struct shape full, int *output) {
  const struct config *config = pipeline->config;
  const struct integrate_arguments arguments = {.steps = (int)config->model.integration_steps,
                                                .negate = negate};
  char name[NAME_BYTES];
  *output = velocity;
  if (arguments.steps > 0 || negate) {
    name_of(pipeline, negate ? "integrate_inverse" : "integrate", name);
    TRY(graph_add(pipeline->graph, "integrate", name, &arguments, sizeof arguments, output, 1,
                  output));
  }
  full.c = graph_shape(pipeline->graph, *output).c; /* it is the grids that count */
  if (shape_equal(graph_shape(pipeline->graph, *output), full)) return STATUS_OK;
  return resize_to(pipeline, negate ? "expand_inverse" : "expand", *output, full,
                   (double)config->model.integration_downsize, output);
}

static struct shape coarser(struct shape shape, int factor) {
  return (struct shape){shape.n, shape.c, shape.d / factor, shape.h / factor, shape.w / factor};
}

static enum status build_velocity(const struct pipeline *pipeline, int moving, int fixed,
                                  struct shape full, int *velocity) {
  const int inputs[2] = {moving, fixed};
  const struct model_request request = {inputs, 2, -1};
  struct model_result result;
  TRY(pipeline->model->build(pipeline->graph, pipeline->config, pipeline->prefix, &request,
                             &result));
  *velocity = result.output;
  int downsize = (int)pipeline->config->model.integration_downsize;
  if (pipeline->config->model.integration_steps == 0 || downsize == 1) return STATUS_OK;
  return resize_to(pipeline, "shrink", *velocity, coarser(full, downsize), 1.0 / downsize,
                   velocity);
}

/* Brings the displacement found so far to this level's grid: twice as fine. */
static enum status refine(const struct pipeline *pipeline, const char *what, struct shape full,
                          int *field) {
  return *field < 0 ? STATUS_OK : resize_to(pipeline, what, *field, full, 2, field);
}

/* One level, given the displacements found so far (-1: none) at the grid of the level before. */
static enum status build_level(const struct pipeline *pipeline, int moving, int fixed, int level,
                               bool with_inverse, struct deformation *deformation) {
  struct shape full = graph_shape(pipeline->graph, moving);
  TRY(refine(pipeline, "refine", full, &deformation->displacement));
  TRY(refine(pipeline, "refine_inverse", full, &deformation->inverse));
  int before = deformation->displacement, before_inverse = deformation->inverse;
  int seen = moving, *velocity = &deformation->velocity[level];
  if (before >= 0) TRY(warp(pipeline, "seen", moving, before, &seen));
  TRY(build_velocity(pipeline, seen, fixed, full, velocity));
  TRY(expand(pipeline, false, *velocity, full, &deformation->displacement));
  if (with_inverse) TRY(expand(pipeline, true, *velocity, full, &deformation->inverse));
  if (before < 0) return STATUS_OK;
  TRY(compose(pipeline, "compose", before, deformation->displacement, &deformation->displacement));
  if (!with_inverse) return STATUS_OK;
  return compose(pipeline, "compose_inverse", deformation->inverse, before_inverse,
                 &deformation->inverse);
}

enum status deformation_build(struct graph *graph, const struct config *config, int moving,
                              int fixed, bool with_inverse, struct deformation *deformation) {
  struct pipeline pipeline = {.graph = graph, .config = config};
  TRY(model_find(config->model.name, &pipeline.model));
  *deformation = (struct deformation){
      .level_count = (int)config->model.levels, .displacement = -1, .inverse = -1};
  struct shape full = graph_shape(graph, moving);
  for (int level = deformation->level_count - 1; level >= 0; level--) {
    int level_moving = moving, level_fixed = fixed;
    if (level > 0) {
      snprintf(pipeline.prefix, sizeof pipeline.prefix, "level%d.", level);
      TRY(resize_to(&pipeline, "moving", moving, coarser(full, 1 << level), 1, &level_moving));
      TRY(resize_to(&pipeline, "fixed", fixed, coarser(full, 1 << level), 1, &level_fixed));
    } else {
      pipeline.prefix[0] = 0;
    }
    TRY(build_level(&pipeline, level_moving, level_fixed, level, with_inverse, deformation));
  }
  return STATUS_OK;
}

enum status deformation_multiple(const struct config *config, int *multiple) {
  const struct model *model;
  TRY(model_find(config->model.name, &model));
  int network = model->multiple(config);
  int downsize = (int)config->model.integration_downsize;
  int least = network;
  while (least % downsize != 0) least += network;
  *multiple = least << (config->model.levels - 1);
  return STATUS_OK;
}
