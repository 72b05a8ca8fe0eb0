/* Folding: a consumer takes over the work of the node in front of it (a conv reads the parts of a
 * concat by itself), so that the tensor between them is never stored. What can be folded into what
 * is the operators' knowledge; here is when it is allowed. */
#include <string.h>
#include "graph/parts.h"

/* How often running nodes read a value. */
static int count_readers(const struct graph *graph, int value) {
  int readers = 0;
  for (int n = 0; n < graph->node_count; n++) {
    const struct graph_node *node = &graph->nodes[n];
    if (!node_runs(node)) continue;
    for (int i = 0; i < node->node.input_count; i++) readers += node->input[i] == value;
  }
  return readers;
}

/* Whether a node would read a value twice after its input has been replaced by the producer's: two
 * gradients of one node must not share memory. */
static bool would_read_twice(const struct graph_node *node, const struct graph_node *producer) {
  for (int i = 0; i < node->node.input_count; i++)
    for (int j = 0; j < producer->node.input_count; j++)
      if (node->input[i] == producer->input[j]) return true;
  return false;
}

static bool may_fold(const struct graph *graph, const struct graph_node *node, int input) {
  const struct value *value = &graph->values[node->input[input]];
  if (value->producer < 0 || value->is_output) return false;
  const struct graph_node *producer = &graph->nodes[value->producer];
  if (producer->folded || producer->node.parameter_count > 0) return false;
  if (node->node.input_count - 1 + producer->node.input_count > OP_MAX_INPUTS) return false;
  return count_readers(graph, node->input[input]) == 1 && !would_read_twice(node, producer);
}

/* Puts the producer's inputs in the place of `input`, as op->fold did with the node's tensors. */
static void splice_inputs(struct graph_node *node, int input, const struct graph_node *producer) {
  int more = producer->node.input_count, old_count = node->node.input_count - more + 1;
  memmove(node->input + input + more, node->input + input + 1,
          (size_t)(old_count - input - 1) * sizeof *node->input);
  memcpy(node->input + input, producer->input, (size_t)more * sizeof *node->input);
}

/* Infers the changed node again: its output must be what it was. */
static enum status infer_again(const struct graph *graph, struct graph_node *node) {
  for (int i = 0; i < node->node.input_count; i++) {
    const struct value *value = &graph->values[node->input[i]];
    node->node.x[i] = value->tensor;
    node->node.wants_dx[i] = value->wants_gradient;
  }
  struct tensor y = node->node.y;
  TRY(node_infer(&node->node));
  REQUIRE(shape_equal(y.shape, node->node.y.shape) && y.dtype == node->node.y.dtype &&
              y.layout == node->node.y.layout,
          STATUS_FAILED, "%s: folding has changed its output", node->node.name);
  return STATUS_OK;
}

static enum status fold_input(struct graph *graph, struct graph_node *node, int input,
                              bool *changed) {
  if (!may_fold(graph, node, input)) return STATUS_OK;
  struct graph_node *producer = &graph->nodes[graph->values[node->input[input]].producer];
  int expected = node->node.input_count - 1 + producer->node.input_count;
  if (!node->node.op->fold(&node->node, input, &producer->node)) return STATUS_OK;
  REQUIRE(node->node.input_count == expected, STATUS_FAILED,
          "%s: expected %d inputs after folding %s, found %d", node->node.name, expected,
          producer->node.name, node->node.input_count);
  splice_inputs(node, input, producer);
  producer->folded = true;
  *changed = true;
  return infer_again(graph, node);
}

enum status graph_fold(struct graph *graph) {
  bool changed = true;
  while (changed) {
    changed = false;
    for (int n = 0; n < graph->node_count; n++) {
      struct graph_node *node = &graph->nodes[n];
      if (!node_runs(node) || !node->node.op->fold) continue;
      for (int i = 0; i < node->node.input_count; i++) TRY(fold_input(graph, node, i, &changed));
    }
  }
  return STATUS_OK;
}
