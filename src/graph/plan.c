/* The stages of planning, in order; the choice of kernels; the hash. */
#include "graph/plan.h"
#include <stdlib.h>
#include <string.h>
#include "graph/parts.h"

enum { MOST_CANDIDATES = 32 };

/* The first `most` kernels that can compute a node, the best first. */
static int list_candidates(const struct graph_node *chosen, const char *name, int most,
                           const struct kernel *candidates[MOST_CANDIDATES]) {
  int count = 0;
  for (int i = 0; chosen->node.op->kernels[i] && count < most; i++) {
    const struct kernel *kernel = chosen->node.op->kernels[i];
    if (chosen->runs_backward && !kernel->training) continue;
    if (op_kernel_eligible(kernel, &chosen->node, name)) candidates[count++] = kernel;
  }
  return count;
}

static enum status choose_kernel(const struct plan *plan, struct graph_node *chosen) {
  const struct plan_options *options = &plan->options;
  const struct kernel *candidates[MOST_CANDIDATES];
  struct node *node = &chosen->node;
  const char *forced =
      options->forced_kernel ? options->forced_kernel(options->context, node->op->name) : NULL;
  int most = options->prefer && !forced ? MOST_CANDIDATES : 1;
  int count = list_candidates(chosen, forced, most, candidates), choice = 0;
  if (count == 0) {
    TRY(op_choose_kernel(node, forced, &node->kernel)); /* says which there are */
    FAIL(STATUS_USAGE, "kernels.%s: \"%s\" has no backward and cannot train %s", node->op->name,
         node->kernel->name, node->name);
  }
  if (count > 1) choice = options->prefer(options->prefer_context, node, candidates, count);
  node->kernel = candidates[choice];
  node->forward_workspace = node->backward_workspace = 0;
  if (node->kernel->prepare) node->kernel->prepare(node);
  return STATUS_OK;
}

enum status plan_choose_kernels(struct plan *plan) {
  for (int n = 0; n < plan->graph->node_count; n++)
    if (node_runs(&plan->graph->nodes[n])) TRY(choose_kernel(plan, &plan->graph->nodes[n]));
  return STATUS_OK;
}

double plan_step_flops(const struct plan *plan, const struct plan_step *step) {
  const struct node *node = &plan->graph->nodes[step->node].node;
  double (*flops)(const struct node *) =
      step->kind == STEP_BACKWARD ? node->op->backward_flops : node->op->forward_flops;
  return flops ? flops(node) : 0;
}

static void add_up(struct plan *plan) {
  for (int s = 0; s < plan->step_count; s++) {
    const struct plan_step *step = &plan->steps[s];
    double *flops = step->kind == STEP_FORWARD ? &plan->forward_flops : &plan->backward_flops;
    *flops += plan_step_flops(plan, step);
  }
  for (int v = 0; v < plan->graph->value_count; v++)
    if (plan->graph->values[v].is_input)
      plan->input_bytes += tensor_bytes(&plan->graph->values[v].tensor);
}

enum status plan_make(struct plan *plan, struct graph *graph, const struct plan_options *options) {
  *plan = (struct plan){.graph = graph, .options = *options};
  REQUIRE(!graph->planned, STATUS_FAILED, "the network has been planned already");
  graph->planned = true;
  TRY(graph_mark_live(graph));
  if (!options->no_folding) TRY(graph_fold(graph));
  graph_mark_backward(graph, options->training);
  TRY(plan_choose_kernels(plan));
  TRY(plan_choose_again(plan));
  TRY(plan_pack(plan));
  TRY(plan_list_parameters(plan));
  TRY(plan_list_buckets(plan));
  add_up(plan);
  return STATUS_OK;
}

void plan_close(struct plan *plan) {
  plan_forget_steps(plan);
  plan_forget_tenants(plan);
  free(plan->computed_again);
  free(plan->parameters);
  free(plan->node_parameter);
  free(plan->buckets);
  *plan = (struct plan){0};
}

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static void hash_bytes(uint64_t *hash, const void *data, size_t bytes) {
  const unsigned char *byte = data;
  for (size_t i = 0; i < bytes; i++) *hash = (*hash ^ byte[i]) * 0x100000001b3u;
}

static void hash_text(uint64_t *hash, const char *text) {
  hash_bytes(hash, text, strlen(text) + 1);
}

static void hash_int(uint64_t *hash, int64_t value) {
  hash_bytes(hash, &value, sizeof value);
}

static void hash_tensor(uint64_t *hash, const struct tensor *tensor) {
  const int fields[] = {tensor->shape.n, tensor->shape.c,    tensor->shape.d,    tensor->shape.h,
                        tensor->shape.w, (int)tensor->dtype, (int)tensor->layout};
  hash_bytes(hash, fields, sizeof fields);
}

static void hash_step(uint64_t *hash, const struct plan *plan, const struct plan_step *step) {
  const struct graph_node *node = &plan->graph->nodes[step->node];
  hash_int(hash, step->kind);
  hash_text(hash, node->node.op->name);
  hash_text(hash, node->node.kernel->name);
  hash_text(hash, node->node.name);
  for (int i = 0; i < node->node.input_count; i++) {
    hash_int(hash, node->input[i]);
    hash_tensor(hash, &node->node.x[i]);
  }
  hash_tensor(hash, &node->node.y);
  hash_bytes(hash, &node->loss_weight, sizeof node->loss_weight);
}

uint64_t plan_hash(const struct plan *plan) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int s = 0; s < plan->step_count; s++)
    if (plan->steps[s].kind != STEP_AGAIN) hash_step(&hash, plan, &plan->steps[s]);
  for (int i = 0; i < plan->parameter_count; i++) {
    hash_text(&hash, plan->parameters[i].name);
    hash_int(&hash, plan->parameters[i].offset);
    hash_int(&hash, plan->parameters[i].count);
  }
  return hash;
}
