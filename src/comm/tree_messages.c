/* Buckets that travel as the communicator's messages: directly between the blocks when they are
 * host memory, else through pinned copies of them, with the same code and the same bits. The copies
 * run on the tree's stream while the device computes. */
#include <stdio.h>
#include "comm/tree_state.h"

static bool serves_host(const struct device *device) {
  return device->ops->host_memory;
}

static bool serves_others(const struct device *device) {
  return !device->ops->host_memory;
}

/* Partial nodes that are missing are their sender's fault; totals may be late because their sender
 * itself waits for somebody. */
static const struct comm_request *find_pending(const struct tree *tree, int *count) {
  const struct tree_state *state = tree->state;
  bool partials = state->folded < state->bucket_count;
  int last = state->bucket_count - 1, at = partials ? state->folded : state->finished;
  struct tree_bucket *bucket = &state->buckets[at < last ? at : last];
  int arrivals = (int)(bucket->departures - bucket->arrivals);
  *count = partials && arrivals ? arrivals : bucket->message_count;
  return bucket->arrivals;
}

static void give_up(struct tree *tree) {
  struct tree_state *state = tree->state;
  for (int i = 0; state->requests && i < state->bucket_count; i++)
    comm_cancel_all(tree->comm, state->buckets[i].arrivals, state->buckets[i].message_count);
}

/* --- host memory ----------------------------------------------------------------------------- */

static enum status start_messages(struct tree *tree) {
  struct tree_state *state = tree->state;
  state->host_sum = state->sum;
  return state->method->start ? state->method->start(tree) : STATUS_OK;
}

static enum status launch_messages(struct tree *tree, struct tree_bucket *bucket) {
  TRY(tree->state->method->launch(tree, bucket));
  tree->state->launched++;
  return STATUS_OK;
}

static enum status advance_messages(struct tree *tree) {
  struct tree_state *state = tree->state;
  TRY(state->method->advance(tree));
  state->done = state->finished == state->bucket_count;
  return STATUS_OK;
}

static void describe_messages(char *text, size_t bytes) {
  comm_mpi.describe(text, bytes);
}

extern const struct tree_transport tree_messages;
const struct tree_transport tree_messages = {.name = "mpi",
                                             .serves = serves_host,
                                             .describe = describe_messages,
                                             .give_up = give_up,
                                             .start = start_messages,
                                             .launch = launch_messages,
                                             .advance = advance_messages,
                                             .pending = find_pending};

/* --- device memory --------------------------------------------------------------------------- */

static enum status start_staged(struct tree *tree) {
  const struct tree_method *method = tree->state->method;
  return method->start ? method->start(tree) : STATUS_OK;
}

/* This rank's nodes go to the host. */
static enum status launch_staged(struct tree *tree, struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  const struct device_ops *ops = state->device->ops;
  size_t bytes = sizeof(float) * (size_t)bucket->count;
  TRY(ops->event_record(&bucket->ready, &state->stream));
  TRY(ops->event_wait(&state->traffic, &bucket->ready));
  for (int k = 0; k < state->depth; k++) {
    if (!state->stack[k].present) continue;
    int block = state->stack_block[k];
    TRY(ops->copy(&state->traffic, tree_host_block(state, block) + bucket->first,
                  tree_block(state, block) + bucket->first, bytes));
  }
  return ops->event_record(&bucket->ready, &state->traffic);
}

static enum status send_what_came(struct tree *tree) {
  struct tree_state *state = tree->state;
  while (state->launched < state->complete) {
    struct tree_bucket *bucket = &state->buckets[state->launched];
    bool done = false;
    TRY(state->device->ops->event_done(&bucket->ready, &done));
    if (!done) break;
    TRY(state->method->launch(tree, bucket));
    state->launched++;
  }
  return STATUS_OK;
}

static enum status return_totals(struct tree_state *state) {
  for (; state->returned < state->finished; state->returned++) {
    const struct tree_bucket *bucket = &state->buckets[state->returned];
    TRY(state->device->ops->copy(&state->traffic, state->sum + bucket->first,
                                 state->host_sum + bucket->first,
                                 sizeof(float) * (size_t)bucket->count));
  }
  return STATUS_OK;
}

static enum status advance_staged(struct tree *tree) {
  struct tree_state *state = tree->state;
  TRY(send_what_came(tree));
  TRY(state->method->advance(tree));
  TRY(return_totals(state));
  return state->returned == state->bucket_count ? tree_await_finish(state) : STATUS_OK;
}

enum status tree_await_finish(struct tree_state *state) {
  const struct device_ops *ops = state->device->ops;
  if (!state->finishing) TRY(ops->event_record(&state->finish, &state->traffic));
  state->finishing = true;
  return ops->event_done(&state->finish, &state->done);
}

static void describe_staged(char *text, size_t bytes) {
  char library[64];
  comm_mpi.describe(library, sizeof library);
  snprintf(text, bytes, "%s through host memory", library);
}

/* Nothing on the stream may still read or write what is about to be released. */
static void close_staged(struct tree *tree) {
  struct tree_state *state = tree->state;
  if (state->traffic.handle && state->device->ops->synchronize(&state->traffic)) return;
}

extern const struct tree_transport tree_staged;
const struct tree_transport tree_staged = {.name = "mpi",
                                           .serves = serves_others,
                                           .describe = describe_staged,
                                           .uses_host = true,
                                           .close = close_staged,
                                           .give_up = give_up,
                                           .start = start_staged,
                                           .launch = launch_staged,
                                           .advance = advance_staged,
                                           .pending = find_pending};
