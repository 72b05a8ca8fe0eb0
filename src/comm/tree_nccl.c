/* Buckets that travel as messages of NCCL, between device memory, on the tree's stream, while the
 * device computes. Exact: NCCL moves bytes and we add, in the same tree as on the host, so that
 * nothing about NCCL can change a bit. Fast: its all-reduce.
 *
 * NCCL's messages have sizes known to both sides, and the host never reads device memory; so which
 * nodes have data is told in one small host message per pair of ranks and step. It leaves as soon
 * as a rank knows: when the first range of its last slot's gradients is asked for, while the device
 * is still busy with that slot's forward pass. Where nothing is missing the device waits for
 * nothing, and a rank that does not come is known by name. */
#include <stdlib.h>
#include "comm/nccl_link.h"
#include "comm/tree_state.h"
#include "device/cuda.h"

struct tree_link {
  struct nccl_link nccl;
  struct comm_request *requests; /* who has what: one from every other rank, one to each */
  uint64_t mine;
  bool exchanged; /* the partial nodes of bucket `folded` are on their way */
};

static bool serves(const struct device *device) {
  return device->ops->kind == DEVICE_CUDA;
}

static struct tree_link *link_of(const struct tree *tree) {
  return tree->state->link;
}

static bool is_exact(const struct tree *tree) {
  return tree->state->method == &tree_exact;
}

static int others(const struct tree *tree) {
  return tree->comm->size - 1;
}

static enum status open_link(struct tree *tree) {
  struct tree_link *link = tree->state->link = calloc(1, sizeof *link);
  enum status status = STATUS_OK;
  if (link) link->requests = calloc(2 * (size_t)tree->comm->size, sizeof *link->requests);
  if (!link || !link->requests)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  TRY(comm_agree(tree->comm, status));
  return nccl_open(&link->nccl, tree->comm, tree->state->device);
}

/* What still runs would keep the device's memory from being released. */
static void give_up(struct tree *tree) {
  struct tree_link *link = link_of(tree);
  if (!link || !link->requests) return;
  nccl_give_up(&link->nccl);
  comm_cancel_all(tree->comm, link->requests, others(tree));
}

static void close_link(struct tree *tree) {
  struct tree_link *link = link_of(tree);
  if (!link) return;
  nccl_close(&link->nccl);
  free(link->requests);
  free(link);
  tree->state->link = NULL;
}

/* --- who has what ---------------------------------------------------------------------------- */

static enum status start(struct tree *tree) {
  struct tree_link *link = link_of(tree);
  struct comm *comm = tree->comm;
  struct comm_request *request = link->requests;
  link->exchanged = false;
  for (int i = 0; i < 2 * others(tree); i++) request[i] = (struct comm_request){.done = true};
  for (int rank = 0; is_exact(tree) && rank < comm->size; rank++)
    if (rank != comm->rank)
      TRY(comm->ops->receive(comm, &tree->state->present[rank], sizeof link->mine, rank,
                             TAG_PRESENCE, request++));
  return STATUS_OK;
}

static enum status tell_presence(struct tree *tree) {
  struct tree_link *link = link_of(tree);
  struct comm *comm = tree->comm;
  struct comm_request *request = link->requests + others(tree);
  link->mine = tree->state->present[comm->rank] = tree_own_nodes(tree->state);
  for (int rank = 0; is_exact(tree) && rank < comm->size; rank++)
    if (rank != comm->rank)
      TRY(comm->ops->send(comm, &link->mine, sizeof link->mine, rank, TAG_PRESENCE, request++));
  return STATUS_OK;
}

static const struct comm_request *find_pending(const struct tree *tree, int *count) {
  *count = others(tree);
  return link_of(tree)->requests;
}

/* --- a bucket -------------------------------------------------------------------------------- */

static enum status launch(struct tree *tree, struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  return state->device->ops->event_record(&bucket->ready, &state->stream);
}

/* A message to or from a rank; none of no elements. */
static enum status send(const struct tree *tree, const float *data, int64_t count, int peer) {
  struct nccl_link *nccl = &link_of(tree)->nccl;
  if (!count) return STATUS_OK;
  return nccl_check(nccl, ncclSend(data, (size_t)count, ncclFloat, peer, nccl->handle,
                                   cuda_stream(&tree->state->traffic)));
}

static enum status receive(const struct tree *tree, float *data, int64_t count, int peer) {
  struct nccl_link *nccl = &link_of(tree)->nccl;
  if (!count) return STATUS_OK;
  return nccl_check(nccl, ncclRecv(data, (size_t)count, ncclFloat, peer, nccl->handle,
                                   cuda_stream(&tree->state->traffic)));
}

/* My nodes' chunk `peer` to it, its nodes' chunk of mine from it: those with data. */
static enum status exchange_with(const struct tree *tree, const struct tree_bucket *bucket,
                                 int peer, float *received) {
  const struct tree_state *state = tree->state;
  struct tree_chunk chunk = tree_chunk(bucket->count, peer, tree->comm->size);
  for (int k = 0; k < state->depth; k++)
    if (state->stack[k].present)
      TRY(send(tree, tree_block(state, state->stack_block[k]) + bucket->first + chunk.first,
               chunk.count, peer));
  for (int k = 0; k < state->partial_count[peer]; k++)
    if (state->present[peer] >> k & 1)
      TRY(receive(tree, received + k * tree_round_up(bucket->chunk.count), bucket->chunk.count,
                  peer));
  return STATUS_OK;
}

static enum status exchange(struct tree *tree, const struct tree_bucket *bucket) {
  const struct tree_state *state = tree->state;
  struct nccl_link *nccl = &link_of(tree)->nccl;
  float *received = state->received + bucket->received_at;
  nccl->doing = "moving partial sums";
  TRY(nccl_group_start(nccl));
  for (int peer = 0; peer < tree->comm->size; peer++) {
    if (peer == tree->comm->rank) continue;
    TRY(exchange_with(tree, bucket, peer, received));
    received += state->partial_count[peer] * tree_round_up(bucket->chunk.count);
  }
  return nccl_group_end(nccl);
}

/* Everybody's chunk of the total to everybody. */
static enum status gather(struct tree *tree, const struct tree_bucket *bucket) {
  struct nccl_link *nccl = &link_of(tree)->nccl;
  struct comm *comm = tree->comm;
  float *sum = tree->state->sum + bucket->first;
  float *mine = sum + bucket->chunk.first;
  nccl->doing = "gathering sums";
  if (bucket->chunk.count * comm->size == bucket->count &&
      bucket->chunk.first == bucket->chunk.count * comm->rank)
    return nccl_check(nccl, ncclAllGather(mine, sum, (size_t)bucket->chunk.count, ncclFloat,
                                          nccl->handle, cuda_stream(&tree->state->traffic)));
  TRY(nccl_group_start(nccl));
  for (int peer = 0; peer < comm->size; peer++) {
    struct tree_chunk chunk = tree_chunk(bucket->count, peer, comm->size);
    if (peer == comm->rank) continue;
    TRY(send(tree, mine, bucket->chunk.count, peer));
    TRY(receive(tree, sum + chunk.first, chunk.count, peer));
  }
  return nccl_group_end(nccl);
}

static enum status fold_and_gather(struct tree *tree, const struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  float *sum = state->sum + bucket->first + bucket->chunk.first;
  if (bucket->chunk.count)
    TRY(tree_fold_chunk(tree, bucket, state->blocks, state->present, &state->traffic, sum));
  return gather(tree, bucket);
}

static enum status reduce(struct tree *tree, const struct tree_bucket *bucket) {
  struct tree_state *state = tree->state;
  struct nccl_link *nccl = &link_of(tree)->nccl;
  const struct device_ops *ops = state->device->ops;
  float *sum = state->sum + bucket->first;
  size_t bytes = sizeof(float) * (size_t)bucket->count;
  if (state->depth)
    TRY(ops->copy(&state->traffic, sum, tree_block(state, 0) + bucket->first, bytes));
  else
    TRY(ops->fill(&state->traffic, sum, 0, bytes));
  nccl->doing = "summing";
  return nccl_check(nccl, ncclAllReduce(sum, sum, (size_t)bucket->count, ncclFloat, ncclSum,
                                        nccl->handle, cuda_stream(&state->traffic)));
}

/* The next thing to do for bucket `folded`, whose own part is complete or will be on the stream. */
static enum status give_next(struct tree *tree) {
  struct tree_state *state = tree->state;
  struct tree_link *link = link_of(tree);
  const struct tree_bucket *bucket = &state->buckets[state->folded];
  if (!link->exchanged) TRY(state->device->ops->event_wait(&state->traffic, &bucket->ready));
  bool last = link->exchanged || !is_exact(tree);
  if (!is_exact(tree))
    TRY(reduce(tree, bucket));
  else if (link->exchanged)
    TRY(fold_and_gather(tree, bucket));
  else
    TRY(exchange(tree, bucket));
  link->exchanged = !last;
  state->folded += last;
  return STATUS_OK;
}

/* What NCCL has not yet put on the stream may not be followed by other work. */
static enum status advance(struct tree *tree) {
  struct tree_state *state = tree->state;
  struct tree_link *link = link_of(tree);
  int arriving, leaving;
  TRY(comm_test_all(tree->comm, link->requests, others(tree), &arriving));
  TRY(comm_test_all(tree->comm, link->requests + others(tree), others(tree), &leaving));
  bool ready;
  for (;;) {
    TRY(nccl_poll(&link->nccl, &ready));
    if (!ready || arriving || state->folded == state->complete) break;
    TRY(give_next(tree));
  }
  if (!ready || leaving || state->folded < state->bucket_count) return STATUS_OK;
  return tree_await_finish(state);
}

extern const struct tree_transport tree_nccl;
const struct tree_transport tree_nccl = {.name = "nccl",
                                         .serves = serves,
                                         .describe = nccl_describe,
                                         .open = open_link,
                                         .close = close_link,
                                         .give_up = give_up,
                                         .start = start,
                                         .plan_done = tell_presence,
                                         .launch = launch,
                                         .advance = advance,
                                         .pending = find_pending};
