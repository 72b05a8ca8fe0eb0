/* Random networks for tests of the graph: convolutions, norms, activations, pooling, resizing and
 * concatenation over random values, so that there are skips, values with several readers and
 * values that could be overwritten in place; every loose end goes into a loss. And a trial: one
 * such network planned, with its memory, run once. */
#pragma once
#include "base/random.h"
#include "check.h"
#include "graph/run.h"
#include "kernels/conv/conv.h"
#include "kernels/leaky_relu/leaky_relu.h"
#include "kernels/max_pool/max_pool.h"
#include "kernels/norm/norm.h"
#include "kernels/resize/resize.h"

enum { NETWORK_SIZE = 6, NETWORK_MOST_VALUES = 80 };

struct network {
  struct graph graph;
  struct random stream;
  int values[NETWORK_MOST_VALUES], count; /* floating-point values that may be read */
  int target;
};

static inline int network_pick(struct network *network) {
  return network->values[random_below(&network->stream, (uint32_t)network->count)];
}

static inline void network_add(struct network *network, const char *op, const void *arguments,
                               size_t bytes, const int *inputs, int input_count) {
  char name[32];
  snprintf(name, sizeof name, "%s_%d", op, network->graph.node_count);
  int value = 0;
  CHECK_OK(graph_add(&network->graph, op, name, arguments, bytes, inputs, input_count, &value));
  network->values[network->count++] = value;
}

static inline void network_conv(struct network *network, const int *inputs, int count, int kernel,
                                int stride, int channels) {
  struct conv_arguments arguments = {.out_channels = channels};
  for (int i = 0; i < 3; i++) {
    arguments.kernel[i] = kernel;
    arguments.stride[i] = stride;
    arguments.padding[i] = kernel / 2;
  }
  arguments.bias = random_below(&network->stream, 4) > 0;
  arguments.slope = random_below(&network->stream, 2) ? 1 : 0.2f;
  network_add(network, "conv", &arguments, sizeof arguments, inputs, count);
}

static inline void network_resize(struct network *network, int value, int size, bool nearest) {
  struct resize_arguments arguments = {
      nearest ? RESIZE_NEAREST : RESIZE_TRILINEAR, {size, size, size}, !nearest, nearest ? 1 : 0.5};
  network_add(network, "resize", &arguments, sizeof arguments, &value, 1);
}

/* With the other value as residual where it is like the first. */
static inline void network_norm(struct network *network, const int inputs[2]) {
  struct shape shape = graph_shape(&network->graph, inputs[0]);
  struct norm_arguments arguments = {.epsilon = 0.1, .groups = 1};
  bool residual = inputs[1] >= 0 && graph_shape(&network->graph, inputs[1]).c == shape.c;
  arguments.kind = (enum norm_kind)random_below(&network->stream, 3);
  arguments.affine = random_below(&network->stream, 2);
  arguments.slope = random_below(&network->stream, 2) ? 1 : 0.2f;
  if (shape.d < 2) return;
  network_add(network, "norm", &arguments, sizeof arguments, inputs, residual ? 2 : 1);
}

/* Another value with the extents of `value`, or -1. */
static inline int network_partner(struct network *network, int value) {
  int extent = graph_shape(&network->graph, value).d;
  for (int attempt = 0; attempt < 8; attempt++) {
    int other = network_pick(network);
    if (other != value && graph_shape(&network->graph, other).d == extent) return other;
  }
  return -1;
}

static inline void network_add_any(struct network *network) {
  struct random *stream = &network->stream;
  int value = network_pick(network), extent = graph_shape(&network->graph, value).d;
  int inputs[2] = {value, network_partner(network, value)};
  static const int widths[] = {1, 2, 4, 5, 17}; /* planar; one block; two */
  int channels = widths[random_below(stream, 5)], both = inputs[1] >= 0 ? 2 : 1;
  struct leaky_relu_arguments slope = {0.2f};
  struct max_pool_arguments window = {{2, 2, 2}, {2, 2, 2}};
  switch (random_below(stream, 10)) {
    case 0:
      network_conv(network, inputs, 1, 3, extent >= 4 ? 2 : 1, channels);
      break;
    case 1:
      network_conv(network, inputs, both, 3, 1, channels);
      break;
    case 2:
      network_conv(network, inputs, 1, 1, 1, channels);
      break;
    case 3:
      network_add(network, "leaky_relu", &slope, sizeof slope, inputs, 1);
      break;
    case 4:
      if (extent >= 2) network_add(network, "max_pool", &window, sizeof window, inputs, 1);
      break;
    case 5:
      if (extent < NETWORK_SIZE) network_resize(network, value, 2 * extent, true);
      break;
    case 6:
      network_resize(network, value, 1 + (int)random_below(stream, NETWORK_SIZE), false);
      break;
    case 7:
      if (both == 2 &&
          graph_shape(&network->graph, value).c + graph_shape(&network->graph, inputs[1]).c <= 40)
        network_add(network, "concat", NULL, 0, inputs, 2);
      break;
    default:
      network_norm(network, inputs);
      break;
  }
}

static inline bool network_is_read(const struct network *network, int value) {
  for (int n = 0; n < network->graph.node_count; n++)
    for (int i = 0; i < network->graph.nodes[n].node.input_count; i++)
      if (network->graph.nodes[n].input[i] == value) return true;
  return false;
}

/* Every loose end: a conv to two channels, brought to the target's size, compared with it. */
static inline void network_add_losses(struct network *network) {
  int ends = network->count;
  for (int i = 0; i < ends; i++) {
    if (network_is_read(network, network->values[i])) continue;
    network_conv(network, &network->values[i], 1, 1, 1, 2);
    network_resize(network, network->values[network->count - 1], NETWORK_SIZE, false);
    int inputs[2] = {network->values[network->count - 1], network->target}, loss;
    char name[32];
    snprintf(name, sizeof name, "loss_%d", i);
    CHECK_OK(graph_add(&network->graph, "loss_mse", name, NULL, 0, inputs, 2, &loss));
    CHECK_OK(graph_loss(&network->graph, loss, 0.5 + random_uniform(&network->stream)));
  }
}

/* The same seed gives the same network. More loose ends than losses cannot occur: at most 12
 * operators are added. */
static inline void network_open(struct network *network, uint32_t seed, enum dtype dtype) {
  *network = (struct network){.stream = random_stream(11, RANDOM_TEST, seed, 0)};
  struct graph *graph = &network->graph;
  graph_open(graph, DEVICE_CPU, dtype);
  struct shape shape = {1, 2, NETWORK_SIZE, NETWORK_SIZE, NETWORK_SIZE};
  CHECK_OK(graph_input(graph, "image", shape, dtype, true, &network->values[0]));
  CHECK_OK(graph_input(graph, "target", shape, dtype, false, &network->target));
  network->count = 1;
  network_conv(network, network->values, 1, 3, 1, 4);
  int operators = 4 + (int)random_below(&network->stream, 9);
  for (int i = 0; i < operators; i++) network_add_any(network);
  int middle =
      network->values[1 + (int)random_below(&network->stream, (uint32_t)network->count - 1)];
  CHECK_OK(graph_output(graph, "middle", middle));
  network_add_losses(network);
  int dead;
  struct leaky_relu_arguments slope = {0.1f};
  CHECK_OK(graph_add(graph, "leaky_relu", "dead", &slope, sizeof slope, &middle, 1, &dead));
}

/* One network, planned, with everything it needs. */
struct trial {
  struct network network;
  struct plan plan;
  struct run run;
  struct device device;
  void *weights, *gradients, *image, *target;
};

static inline void *trial_memory(int64_t elements, enum dtype dtype, uint32_t subject) {
  void *memory = calloc((size_t)elements + 1, dtype_bytes(dtype));
  if (!memory) abort();
  struct random stream = random_stream(12, RANDOM_TEST, subject, 0);
  for (int64_t i = 0; i < elements; i++) {
    double value = random_range(&stream, -1, 1);
    if (dtype == DTYPE_F64)
      ((double *)memory)[i] = value;
    else
      ((float *)memory)[i] = (float)value;
  }
  return memory;
}

static inline void trial_open(struct trial *trial, uint32_t seed, enum dtype dtype,
                              const struct plan_options *options) {
  *trial = (struct trial){0};
  network_open(&trial->network, seed, dtype);
  CHECK_OK(plan_make(&trial->plan, &trial->network.graph, options));
  if (check_failures) exit(check_result());
  int64_t elements = trial->plan.parameter_elements;
  trial->weights = calloc((size_t)elements, dtype_bytes(dtype));
  trial->gradients = trial_memory(elements, dtype, 3); /* run_open must clear the gaps */
  plan_initialize(&trial->plan, seed, trial->weights);
  int64_t voxels = 2 * NETWORK_SIZE * NETWORK_SIZE * NETWORK_SIZE;
  trial->image = trial_memory(voxels, dtype, 1);
  trial->target = trial_memory(voxels, dtype, 2);
  CHECK_OK(device_open(&trial->device, "cpu", 0, 1, false, 1));
  CHECK_OK(run_open(&trial->run, &trial->plan, &trial->device, NULL, trial->weights,
                    options->training ? trial->gradients : NULL));
  CHECK_OK(run_bind(&trial->run, "image", trial->image));
  CHECK_OK(run_bind(&trial->run, "target", trial->target));
}

static inline void trial_close(struct trial *trial) {
  run_close(&trial->run);
  device_close(&trial->device);
  plan_close(&trial->plan);
  graph_close(&trial->network.graph);
  free(trial->weights);
  free(trial->gradients);
  free(trial->image);
  free(trial->target);
}

/* The sum of the weighted losses. */
static inline double trial_total(const struct trial *trial) {
  struct run_loss losses[GRAPH_MAX_LOSSES];
  int count = run_losses(&trial->run, losses, GRAPH_MAX_LOSSES);
  double total = 0;
  for (int i = 0; i < count; i++) total += losses[i].weight * losses[i].value;
  return total;
}
