/* Building: values and nodes are appended, shapes inferred at once, so that a wrong network is
 * refused where it is written. */
#include "graph/graph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void graph_open(struct graph *graph, enum device_kind device, enum dtype dtype) {
  *graph = (struct graph){.device = device, .dtype = dtype, .activation = dtype};
}

void graph_set_activation(struct graph *graph, enum dtype activation) {
  graph->activation = activation;
}

void graph_close(struct graph *graph) {
  free(graph->values);
  free(graph->nodes);
  *graph = (struct graph){0};
}

/* Makes room for one more element. */
static enum status grow(void **array, size_t element_bytes, int count, int *capacity) {
  if (count < *capacity) return STATUS_OK;
  int wanted = *capacity ? 2 * *capacity : 32;
  void *larger = realloc(*array, (size_t)wanted * element_bytes);
  REQUIRE(larger, STATUS_FAILED, "out of memory while building the network");
  *array = larger;
  *capacity = wanted;
  return STATUS_OK;
}

static enum status check_tensor(const char *name, const struct tensor *tensor) {
  struct shape s = tensor->shape;
  REQUIRE(s.n > 0 && s.c > 0 && s.d > 0 && s.h > 0 && s.w > 0, STATUS_USAGE,
          "%s: expected extents of at least 1, found %d x %d x %d x %d x %d", name, s.n, s.c, s.d,
          s.h, s.w);
  double bytes = (double)s.n * (s.c + CHANNEL_BLOCK) * s.d * s.h * s.w * 8.0;
  REQUIRE(bytes < 0x1p62, STATUS_USAGE, "%s: %d x %d x %d x %d x %d is too large", name, s.n, s.c,
          s.d, s.h, s.w);
  return STATUS_OK;
}

static enum status add_value(struct graph *graph, const struct value *value, int *index) {
  void *values = graph->values;
  TRY(grow(&values, sizeof *graph->values, graph->value_count, &graph->value_capacity));
  graph->values = values;
  graph->values[graph->value_count] = *value;
  *index = graph->value_count++;
  return STATUS_OK;
}

static enum status check_value_name(const struct graph *graph, const char *name) {
  size_t length = strlen(name);
  REQUIRE(length > 0 && length < VALUE_NAME_BYTES, STATUS_USAGE,
          "\"%s\": an input or output needs a name of 1 to %d characters", name,
          VALUE_NAME_BYTES - 1);
  for (int i = 0; i < graph->value_count; i++)
    REQUIRE(strcmp(graph->values[i].name, name) != 0, STATUS_USAGE,
            "the network has two inputs or outputs called \"%s\"", name);
  return STATUS_OK;
}

static enum status check_open(const struct graph *graph, const char *name) {
  REQUIRE(!graph->planned, STATUS_FAILED, "%s: the network has been planned already", name);
  return STATUS_OK;
}

static enum status check_value(const struct graph *graph, const char *name, int value) {
  REQUIRE(value >= 0 && value < graph->value_count, STATUS_FAILED,
          "%s: expected a value in [0, %d), found %d", name, graph->value_count, value);
  return STATUS_OK;
}

enum status graph_input(struct graph *graph, const char *name, struct shape shape, enum dtype dtype,
                        bool wants_gradient, int *value) {
  TRY(check_open(graph, name));
  TRY(check_value_name(graph, name));
  REQUIRE(dtype == DTYPE_U8 || dtype == graph->dtype, STATUS_USAGE,
          "input %s: expected uint8 or %s, found %s", name, dtype_name(graph->dtype),
          dtype_name(dtype));
  REQUIRE(dtype != DTYPE_U8 || !wants_gradient, STATUS_USAGE, "input %s: integers have no gradient",
          name);
  struct value input = {.producer = -1, .wants_gradient = wants_gradient, .is_input = true};
  strcpy(input.name, name);
  input.tensor = (struct tensor){shape, dtype, LAYOUT_PLANAR};
  TRY(check_tensor(name, &input.tensor));
  input.tensor = tensor_input(graph->device, shape, dtype);
  return add_value(graph, &input, value);
}

/* Two gradients of one node must never share memory. */
static enum status check_twice(const struct graph *graph, const struct graph_node *added) {
  for (int i = 0; i < added->node.input_count; i++)
    for (int j = 0; j < i; j++)
      REQUIRE(added->input[i] != added->input[j] || !graph->values[added->input[i]].wants_gradient,
              STATUS_USAGE, "%s: inputs %d and %d are the same value, which wants a gradient",
              added->node.name, j, i);
  return STATUS_OK;
}

static enum status connect(const struct graph *graph, struct graph_node *added, const int *inputs) {
  struct node *node = &added->node;
  node->device = graph->device;
  node->activation = graph->activation;
  for (int i = 0; i < node->input_count; i++) {
    TRY(check_value(graph, node->name, inputs[i]));
    const struct value *value = &graph->values[inputs[i]];
    REQUIRE(value->producer < 0 || !graph->nodes[value->producer].node.op->is_loss, STATUS_USAGE,
            "%s: input %d is the loss %s, which nothing may read", node->name, i,
            graph->nodes[value->producer].node.name);
    added->input[i] = inputs[i];
    node->x[i] = value->tensor;
    node->wants_dx[i] = value->wants_gradient;
  }
  return check_twice(graph, added);
}

static enum status check_parameters(const struct graph *graph, const struct node *node) {
  REQUIRE(node->parameter_count <= OP_MAX_PARAMETERS && node->saved_count <= OP_MAX_SAVED,
          STATUS_FAILED, "%s: too many parameters or saved tensors", node->name);
  for (int i = 0; i < node->parameter_count; i++) {
    const struct parameter *parameter = &node->parameter[i];
    REQUIRE(parameter_count(parameter) > 0, STATUS_USAGE, "%s.%s: expected at least one element",
            node->name, parameter->suffix);
    REQUIRE(parameter->initial != INITIAL_UNIFORM_FAN_IN || parameter->fan_in > 0, STATUS_FAILED,
            "%s.%s: expected a fan in of at least 1, found %d", node->name, parameter->suffix,
            parameter->fan_in);
  }
  for (int i = 0; i < graph->node_count && node->parameter_count > 0; i++) {
    const struct node *other = &graph->nodes[i].node;
    REQUIRE(other->parameter_count == 0 || strcmp(other->name, node->name) != 0, STATUS_USAGE,
            "the network has two layers called \"%s\"", node->name);
  }
  return STATUS_OK;
}

/* What is known of a node before its inputs. */
static enum status fill_node(struct graph_node *added, const struct op *op, const char *name,
                             const void *arguments, size_t argument_bytes, int input_count) {
  REQUIRE(strlen(name) > 0 && strlen(name) < OP_NAME_BYTES, STATUS_USAGE,
          "%s \"%s\": a layer needs a name of 1 to %d characters", op->name, name,
          OP_NAME_BYTES - 1);
  REQUIRE(argument_bytes <= OP_ARGUMENT_BYTES, STATUS_FAILED,
          "%s: %zu bytes of arguments; at most %d fit", name, argument_bytes, OP_ARGUMENT_BYTES);
  REQUIRE(input_count > 0 && input_count <= OP_MAX_INPUTS, STATUS_USAGE,
          "%s: expected 1 to %d inputs, found %d", name, OP_MAX_INPUTS, input_count);
  struct node *node = &added->node;
  node->op = op;
  node->input_count = input_count;
  strcpy(node->name, name);
  if (argument_bytes) memcpy(node->arguments, arguments, argument_bytes);
  return STATUS_OK;
}

static bool is_trainable(const struct node *node) {
  bool trainable = node->parameter_count > 0;
  for (int i = 0; i < node->input_count; i++) trainable = trainable || node->wants_dx[i];
  return trainable && node->y.dtype != DTYPE_U8;
}

enum status graph_add_op(struct graph *graph, const struct op *op, const char *name,
                         const void *arguments, size_t argument_bytes, const int *inputs,
                         int input_count, int *value) {
  struct graph_node added = {.output = graph->value_count};
  TRY(check_open(graph, name));
  TRY(fill_node(&added, op, name, arguments, argument_bytes, input_count));
  TRY(connect(graph, &added, inputs));
  TRY(node_infer(&added.node));
  TRY(check_tensor(name, &added.node.y));
  TRY(check_parameters(graph, &added.node));
  void *nodes = graph->nodes;
  TRY(grow(&nodes, sizeof *graph->nodes, graph->node_count, &graph->node_capacity));
  graph->nodes = nodes;
  struct value output = {.tensor = added.node.y, .producer = graph->node_count};
  output.wants_gradient = is_trainable(&added.node);
  TRY(add_value(graph, &output, value));
  graph->nodes[graph->node_count++] = added;
  return STATUS_OK;
}

enum status graph_add(struct graph *graph, const char *op, const char *name, const void *arguments,
                      size_t argument_bytes, const int *inputs, int input_count, int *value) {
  const struct op *found;
  TRY(op_find(op, &found));
  TRY(graph_add_op(graph, found, name, arguments, argument_bytes, inputs, input_count, value));
  return STATUS_OK;
}

enum status graph_output(struct graph *graph, const char *name, int value) {
  TRY(check_open(graph, name));
  TRY(check_value(graph, name, value));
  TRY(check_value_name(graph, name));
  struct value *output = &graph->values[value];
  REQUIRE(!output->name[0], STATUS_USAGE, "output %s: the value is called \"%s\" already", name,
          output->name);
  strcpy(output->name, name);
  output->is_output = true;
  return STATUS_OK;
}

enum status graph_loss(struct graph *graph, int value, double weight) {
  TRY(check_open(graph, "loss"));
  TRY(check_value(graph, "loss", value));
  int index = graph->values[value].producer;
  REQUIRE(index >= 0 && graph->nodes[index].node.op->is_loss, STATUS_USAGE,
          "value %d is not the scalar of a loss operator", value);
  struct graph_node *loss = &graph->nodes[index];
  REQUIRE(isfinite(weight), STATUS_USAGE, "%s: expected a finite weight, found %g", loss->node.name,
          weight);
  REQUIRE(graph->loss_count < GRAPH_MAX_LOSSES, STATUS_USAGE, "%s: at most %d losses fit",
          loss->node.name, GRAPH_MAX_LOSSES);
  for (int i = 0; i < graph->loss_count; i++)
    REQUIRE(graph->losses[i] != index &&
                strcmp(graph->nodes[graph->losses[i]].node.name, loss->node.name) != 0,
            STATUS_USAGE, "%s: this loss has been declared already", loss->node.name);
  loss->loss_weight = weight;
  graph->losses[graph->loss_count++] = index;
  return STATUS_OK;
}

struct shape graph_shape(const struct graph *graph, int value) {
  return graph->values[value].tensor.shape;
}
