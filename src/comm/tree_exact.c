/* The exact tree across ranks: bytes move, we add. Every rank sends chunk q of its partial nodes to
 * rank q, which folds all of them in tree order; then the folded chunks go to everybody. Where the
 * ranks own aligned parts this moves what a ring would: 2 (n-1)/n of the block. */
#include <string.h>
#include "comm/tree_state.h"

/* --- local ----------------------------------------------------------------------------------- */

static bool block_is_used(const struct tree_state *state, int block) {
  for (int i = 0; i < state->depth; i++)
    if (state->stack[i].present && state->stack_block[i] == block) return true;
  return false;
}

static int find_free_block(const struct tree_state *state) {
  int block = 0;
  while (block_is_used(state, block)) block++;
  return block;
}

/* Takes the last node off the stack and makes it the left sibling of `node`, whose data is in
 * `block`; returns where the sum's data is. */
static int merge_left(struct tree_state *state, struct tree_node *node, int block) {
  const struct tree_node *left = &state->stack[--state->depth];
  int left_block = state->stack_block[state->depth];
  if (left->present && node->present)
    state->adds[state->add_count++] = (struct tree_sum){.to = left_block, .from = block};
  if (left->present) block = left_block;
  *node = (struct tree_node){left->lo, node->level + 1, left->present || node->present, NULL};
  return block;
}

/* Walks the stack as tree_stack_push does, and at the end as tree_stack_finish, noting the sums
 * instead of making them. */
static void plan_slot(struct tree_state *state, int slot, bool present, bool finish) {
  struct tree_node node = {.lo = slot, .present = present};
  int block = present ? TREE_VALUES : TREE_NOWHERE; /* where node's data is */
  state->add_count = 0;
  state->fresh = -1;
  while (state->depth &&
         (finish || tree_nodes_are_siblings(&state->stack[state->depth - 1], &node)))
    block = merge_left(state, &node, block);
  state->root = block;
  if (finish) return;
  if (block == TREE_VALUES) block = state->fresh = find_free_block(state);
  state->stack[state->depth] = node;
  state->stack_block[state->depth++] = block;
}

/* --- across ranks ---------------------------------------------------------------------------- */

/* A message of no bytes stands for an absent node; where the chunk is empty there is no message. */
static enum status start(struct tree *tree) {
  struct tree_state *state = tree->state;
  struct comm *comm = tree->comm;
  for (int i = 0; i < state->bucket_count; i++) {
    struct tree_bucket *bucket = &state->buckets[i];
    struct comm_request *request = bucket->arrivals;
    float *to = state->received + bucket->received_at;
    size_t bytes = sizeof(float) * (size_t)bucket->chunk.count;
    for (int rank = 0; bytes && rank < comm->size; rank++) {
      int nodes = rank == comm->rank ? 0 : state->partial_count[rank];
      for (int k = 0; k < nodes; k++, to += tree_round_up(bucket->chunk.count))
        TRY(comm->ops->receive(comm, to, bytes, rank, TAG_PARTIAL, request++));
    }
  }
  return STATUS_OK;
}

static enum status launch(struct tree *tree, struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  struct comm *comm = tree->comm;
  struct comm_request *request = bucket->departures, *total = bucket->totals;
  for (int rank = 0; rank < comm->size; rank++) {
    struct tree_chunk chunk = tree_chunk(bucket->count, rank, comm->size);
    if (rank == comm->rank || !chunk.count) continue;
    size_t bytes = sizeof(float) * (size_t)chunk.count;
    int64_t first = bucket->first + chunk.first;
    TRY(comm->ops->receive(comm, state->host_sum + first, bytes, rank, TAG_TOTAL, total++));
    for (int k = 0; k < state->depth; k++) {
      bool present = state->stack[k].present;
      const float *from = tree_host_block(state, present ? state->stack_block[k] : 0) + first;
      TRY(comm->ops->send(comm, from, present ? bytes : 0, rank, TAG_PARTIAL, request++));
    }
  }
  return STATUS_OK;
}

static void add_floats(void *sums, void *left, const void *right) {
  sums_add(sums, left, right);
}

/* The nodes in the buffers they arrived in, this rank's in its blocks. */
static struct tree_node fold(const struct tree *tree, const struct tree_bucket *bucket,
                             float *blocks, const uint64_t *present, struct sums *sums) {
  const struct tree_state *state = tree->state;
  float *received = state->received + bucket->received_at;
  struct tree_stack stack = {.add = add_floats, .context = sums};
  for (int rank = 0; rank < tree->comm->size; rank++)
    for (int k = 0; k < state->partial_count[rank]; k++) {
      struct tree_node node = state->partials[rank][k];
      node.present = present[rank] >> k & 1;
      if (rank == tree->comm->rank) {
        int64_t first = bucket->first + bucket->chunk.first;
        if (node.present)
          node.data = blocks + state->stack_block[k] * state->block_elements + first;
      } else {
        node.data = received;
        received += tree_round_up(bucket->chunk.count);
      }
      tree_stack_push(&stack, node);
    }
  return tree_stack_finish(&stack);
}

enum status tree_fold_chunk(const struct tree *tree, const struct tree_bucket *bucket,
                            float *blocks, const uint64_t *present, struct stream *stream,
                            float *sum) {
  struct sums sums;
  size_t bytes = sizeof(float) * (size_t)bucket->chunk.count;
  sums_start(&sums, stream ? stream->device->ops->kind : DEVICE_CPU, stream, bucket->chunk.count);
  struct tree_node root = fold(tree, bucket, blocks, present, &sums);
  if (root.present) sums_copy(&sums, sum, root.data);
  TRY(sums_finish(&sums));
  if (root.present) return STATUS_OK;
  if (stream) return stream->device->ops->fill(stream, sum, 0, bytes);
  memset(sum, 0, bytes);
  return STATUS_OK;
}

uint64_t tree_own_nodes(const struct tree_state *state) {
  uint64_t present = 0;
  for (int k = 0; k < state->depth; k++) present |= (uint64_t)state->stack[k].present << k;
  return present;
}

/* Which nodes came, by the sizes of their messages. */
static void note_arrivals(const struct tree *tree, const struct tree_bucket *bucket) {
  const struct tree_state *state = tree->state;
  const struct comm_request *request = bucket->arrivals;
  for (int rank = 0; rank < tree->comm->size; rank++) {
    state->present[rank] = rank == tree->comm->rank ? tree_own_nodes(state) : 0;
    for (int k = 0; rank != tree->comm->rank && k < state->partial_count[rank]; k++)
      state->present[rank] |= (uint64_t)(request++->bytes > 0) << k;
  }
}

static enum status fold_and_send(struct tree *tree, struct tree_bucket *bucket) {
  struct comm *comm = tree->comm;
  struct tree_state *state = tree->state;
  float *sum = state->host_sum + bucket->first + bucket->chunk.first;
  size_t bytes = sizeof(float) * (size_t)bucket->chunk.count;
  if (!bytes) return STATUS_OK;
  note_arrivals(tree, bucket);
  TRY(tree_fold_chunk(tree, bucket, state->host_blocks, state->present, NULL, sum));
  struct comm_request *total = bucket->totals + comm->size - 1;
  for (int rank = 0; rank < comm->size; rank++)
    if (rank != comm->rank) TRY(comm->ops->send(comm, sum, bytes, rank, TAG_TOTAL, total++));
  return STATUS_OK;
}

/* Buckets are folded in order, on all ranks, so that their messages match. */
static enum status advance(struct tree *tree) {
  struct tree_state *state = tree->state;
  int pending = 0;
  while (state->folded < state->bucket_count) {
    struct tree_bucket *bucket = &state->buckets[state->folded];
    int arrivals = (int)(bucket->departures - bucket->arrivals);
    TRY(comm_test_all(tree->comm, bucket->arrivals, arrivals, &pending));
    if (pending || state->folded == state->launched) break;
    TRY(fold_and_send(tree, bucket));
    state->folded++;
  }
  while (state->finished < state->folded) {
    struct tree_bucket *bucket = &state->buckets[state->finished];
    TRY(comm_test_all(tree->comm, bucket->arrivals, bucket->message_count, &pending));
    if (pending) break;
    state->finished++;
  }
  return STATUS_OK;
}

const struct tree_method tree_exact = {
    .plan_slot = plan_slot, .start = start, .launch = launch, .advance = advance};
