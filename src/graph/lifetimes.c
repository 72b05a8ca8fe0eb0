/* From when to when every tensor lives, and who may live in whose place. A lifetime is what the
 * operators declare to read, nothing more. */
#include <stdlib.h>
#include "graph/arena.h"
#include "graph/parts.h"

static int later(int a, int b) {
  return a > b ? a : b;
}

static int add_tenant(struct plan *plan, int kind, int owner, size_t bytes, int first, int last) {
  struct plan_tenant *tenant = &plan->tenants[plan->tenant_count];
  *tenant = (struct plan_tenant){.bytes = bytes, .first_step = first, .last_step = last};
  tenant->kind = kind;
  tenant->owner = owner;
  return plan->tenant_count++;
}

static bool is_computed_again(const struct plan *plan, int n) {
  return plan->again_step[n] >= 0;
}

/* The last step in which node `n` reads input `input`; of forward steps only, or of all. */
static int last_read(const struct plan *plan, int n, int input, bool forward_only) {
  int last = plan->forward_step[n];
  if (forward_only) return last;
  last = later(last, plan->again_step[n]);
  bool reads = node_reads_x(&plan->graph->nodes[n].node, input);
  return later(last, reads ? plan->backward_step[n] : -1);
}

static int last_reader(const struct plan *plan, int value, bool forward_only) {
  const struct graph *graph = plan->graph;
  int last = -1;
  for (int n = 0; n < graph->node_count; n++) {
    if (plan->forward_step[n] < 0) continue;
    for (int i = 0; i < graph->nodes[n].node.input_count; i++)
      if (graph->nodes[n].input[i] == value)
        last = later(last, last_read(plan, n, i, forward_only));
  }
  return last;
}

/* The last step that needs the output of node `n`. */
static int last_use(const struct plan *plan, int n) {
  const struct graph_node *node = &plan->graph->nodes[n];
  if (node->node.op->is_loss) return plan->step_count - 1;
  int last = later(plan->forward_step[n], last_reader(plan, node->output, false));
  if (node->node.backward_reads & READS_Y) last = later(last, plan->backward_step[n]);
  bool is_output = plan->graph->values[node->output].is_output;
  return is_output ? later(last, plan->forward_step_count - 1) : last;
}

/* The last step that needs it as forward has computed it. */
static int last_use_of_first(const struct plan *plan, int n) {
  if (!is_computed_again(plan, n)) return last_use(plan, n);
  return later(plan->forward_step[n], last_reader(plan, plan->graph->nodes[n].output, true));
}

/* The tenant that node `n` may overwrite with its output, or -1: that of its first input, if this
 * is the last step in which anybody needs it. */
static int find_place(const struct plan *plan, int n) {
  const struct graph_node *node = &plan->graph->nodes[n];
  const struct value *x = &plan->graph->values[node->input[0]];
  if (!node->node.op->in_place || plan->options.no_reuse || x->is_input || x->is_output) return -1;
  for (int i = 1; i < node->node.input_count; i++)
    if (node->input[i] == node->input[0]) return -1;
  bool same = x->tensor.layout == node->node.y.layout && x->tensor.dtype == node->node.y.dtype &&
              shape_equal(x->tensor.shape, node->node.y.shape);
  bool free_after = last_use_of_first(plan, x->producer) == plan->forward_step[n];
  return same && free_after ? plan->value_tenant[node->input[0]] : -1;
}

static void list_value(struct plan *plan, int n) {
  int value = plan->graph->nodes[n].output, place = find_place(plan, n);
  int last = last_use_of_first(plan, n);
  if (place >= 0) {
    plan->tenants[place].last_step = last;
  } else {
    size_t bytes = tensor_bytes(&plan->graph->values[value].tensor);
    place = add_tenant(plan, TENANT_VALUE, value, bytes, plan->forward_step[n], last);
  }
  plan->value_tenant[value] = place;
}

static void list_again(struct plan *plan, int n) {
  int value = plan->graph->nodes[n].output;
  size_t bytes = tensor_bytes(&plan->graph->values[value].tensor);
  if (is_computed_again(plan, n))
    plan->again_tenant[value] =
        add_tenant(plan, TENANT_VALUE, value, bytes, plan->again_step[n], last_use(plan, n));
}

/* Forward writes saved tensors also when no backward follows. */
static void list_saved(struct plan *plan, int n) {
  const struct node *node = &plan->graph->nodes[n].node;
  int first = plan->forward_step[n], last = later(first, plan->again_step[n]);
  last = later(last, plan->backward_step[n]);
  for (int i = 0; i < node->saved_count; i++) {
    int owner = n * OP_MAX_SAVED + i;
    size_t bytes = tensor_bytes(&node->saved[i]);
    plan->saved_tenant[owner] = add_tenant(plan, TENANT_SAVED, owner, bytes, first, last);
  }
}

/* A gradient lives from its first writer, the last consumer, to the backward of its producer. */
static void list_gradient(struct plan *plan, int value) {
  const struct graph *graph = plan->graph;
  const struct value *v = &graph->values[value];
  if (!v->has_gradient) return;
  int last = v->producer >= 0 ? plan->backward_step[v->producer] : plan->step_count - 1;
  int first = last;
  for (int n = 0; n < graph->node_count; n++) {
    if (plan->backward_step[n] < 0 || plan->backward_step[n] > first) continue;
    for (int i = 0; i < graph->nodes[n].node.input_count; i++)
      if (graph->nodes[n].input[i] == value) first = plan->backward_step[n];
  }
  size_t bytes = tensor_bytes(&v->tensor);
  plan->gradient_tenant[value] = add_tenant(plan, TENANT_GRADIENT, value, bytes, first, last);
}

static void list_workspace(struct plan *plan, int s) {
  struct plan_step *step = &plan->steps[s];
  const struct node *node = &plan->graph->nodes[step->node].node;
  size_t bytes = step->kind == STEP_BACKWARD ? node->backward_workspace : node->forward_workspace;
  if (bytes) step->workspace = add_tenant(plan, TENANT_WORKSPACE, s, bytes, s, s);
}

static int *make_list(size_t count) {
  int *list = calloc(count, sizeof *list);
  for (size_t i = 0; i < count && list; i++) list[i] = -1;
  return list;
}

static enum status allocate_tenants(struct plan *plan) {
  size_t values = (size_t)plan->graph->value_count, nodes = (size_t)plan->graph->node_count;
  size_t most = 3 * values + OP_MAX_SAVED * nodes + (size_t)plan->step_count;
  plan_forget_tenants(plan);
  plan->tenants = calloc(most, sizeof *plan->tenants);
  plan->value_tenant = make_list(values);
  plan->again_tenant = make_list(values);
  plan->gradient_tenant = make_list(values);
  plan->saved_tenant = make_list(nodes * OP_MAX_SAVED);
  REQUIRE(plan->tenants && plan->value_tenant && plan->again_tenant && plan->gradient_tenant &&
              plan->saved_tenant,
          STATUS_FAILED, "out of memory while planning");
  return STATUS_OK;
}

void plan_forget_tenants(struct plan *plan) {
  free(plan->tenants);
  free(plan->value_tenant);
  free(plan->again_tenant);
  free(plan->gradient_tenant);
  free(plan->saved_tenant);
  plan->tenants = NULL;
  plan->value_tenant = plan->again_tenant = plan->gradient_tenant = plan->saved_tenant = NULL;
  plan->tenant_count = 0;
}

static size_t round_up(size_t bytes) {
  return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

static void reserve(struct plan *plan) {
  size_t guard = plan->options.guard ? ARENA_ALIGNMENT : 0;
  for (int i = 0; i < plan->tenant_count; i++)
    plan->tenants[i].reserved = round_up(plan->tenants[i].bytes) + guard;
}

/* The tenants as the packer sees them. */
static struct arena_item *list_items(const struct plan *plan) {
  struct arena_item *items = calloc((size_t)plan->tenant_count + 1, sizeof *items);
  for (int i = 0; i < plan->tenant_count && items; i++) {
    const struct plan_tenant *tenant = &plan->tenants[i];
    items[i] = (struct arena_item){tenant->reserved, tenant->first_step, tenant->last_step, 0};
  }
  return items;
}

static enum status find_peak(struct plan *plan) {
  struct arena_item *items = list_items(plan);
  REQUIRE(items, STATUS_FAILED, "out of memory while planning");
  enum status status = arena_peak(items, plan->tenant_count, &plan->peak_live_bytes);
  free(items);
  return status;
}

enum status plan_list_tenants(struct plan *plan) {
  TRY(allocate_tenants(plan));
  for (int n = 0; n < plan->graph->node_count; n++) {
    if (plan->forward_step[n] < 0) continue;
    list_value(plan, n);
    list_again(plan, n);
    list_saved(plan, n);
  }
  for (int v = 0; v < plan->graph->value_count; v++) list_gradient(plan, v);
  for (int s = 0; s < plan->step_count; s++) list_workspace(plan, s);
  reserve(plan);
  return find_peak(plan);
}

/* Everything gets memory of its own, one after another. */
static size_t place_apart(struct arena_item *items, int count) {
  size_t end = 0;
  for (int i = 0; i < count; i++) {
    items[i].offset = end;
    end += items[i].bytes;
  }
  return end;
}

static enum status place(struct plan *plan, struct arena_item *items) {
  int count = plan->tenant_count;
  if (plan->options.no_reuse)
    plan->arena_bytes = place_apart(items, count);
  else
    TRY(arena_pack(items, count, &plan->arena_bytes));
  for (int i = 0; i < count; i++) plan->tenants[i].offset = items[i].offset;
  return STATUS_OK;
}

enum status plan_pack(struct plan *plan) {
  struct arena_item *items = list_items(plan);
  REQUIRE(items, STATUS_FAILED, "out of memory while planning");
  enum status status = place(plan, items);
  free(items);
  return status;
}
