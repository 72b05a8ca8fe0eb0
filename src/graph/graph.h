/* The network as data: values (tensors) and nodes (operators), added in order of execution.
 * Building allocates no tensor memory; plan.h decides where everything lives, run.h executes. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "kernels/op.h"

enum { VALUE_NAME_BYTES = 64, GRAPH_MAX_LOSSES = 16 };

/* A tensor that flows: an input, or the output of a node. */
struct value {
  char name[VALUE_NAME_BYTES]; /* of inputs and outputs; "" otherwise */
  struct tensor tensor;
  int producer;        /* node index, -1 for an input */
  bool wants_gradient; /* a parameter or a differentiable input is upstream */
  bool is_input, is_output;
  bool has_gradient; /* set by plan_make: backward computes it */
};

struct graph_node {
  struct node node;
  int input[OP_MAX_INPUTS]; /* value indices; count in node.input_count */
  int output;               /* value index */
  double loss_weight;       /* of loss nodes: the node's share in the total loss */
  /* set by plan_make */
  bool live;          /* an output or a loss depends on it; other nodes are not executed */
  bool folded;        /* its work has been taken over by its consumer: not executed */
  bool runs_backward; /* a loss with a weight depends on it, and it on something trainable */
};

struct graph {
  enum device_kind device;
  enum dtype dtype;      /* of inputs and parameters: float32, or float64 for gradient checks */
  enum dtype activation; /* of activations: as dtype, or a 16-bit type */
  struct value *values;
  struct graph_node *nodes;
  int value_count, value_capacity, node_count, node_capacity;
  int losses[GRAPH_MAX_LOSSES]; /* nodes, in the order of graph_loss calls */
  int loss_count;
  bool evaluation; /* set before nodes are added: batch norms use their running statistics */
  bool planned;    /* a plan has changed it: it takes no more nodes and no second plan */
};

void graph_open(struct graph *graph, enum device_kind device, enum dtype dtype);
/* Mixed precision: before nodes are added, makes activations bfloat16 or float16. Inputs,
 * parameters, displacements and losses stay float32. */
void graph_set_activation(struct graph *graph, enum dtype activation);
/* Accepts a zeroed graph. */
void graph_close(struct graph *graph);

/* An input: memory given at run time (run_bind). dtype DTYPE_U8 for label maps, else the graph's
 * own type. `wants_gradient` is for tests; images need none. */
CHECKED enum status graph_input(struct graph *graph, const char *name, struct shape shape,
                                enum dtype dtype, bool wants_gradient, int *value);

/* Adds operator `op` (by name) on `inputs`; `arguments` is the operator's own struct (copied). The
 * node's name prefixes its parameters' ("flow" gives "flow.weight"). Shape errors name the node.
 * STATUS_USAGE: an unknown operator, inputs that do not fit, a value that wants a gradient given
 * twice, a name that does not fit or that another node with parameters has. */
CHECKED enum status graph_add(struct graph *graph, const char *op, const char *name,
                              const void *arguments, size_t argument_bytes, const int *inputs,
                              int input_count, int *value);

/* The same for an operator that need not be in ops.def. */
CHECKED enum status graph_add_op(struct graph *graph, const struct op *op, const char *name,
                                 const void *arguments, size_t argument_bytes, const int *inputs,
                                 int input_count, int *value);

/* Gives a value a name and keeps it to the end of forward (run_value finds it). */
CHECKED enum status graph_output(struct graph *graph, const char *name, int value);

/* Declares that `value` (the scalar of a loss operator, named by its node) counts `weight` times in
 * the total. With weight 0 it is computed but has no backward. STATUS_USAGE if it is no loss, or
 * was declared before. */
CHECKED enum status graph_loss(struct graph *graph, int value, double weight);

/* The logical shape of a value. */
struct shape graph_shape(const struct graph *graph, int value);
