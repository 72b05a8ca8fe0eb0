/* Two ways of making a wrong plan or kernel visible: reading the dead gives NaN, writing past an
 * end destroys a pattern. */
#include "graph/debug.h"
#include <string.h>

enum { POISON_BYTE = 0xff, GUARD_BYTE = 0xa5 }; /* all bits set is NaN in every type of float */

static unsigned char *memory_of(const struct run *run, const struct plan_tenant *tenant) {
  return (unsigned char *)run->arena + tenant->offset;
}

void debug_start(const struct run *run) {
  if (run->plan->options.poison) memset(run->arena, POISON_BYTE, run->plan->arena_bytes);
}

void debug_before(const struct run *run, int s) {
  const struct plan_options *options = &run->plan->options;
  for (int i = 0; i < run->plan->tenant_count; i++) {
    const struct plan_tenant *tenant = &run->plan->tenants[i];
    if (options->poison && tenant->last_step == s - 1)
      memset(memory_of(run, tenant), POISON_BYTE, tenant->reserved);
  }
  for (int i = 0; i < run->plan->tenant_count; i++) {
    const struct plan_tenant *tenant = &run->plan->tenants[i];
    if (options->guard && tenant->first_step == s)
      memset(memory_of(run, tenant) + tenant->bytes, GUARD_BYTE, tenant->reserved - tenant->bytes);
  }
}

static bool is_intact(const struct run *run, const struct plan_tenant *tenant) {
  const unsigned char *memory = memory_of(run, tenant);
  for (size_t i = tenant->bytes; i < tenant->reserved; i++)
    if (memory[i] != GUARD_BYTE) return false;
  return true;
}

static const char *const kinds[] = {[TENANT_VALUE] = "value",
                                    [TENANT_GRADIENT] = "gradient",
                                    [TENANT_SAVED] = "saved tensor",
                                    [TENANT_WORKSPACE] = "workspace"};

enum status debug_after(const struct run *run, int s) {
  if (!run->plan->options.guard) return STATUS_OK;
  const struct plan_step *step = &run->plan->steps[s];
  const struct node *node = &run->plan->graph->nodes[step->node].node;
  for (int i = 0; i < run->plan->tenant_count; i++) {
    const struct plan_tenant *tenant = &run->plan->tenants[i];
    if (tenant->first_step > s || tenant->last_step < s || is_intact(run, tenant)) continue;
    FAIL(STATUS_FAILED, "%s: %s of kernel %s.%s wrote past the end of a %s of %zu bytes",
         node->name, step->kind == STEP_BACKWARD ? "backward" : "forward", node->op->name,
         node->kernel->name, kinds[tenant->kind], tenant->bytes);
  }
  return STATUS_OK;
}
