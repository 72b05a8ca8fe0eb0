/* The stages of plan_make, in the order in which it calls them; private to this room. */
#pragma once
#include "graph/plan.h"

/* Marks the nodes that an output or a loss depends on. */
CHECKED enum status graph_mark_live(struct graph *graph);

/* Lets consumers take over producers (op->fold) until nothing changes. Live nodes only. */
CHECKED enum status graph_fold(struct graph *graph);

/* Marks the nodes that run backward and the values that get a gradient. */
void graph_mark_backward(struct graph *graph, bool training);

/* Every running node's kernel and workspace sizes. */
CHECKED enum status plan_choose_kernels(struct plan *plan);

/* What is computed again, and with it the steps, the tenants and peak_live_bytes. */
CHECKED enum status plan_choose_again(struct plan *plan);

/* Steps, forward then backward, with dx_add and what is computed again. */
CHECKED enum status plan_list_steps(struct plan *plan);

/* Tenants with their lifetimes, and peak_live_bytes. */
CHECKED enum status plan_list_tenants(struct plan *plan);

/* Offsets of the tenants and arena_bytes. */
CHECKED enum status plan_pack(struct plan *plan);

/* Give back what the two lists hold; accept a zeroed plan. */
void plan_forget_steps(struct plan *plan);
void plan_forget_tenants(struct plan *plan);

/* Parameters and, in a training plan, buckets. */
CHECKED enum status plan_list_parameters(struct plan *plan);
CHECKED enum status plan_list_buckets(struct plan *plan);

/* Whether a live node that is not folded runs. */
static inline bool node_runs(const struct graph_node *node) {
  return node->live && !node->folded;
}

/* The arithmetic of one step. */
double plan_step_flops(const struct plan *plan, const struct plan_step *step);
