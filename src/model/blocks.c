/* Arguments of the common operators, written once. */
#include "model/blocks.h"
#include "kernels/conv/conv.h"
#include "kernels/max_pool/max_pool.h"
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

enum status block_halve(struct graph *graph, const char *name, int input, int *output) {
  const struct max_pool_arguments arguments = {.kernel = {2, 2, 2}, .stride = {2, 2, 2}};
  return graph_add(graph, "max_pool", name, &arguments, sizeof arguments, &input, 1, output);
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
