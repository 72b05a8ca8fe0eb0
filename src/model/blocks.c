/* Arguments of the common operators, written once. */
#include "model/blocks.h"
#include <stdio.h>
#include <string.h>
#include "kernels/conv/conv.h"
#include "kernels/conv_transpose/conv_transpose.h"
#include "kernels/dropout/dropout.h"
#include "kernels/leaky_relu/leaky_relu.h"
#include "kernels/max_pool/max_pool.h"
#include "kernels/norm/norm.h"
#include "kernels/resize/resize.h"

static struct conv_arguments conv3(int channels, double slope) {
  return (struct conv_arguments){
      .kernel = {3, 3, 3},
      .stride = {1, 1, 1},
      .padding = {1, 1, 1},
      .out_channels = channels,
      .bias = true,
      .slope = (float)slope,
  };
}

enum status block_conv3(struct graph *graph, const char *name, int input, int channels,
                        double slope, int *output) {
  struct conv_arguments arguments = conv3(channels, slope);
  return graph_add(graph, "conv", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_head3(struct graph *graph, const char *name, int input, int channels,
                        double initial_deviation, int *output) {
  struct conv_arguments arguments = conv3(channels, 1);
  arguments.head = true;
  arguments.initial_deviation = initial_deviation;
  return graph_add(graph, "conv", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_linear(struct graph *graph, const char *name, int input, int channels,
                         double slope, bool head, double initial_deviation, int *output) {
  const struct conv_arguments arguments = {
      .kernel = {1, 1, 1},
      .stride = {1, 1, 1},
      .out_channels = channels,
      .bias = true,
      .head = head,
      .linear = true,
      .slope = (float)slope,
      .initial_deviation = initial_deviation,
  };
  return graph_add(graph, "conv", name, &arguments, sizeof arguments, &input, 1, output);
}

static enum status find_norm(const char *name, const char *wanted, enum norm_kind *kind) {
  static const char *const kinds[] = {
      [NORM_BATCH] = "batch", [NORM_GROUP] = "group", [NORM_INSTANCE] = "instance"};
  int count = (int)(sizeof kinds / sizeof *kinds), found = 0;
  while (found < count && strcmp(kinds[found], wanted) != 0) found++;
  REQUIRE(found < count, STATUS_USAGE,
          "%s: expected a norm batch, group, instance or none, found \"%s\"", name, wanted);
  *kind = (enum norm_kind)found;
  return STATUS_OK;
}

/* Without a norm. */
static enum status activate(struct graph *graph, const char *name, const int inputs[2], int count,
                            double slope, int *output) {
  const struct leaky_relu_arguments arguments = {.slope = (float)slope};
  *output = inputs[0];
  if (count > 1) TRY(graph_add(graph, "add", name, NULL, 0, inputs, count, output));
  if (slope == 1) return STATUS_OK;
  return graph_add(graph, "leaky_relu", name, &arguments, sizeof arguments, output, 1, output);
}

enum status block_normalise(struct graph *graph, const char *name, int input,
                            const struct block_norm *norm, int residual, int *output) {
  const int inputs[2] = {input, residual}, count = residual < 0 ? 1 : 2;
  struct norm_arguments arguments = {.groups = norm->groups,
                                     .affine = norm->affine,
                                     .epsilon = norm->epsilon,
                                     .slope = (float)norm->slope};
  if (strcmp(norm->kind, "none") == 0)
    return activate(graph, name, inputs, count, norm->slope, output);
  TRY(find_norm(name, norm->kind, &arguments.kind));
  arguments.running = norm->running && arguments.kind == NORM_BATCH;
  return graph_add(graph, "norm", name, &arguments, sizeof arguments, inputs, count, output);
}

enum status block_logits(struct graph *graph, const char *name, int input, int classes,
                         double prior, int *output) {
  const struct conv_arguments arguments = {
      .kernel = {1, 1, 1},
      .stride = {1, 1, 1},
      .out_channels = classes,
      .bias = true,
      .head = true,
      .slope = 1,
      .prior = prior,
  };
  return graph_add(graph, "conv", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_dropout(struct graph *graph, const char *name, int input,
                          const struct block_dropout *dropout, int *output) {
  const struct dropout_arguments arguments = {.probability = (float)dropout->probability,
                                              .number = (unsigned)dropout->number};
  const int inputs[2] = {input, dropout->key};
  *output = input;
  if (dropout->key < 0 || dropout->probability == 0) return STATUS_OK;
  return graph_add(graph, "dropout", name, &arguments, sizeof arguments, inputs, 2, output);
}

enum status block_classify(struct graph *graph, const char *name, int input, int hidden,
                           int classes, int *output) {
  char part[OP_NAME_BYTES];
  snprintf(part, sizeof part, "%s.avgpool", name);
  TRY(graph_add(graph, "average_pool", part, NULL, 0, &input, 1, output));
  snprintf(part, sizeof part, "%s.fc1", name);
  if (hidden > 0) TRY(block_linear(graph, part, *output, hidden, 0, false, 0, output));
  snprintf(part, sizeof part, "%s.fc2", name);
  return block_linear(graph, part, *output, classes, 1, true, 0, output);
}

void block_axes(int extents[3], bool planes, int side, int other) {
  for (int i = 0; i < 3; i++) extents[i] = planes && i == 0 ? other : side;
}

enum status block_halve(struct graph *graph, const char *name, int input, bool planes,
                        int *output) {
  struct max_pool_arguments arguments;
  block_axes(arguments.kernel, planes, 2, 1);
  block_axes(arguments.stride, planes, 2, 1);
  return graph_add(graph, "max_pool", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_up(struct graph *graph, const char *name, int input, const struct block_up *up,
                     int *output) {
  struct conv_transpose_arguments arguments = {.out_channels = up->channels, .bias = up->bias};
  block_axes(arguments.kernel, up->planes, up->kernel, 1);
  block_axes(arguments.stride, up->planes, 2, 1);
  block_axes(arguments.padding, up->planes, (up->kernel - 1) / 2, 0);
  block_axes(arguments.output_padding, up->planes, up->kernel % 2, 0);
  return graph_add(graph, "conv_transpose", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_double(struct graph *graph, const char *name, int input, int *output) {
  struct shape shape = graph_shape(graph, input);
  const struct resize_arguments arguments = {
      .mode = RESIZE_NEAREST, .size = {2 * shape.d, 2 * shape.h, 2 * shape.w}, .multiply = 1};
  return graph_add(graph, "resize", name, &arguments, sizeof arguments, &input, 1, output);
}

enum status block_concat(struct graph *graph, const char *name, const int *inputs, int count,
                         int *output) {
  if (count > 1) return graph_add(graph, "concat", name, NULL, 0, inputs, count, output);
  *output = inputs[0];
  return STATUS_OK;
}

enum status block_resize(struct graph *graph, const char *name, int input, const int size[3],
                         double multiply, int *output) {
  const struct resize_arguments arguments = {.mode = RESIZE_TRILINEAR,
                                             .size = {size[0], size[1], size[2]},
                                             .align_corners = true,
                                             .multiply = multiply};
  return graph_add(graph, "resize", name, &arguments, sizeof arguments, &input, 1, output);
}
