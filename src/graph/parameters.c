/* The flat block of parameters, in the order in which backward finishes them, statistics last, and
 * its cut into buckets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "graph/parts.h"

enum { PARAMETER_ALIGNMENT = 16 }; /* elements: one cache line of float32 */

static int64_t round_up(int64_t elements) {
  return (elements + PARAMETER_ALIGNMENT - 1) / PARAMETER_ALIGNMENT * PARAMETER_ALIGNMENT;
}

static int count_parameters(const struct graph *graph) {
  int count = 0;
  for (int n = 0; n < graph->node_count; n++) count += graph->nodes[n].node.parameter_count;
  return count;
}

static enum status add_parameter(struct plan *plan, int n, int index) {
  const struct graph_node *node = &plan->graph->nodes[n];
  struct plan_parameter *added = &plan->parameters[plan->parameter_count];
  *added = (struct plan_parameter){.parameter = node->node.parameter[index]};
  int length =
      snprintf(added->name, sizeof added->name, "%s.%s", node->node.name, added->parameter.suffix);
  REQUIRE(length > 0 && (size_t)length < sizeof added->name, STATUS_USAGE,
          "%s.%s: expected a parameter name of at most %zu characters", node->node.name,
          added->parameter.suffix, sizeof added->name - 1);
  REQUIRE(!plan_find_parameter(plan, added->name), STATUS_USAGE,
          "the network has two parameters called \"%s\"", added->name);
  REQUIRE(!plan->options.training || node->runs_backward, STATUS_USAGE,
          "parameter %s cannot be trained: no loss with a weight depends on it", added->name);
  added->node = n;
  added->index = index;
  added->offset = plan->parameter_elements;
  added->count = parameter_count(&added->parameter);
  plan->node_parameter[n * OP_MAX_PARAMETERS + index] = plan->parameter_count;
  plan->parameter_elements = round_up(added->offset + added->count);
  plan->parameter_count++;
  return STATUS_OK;
}

static enum status add_parameters(struct plan *plan, bool statistics) {
  for (int n = plan->graph->node_count - 1; n >= 0; n--) {
    const struct node *node = &plan->graph->nodes[n].node;
    for (int i = 0; i < node->parameter_count; i++)
      if (node->parameter[i].statistic == statistics) TRY(add_parameter(plan, n, i));
  }
  return STATUS_OK;
}

enum status plan_list_parameters(struct plan *plan) {
  const struct graph *graph = plan->graph;
  size_t nodes = (size_t)graph->node_count + 1;
  plan->parameters = calloc((size_t)count_parameters(graph) + 1, sizeof *plan->parameters);
  plan->node_parameter = calloc(nodes * OP_MAX_PARAMETERS, sizeof *plan->node_parameter);
  REQUIRE(plan->parameters && plan->node_parameter, STATUS_FAILED, "out of memory while planning");
  TRY(add_parameters(plan, false));
  plan->trained_elements = plan->parameter_elements;
  return add_parameters(plan, true);
}

/* Where the block of parameter `i` ends, its gap included. */
static int64_t end_of_parameter(const struct plan *plan, int i) {
  return i + 1 < plan->parameter_count ? plan->parameters[i + 1].offset : plan->parameter_elements;
}

/* Whether a bucket takes one more parameter. */
static bool is_open(const struct plan *plan, const struct plan_bucket *bucket) {
  size_t bytes = (size_t)bucket->count * dtype_bytes(plan->graph->dtype);
  if (bucket->first + bucket->count == plan->trained_elements) return false;
  return plan->options.bucket_bytes == 0 || bytes < plan->options.bucket_bytes;
}

enum status plan_list_buckets(struct plan *plan) {
  if (!plan->options.training) return STATUS_OK;
  plan->buckets = calloc((size_t)plan->parameter_count + 1, sizeof *plan->buckets);
  REQUIRE(plan->buckets, STATUS_FAILED, "out of memory while planning");
  struct plan_bucket *bucket = NULL;
  int last_step = 0;
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    int step = plan->backward_step[parameter->node];
    if (step > last_step) last_step = step;
    if (!bucket || !is_open(plan, bucket)) {
      bucket = &plan->buckets[plan->bucket_count++];
      bucket->first = parameter->offset;
    }
    bucket->count = end_of_parameter(plan, i) - bucket->first;
    bucket->last_step = last_step;
  }
  return STATUS_OK;
}

static int64_t count_elements(const struct plan *plan, bool statistics) {
  int64_t count = 0;
  for (int i = 0; i < plan->parameter_count; i++)
    if (plan->parameters[i].parameter.statistic == statistics) count += plan->parameters[i].count;
  return count;
}

int64_t plan_trainable_count(const struct plan *plan) {
  return count_elements(plan, false);
}

int64_t plan_statistic_count(const struct plan *plan) {
  return count_elements(plan, true);
}

const struct plan_parameter *plan_find_parameter(const struct plan *plan, const char *name) {
  for (int i = 0; i < plan->parameter_count; i++)
    if (strcmp(plan->parameters[i].name, name) == 0) return &plan->parameters[i];
  return NULL;
}
