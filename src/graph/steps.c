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

/* Before backward reads a value that has not been kept, and after what it is computed from. */
static void add_again(struct plan *plan, int value) {
  int n = plan->graph->values[value].producer;
  if (n < 0 || !plan->computed_again[n] || plan->again_step[n] >= 0) return;
  const struct graph_node *node = &plan->graph->nodes[n];
  for (int i = 0; i < node->node.input_count; i++) add_again(plan, node->input[i]);
  plan->again_step[n] = plan->step_count;
  plan->again_count++;
  add_step(plan, STEP_AGAIN, n);
}

static void add_backward(struct plan *plan, int n) {
  const struct graph_node *node = &plan->graph->nodes[n];
  for (int i = 0; i < node->node.input_count; i++)
    if (node_reads_x(&node->node, i)) add_again(plan, node->input[i]);
  if (node->node.backward_reads & READS_Y) add_again(plan, node->output);
  plan->backward_step[n] = plan->step_count;
  add_step(plan, STEP_BACKWARD, n);
}

static void list_forward(struct plan *plan) {
  const struct graph *graph = plan->graph;
  for (int n = 0; n < graph->node_count; n++) {
    plan->forward_step[n] = plan->backward_step[n] = plan->again_step[n] = -1;
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
    add_backward(plan, n);
    mark_additions(plan, &plan->steps[plan->step_count - 1], written);
  }
  free(written);
  return STATUS_OK;
}

enum status plan_list_steps(struct plan *plan) {
  size_t nodes = (size_t)plan->graph->node_count + 1;
  plan_forget_steps(plan);
  plan->steps = calloc(3 * nodes, sizeof *plan->steps);
  plan->forward_step = calloc(nodes, sizeof *plan->forward_step);
  plan->backward_step = calloc(nodes, sizeof *plan->backward_step);
  plan->again_step = calloc(nodes, sizeof *plan->again_step);
  REQUIRE(plan->steps && plan->forward_step && plan->backward_step && plan->again_step,
          STATUS_FAILED, "out of memory while planning");
  list_forward(plan);
  TRY(list_backward(plan));
  REQUIRE(plan->step_count > 0, STATUS_USAGE, "the network has neither an output nor a loss");
  REQUIRE(!plan->options.training || plan->step_count > plan->forward_step_count, STATUS_USAGE,
          "nothing to train: no loss with a weight depends on a parameter");
  return STATUS_OK;
}

void plan_forget_steps(struct plan *plan) {
  free(plan->steps);
  free(plan->forward_step);
  free(plan->backward_step);
  free(plan->again_step);
  plan->steps = NULL;
  plan->forward_step = plan->backward_step = plan->again_step = NULL;
  plan->step_count = plan->forward_step_count = plan->again_count = 0;
}
