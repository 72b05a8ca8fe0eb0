/* Where things are while a plan runs, by index for the steps, by name for everybody else. */
#include "graph/access.h"
#include <math.h>
#include <string.h>

void *run_tenant(const struct run *run, int tenant) {
  return tenant < 0 ? NULL : (unsigned char *)run->arena + run->plan->tenants[tenant].offset;
}

const void *run_value_at(const struct run *run, int value) {
  if (run->plan->graph->values[value].is_input) return run->inputs[value];
  return run_tenant(run, run->plan->value_tenant[value]);
}

void *run_gradient(const struct run *run, int value) {
  return run_tenant(run, run->plan->gradient_tenant[value]);
}

/* The value called `name`, or -1. */
static int find_value(const struct run *run, const char *name) {
  const struct graph *graph = run->plan->graph;
  for (int v = 0; v < graph->value_count; v++)
    if (graph->values[v].name[0] && strcmp(graph->values[v].name, name) == 0) return v;
  return -1;
}

enum status run_bind(struct run *run, const char *input, const void *memory) {
  int value = find_value(run, input);
  REQUIRE(value >= 0 && run->plan->graph->values[value].is_input, STATUS_FAILED,
          "the network has no input called \"%s\"", input);
  run->inputs[value] = memory;
  return STATUS_OK;
}

enum status run_value(const struct run *run, const char *name, const struct tensor **tensor,
                      const void **memory) {
  int value = find_value(run, name);
  REQUIRE(value >= 0, STATUS_FAILED, "the network has no input or output called \"%s\"", name);
  const void *found = run_value_at(run, value);
  REQUIRE(found, STATUS_FAILED, "input %s has not been bound", name);
  if (tensor) *tensor = &run->plan->graph->values[value].tensor;
  if (memory) *memory = found;
  return STATUS_OK;
}

enum status run_input_gradient(const struct run *run, const char *name, const void **memory) {
  int value = find_value(run, name);
  REQUIRE(value >= 0 && run->plan->graph->values[value].is_input && run_gradient(run, value),
          STATUS_FAILED, "there is no gradient of an input called \"%s\"", name);
  *memory = run_gradient(run, value);
  return STATUS_OK;
}

int run_losses(const struct run *run, struct run_loss *losses, int capacity) {
  const struct graph *graph = run->plan->graph;
  struct stream stream = run->stream;
  bool arrived = run->device->ops->synchronize(&stream) == STATUS_OK;
  if (!arrived) status_clear();
  for (int i = 0; i < graph->loss_count && i < capacity; i++) {
    const struct graph_node *loss = &graph->nodes[graph->losses[i]];
    losses[i] =
        (struct run_loss){loss->node.name, loss->loss_weight, arrived ? run->loss_values[i] : NAN};
  }
  return graph->loss_count;
}
