/* What runs, in which order: forward as the nodes were added, backward in reverse, for what
 * outputs, losses and gradients need. */
#include <stdlib.h>
#include "graph/parts.h"

static void mark_inputs(struct graph *graph, const struct graph_node *node, bool *needed) {
  for (int i = 0; i < node->node.input_count; i++) {
    int producer = graph->values[node->input[i]].producer;
    if (producer >= 0) needed[producer] = true;
  }
}

enum status graph_mark_live(struct graph *graph) {
  bool *needed = calloc((size_t)graph->node_count + 1, sizeof *needed);
  REQUIRE(needed, STATUS_FAILED, "out of memory while planning");
  for (int i = 0; i < graph->loss_count; i++) needed[graph->losses[i]] = true;
  for (int n = graph->node_count - 1; n >= 0; n--) {
    struct graph_node *node = &graph->nodes[n];
    node->live = needed[n] || graph->values[node->output].is_output;
    if (node->live) mark_inputs(graph, node, needed);
  }
  free(needed);
  return STATUS_OK;
}

/* A loss's scalar "has a gradient", the seed, when the loss counts. */
static void seed_losses(struct graph *graph) {
  for (int i = 0; i < graph->loss_count; i++) {
    const struct graph_node *loss = &graph->nodes[graph->losses[i]];
    struct value *scalar = &graph->values[loss->output];
    scalar->has_gradient = scalar->wants_gradient && loss->loss_weight != 0;
  }
}

/* wants_dx stays as it was built, also where no backward runs: a kernel may apply or not for it,
 * and evaluation must compute with the kernels of training. */
void graph_mark_backward(struct graph *graph, bool training) {
  for (int v = 0; v < graph->value_count; v++) graph->values[v].has_gradient = false;
  if (training) seed_losses(graph);
  for (int n = graph->node_count - 1; n >= 0; n--) {
    struct graph_node *node = &graph->nodes[n];
    node->runs_backward = node_runs(node) && graph->values[node->output].has_gradient;
    for (int i = 0; i < node->node.input_count; i++) {
      struct value *x = &graph->values[node->input[i]];
      if (node->runs_backward && x->wants_gradient) x->has_gradient = true;
    }
  }
}

static void add_step(struct plan *plan, enum step_kind kind, int node) {
  plan->steps[plan->step_count++] = (struct plan_step){kind, node, -1, 0};
}

/* The first backward step that touches a gradient writes it, the others add. */
static void mark_additions(struct plan *plan, struct plan_step *step, bool *written) {
  const struct graph_node *node = &plan->graph->nodes[step->node];
  for (int i = 0; i < node->node.input_count; i++) {
    if (!node->node.wants_dx[i]) continue;
    if (written[node->input[i]]) step->dx_add |= 1u << i;
    written[node->input[i]] = true;
  }
}

static void list_forward(struct plan *plan) {
  const struct graph *graph = plan->graph;
  for (int n = 0; n < graph->node_count; n++) {
    plan->forward_step[n] = plan->backward_step[n] = -1;
    if (!node_runs(&graph->nodes[n])) continue;
    plan->forward_step[n] = plan->step_count;
    add_step(plan, STEP_FORWARD, n);
  }
  plan->forward_step_count = plan->step_count;
}

static enum status list_backward(struct plan *plan) {
  const struct graph *graph = plan->graph;
  bool *written = calloc((size_t)graph->value_count + 1, sizeof *written);
  REQUIRE(written, STATUS_FAILED, "out of memory while planning");
  for (int n = graph->node_count - 1; n >= 0; n--) {
    if (!graph->nodes[n].runs_backward) continue;
    plan->backward_step[n] = plan->step_count;
    add_step(plan, STEP_BACKWARD, n);
    mark_additions(plan, &plan->steps[plan->step_count - 1], written);
  }
  free(written);
  return STATUS_OK;
}

enum status plan_list_steps(struct plan *plan) {
  size_t nodes = (size_t)plan->graph->node_count + 1;
  plan->steps = calloc(2 * nodes, sizeof *plan->steps);
  plan->forward_step = calloc(nodes, sizeof *plan->forward_step);
  plan->backward_step = calloc(nodes, sizeof *plan->backward_step);
  REQUIRE(plan->steps && plan->forward_step && plan->backward_step, STATUS_FAILED,
          "out of memory while planning");
  list_forward(plan);
  TRY(list_backward(plan));
  REQUIRE(plan->step_count > 0, STATUS_USAGE, "the network has neither an output nor a loss");
  REQUIRE(!plan->options.training || plan->step_count > plan->forward_step_count, STATUS_USAGE,
          "nothing to train: no loss with a weight depends on a parameter");
  return STATUS_OK;
}
