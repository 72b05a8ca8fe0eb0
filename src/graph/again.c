/* Which values are computed again in backward instead of being kept: all that may be, and then,
 * from the last to the first, every one is kept after all that can be without more memory. What is
 * left is worth its time. */
#include <stdlib.h>
#include "graph/parts.h"

static enum status lay_out(struct plan *plan) {
  TRY(plan_list_steps(plan));
  return plan_list_tenants(plan);
}

static bool may_be_again(const struct plan *plan, int n) {
  const struct graph_node *node = &plan->graph->nodes[n];
  return node_runs(node) && node->node.op->cheap && !plan->graph->values[node->output].is_output;
}

/* Keeps what node `n` computes if the goal, or the least found so far, can be kept, too. */
static enum status try_keeping(struct plan *plan, int n, size_t *least) {
  plan->computed_again[n] = false;
  TRY(lay_out(plan));
  if (plan->peak_live_bytes > *least && plan->peak_live_bytes > plan->options.memory_goal)
    plan->computed_again[n] = true;
  else if (plan->peak_live_bytes < *least)
    *least = plan->peak_live_bytes;
  return STATUS_OK;
}

enum status plan_choose_again(struct plan *plan) {
  int nodes = plan->graph->node_count;
  plan->computed_again = calloc((size_t)nodes + 1, sizeof *plan->computed_again);
  REQUIRE(plan->computed_again, STATUS_FAILED, "out of memory while planning");
  TRY(lay_out(plan));
  if (!plan->options.recompute || plan->peak_live_bytes <= plan->options.memory_goal)
    return STATUS_OK;
  for (int n = 0; n < nodes; n++) plan->computed_again[n] = may_be_again(plan, n);
  TRY(lay_out(plan));
  size_t least = plan->peak_live_bytes;
  for (int n = nodes - 1; n >= 0; n--)
    if (plan->computed_again[n]) TRY(try_keeping(plan, n, &least));
  return lay_out(plan);
}
