/* Plain sums: one local block, then the library's all-reduce. Bits depend on the number of ranks.
 */
#include <string.h>
#include "comm/tree_state.h"

/* depth: whether the block holds anything yet */
static void plan_slot(struct tree_state *state, int slot, bool present, bool finish) {
  (void)slot;
  bool held = state->depth > 0;
  state->add_count = present && held;
  state->adds[0] = (struct tree_sum){.to = 0, .from = TREE_VALUES};
  state->fresh = present && !held && !finish ? 0 : -1;
  if (held || present) state->root = held ? 0 : TREE_VALUES;
  if (present) state->depth = 1;
}

static enum status launch(struct tree *tree, struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  float *sum = state->host_sum + bucket->first;
  size_t bytes = sizeof(float) * (size_t)bucket->count;
  if (state->depth)
    memcpy(sum, tree_host_block(state, 0) + bucket->first, bytes);
  else
    memset(sum, 0, bytes);
  return tree->comm->ops->sum_start(tree->comm, sum, (size_t)bucket->count, bucket->arrivals);
}

static enum status advance(struct tree *tree) {
  struct tree_state *state = tree->state;
  int pending = 0;
  while (state->finished < state->launched) {
    struct tree_bucket *bucket = &state->buckets[state->finished];
    TRY(comm_test_all(tree->comm, bucket->arrivals, bucket->message_count, &pending));
    if (pending) break;
    state->folded = ++state->finished;
  }
  return STATUS_OK;
}

const struct tree_method tree_fast = {.plan_slot = plan_slot, .launch = launch, .advance = advance};
