/* A step of the tree on one rank: the order of slots and ranges, the local sums, and when a bucket
 * may leave. */
#include "comm/tree.h"
#include "comm/tree_state.h"

/* Whoever fails here leaves the other ranks waiting for what will not come. */
static enum status lose(struct tree *tree, enum status status) {
  if (!status || tree->comm->size == 1) return status;
  tree->comm->broken = true;
  if (tree->state->transport->give_up) tree->state->transport->give_up(tree);
  return status;
}

enum status tree_start(struct tree *tree, float *sum, struct stream *stream) {
  struct tree_state *state = tree->state;
  TRY(comm_usable(tree->comm));
  state->stream = stream ? *stream : (struct stream){.device = state->device};
  state->sum = sum;
  state->slot = tree->own.first;
  state->pushed = 0;
  state->depth = 0;
  state->complete = state->launched = state->folded = state->finished = state->returned = 0;
  state->finishing = state->done = false;
  size_t messages =
      state->bucket_count ? (size_t)state->bucket_count * (size_t)state->buckets->message_count : 0;
  for (size_t i = 0; i < messages; i++) state->requests[i] = (struct comm_request){.done = true};
  return state->transport->start ? lose(tree, state->transport->start(tree)) : STATUS_OK;
}

static int last_slot(const struct tree *tree) {
  return tree->own.first + tree->own.count - 1;
}

/* Buckets whose own part is complete leave, in order. */
static enum status launch_ready(struct tree *tree) {
  struct tree_state *state = tree->state;
  int last = last_slot(tree);
  if (state->slot < last) return STATUS_OK;
  while (state->complete < state->bucket_count) {
    struct tree_bucket *bucket = &state->buckets[state->complete];
    if (state->slot == last && bucket->first + bucket->count > state->pushed) break;
    TRY(lose(tree, state->transport->launch(tree, bucket)));
    state->complete++;
  }
  return STATUS_OK;
}

static void end_slot(struct tree_state *state) {
  state->slot++;
  state->pushed = 0;
}

static enum status plan_slot(struct tree *tree, bool present) {
  struct tree_state *state = tree->state;
  bool last = state->slot == last_slot(tree);
  state->root = TREE_NOWHERE;
  state->method->plan_slot(state, state->slot, present, last && tree->comm->size == 1);
  if (!last || !state->transport->plan_done) return STATUS_OK;
  return lose(tree, state->transport->plan_done(tree));
}

/* A node's elements from `first` on. */
static float *find_data(const struct tree_state *state, int block, const float *values,
                        int64_t first) {
  return block == TREE_VALUES ? (float *)values : tree_block(state, block) + first;
}

/* Elements [first, first + count) of the sums that the plan of this slot lists. */
static enum status merge(const struct tree *tree, const float *values, int64_t first,
                         int64_t count) {
  struct tree_state *state = tree->state;
  struct sums sums;
  bool finish = tree->comm->size == 1 && state->slot == last_slot(tree);
  sums_start(&sums, state->device->ops->kind, &state->stream, count);
  if (state->fresh >= 0) sums_copy(&sums, tree_block(state, state->fresh) + first, values);
  for (int i = 0; i < state->add_count; i++)
    sums_add(&sums, tree_block(state, state->adds[i].to) + first,
             find_data(state, state->adds[i].from, values, first));
  if (finish && state->root != TREE_NOWHERE)
    sums_copy(&sums, state->sum + first, find_data(state, state->root, values, first));
  TRY(sums_finish(&sums));
  if (!finish || state->root != TREE_NOWHERE) return STATUS_OK;
  return state->device->ops->fill(&state->stream, state->sum + first, 0,
                                  sizeof(float) * (size_t)count);
}

enum status tree_push(struct tree *tree, int slot, const float *values, int64_t first,
                      int64_t count) {
  struct tree_state *state = tree->state;
  REQUIRE(slot == state->slot && slot <= last_slot(tree) && count > 0 && first == state->pushed &&
              count <= tree->count - first,
          STATUS_FAILED,
          "reduction: expected element %lld of slot %d, found elements %lld to %lld of slot %d",
          (long long)state->pushed, state->slot, (long long)first, (long long)(first + count),
          slot);
  if (!first) TRY(plan_slot(tree, true));
  TRY(lose(tree, merge(tree, values, first, count)));
  state->pushed += count;
  TRY(launch_ready(tree));
  if (state->pushed == tree->count) end_slot(state);
  return tree_progress(tree);
}

enum status tree_skip(struct tree *tree, int slot) {
  struct tree_state *state = tree->state;
  if (slot == state->slot - 1) return tree_progress(tree); /* it was complete when it failed */
  REQUIRE(slot == state->slot && slot <= last_slot(tree), STATUS_FAILED,
          "reduction: expected slot %d, found slot %d skipped", state->slot, slot);
  if (!state->pushed) {
    TRY(plan_slot(tree, false));
    TRY(lose(tree, merge(tree, NULL, 0, tree->count)));
  }
  state->pushed = tree->count;
  TRY(launch_ready(tree));
  end_slot(state);
  return tree_progress(tree);
}

enum status tree_progress(struct tree *tree) {
  TRY(comm_usable(tree->comm));
  return lose(tree, tree->state->transport->advance(tree));
}

enum status tree_wait(struct tree *tree) {
  struct tree_state *state = tree->state;
  REQUIRE(state->slot > last_slot(tree), STATUS_FAILED,
          "reduction: expected slot %d before the end of the step", state->slot);
  struct comm_patience patience;
  comm_patience_start(&patience, "gradient reduction");
  if (state->traffic.handle) patience.longest_sleep = 50e-6; /* a GPU would idle meanwhile */
  for (;;) {
    TRY(tree_progress(tree));
    if (state->done) return STATUS_OK;
    int count;
    const struct comm_request *pending = state->transport->pending(tree, &count);
    TRY(lose(tree, comm_patience_pause(tree->comm, &patience, pending, count)));
  }
}
