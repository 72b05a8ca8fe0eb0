/* The local half of the tree: memory, the order of slots and ranges, and when a bucket may leave.
 */
#include "comm/tree.h"
#include <stdlib.h>
#include <string.h>
#include "comm/tree_state.h"

enum { DEFAULT_BUCKET = 4 << 20, ALIGNMENT = 16 };

static const struct tree_method *const methods[] = {
    [TREE_EXACT] = &tree_exact,
    [TREE_FAST] = &tree_fast,
};

/* --- opening ---------------------------------------------------------------------------------- */

static int64_t round_up(int64_t elements) {
  return (elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The deepest that the stack of local nodes gets between slots. */
static int count_blocks(struct slot_range own) {
  struct tree_node nodes[TREE_STACK_NODES];
  int most = 1;
  for (int count = 1; count <= own.count; count++) {
    int depth = tree_partials((struct slot_range){own.first, count}, nodes);
    if (depth > most) most = depth;
  }
  return most;
}

static enum status list_partials(struct tree *tree) {
  struct tree_state *state = tree->state;
  int size = tree->comm->size;
  state->partials = calloc((size_t)size, sizeof *state->partials);
  state->partial_count = calloc((size_t)size, sizeof *state->partial_count);
  REQUIRE(state->partials && state->partial_count, STATUS_FAILED, "out of memory");
  for (int rank = 0; rank < size; rank++)
    state->partial_count[rank] =
        tree_partials(comm_share(tree->slots, rank, size), state->partials[rank]);
  return STATUS_OK;
}

static int count_foreign_partials(const struct tree *tree) {
  int total = 0;
  for (int rank = 0; rank < tree->comm->size; rank++)
    if (rank != tree->comm->rank) total += tree->state->partial_count[rank];
  return total;
}

/* Cuts the block into buckets; `received` counts the floats of their receive buffers. */
static enum status cut_buckets(struct tree *tree, int64_t bucket_elements, int64_t *received) {
  struct tree_state *state = tree->state;
  int foreign = count_foreign_partials(tree), others = tree->comm->size - 1;
  int own = state->partial_count[tree->comm->rank];
  int messages = foreign + own * others + 2 * others;
  state->bucket_count = (int)((tree->count + bucket_elements - 1) / bucket_elements);
  state->buckets = calloc((size_t)state->bucket_count, sizeof *state->buckets);
  state->requests =
      calloc((size_t)state->bucket_count * (size_t)messages + 1, sizeof *state->requests);
  REQUIRE(state->buckets && state->requests, STATUS_FAILED, "out of memory for %d buckets",
          state->bucket_count);
  *received = 0;
  for (int i = 0; i < state->bucket_count; i++) {
    struct tree_bucket *bucket = &state->buckets[i];
    bucket->first = i * bucket_elements;
    bucket->count = tree->count - bucket->first;
    if (bucket->count > bucket_elements) bucket->count = bucket_elements;
    bucket->chunk = tree_chunk(bucket->count, tree->comm->rank, tree->comm->size);
    bucket->arrivals = state->requests + (size_t)i * (size_t)messages;
    bucket->departures = bucket->arrivals + foreign;
    bucket->totals = bucket->departures + own * others;
    bucket->message_count = messages;
    bucket->received_at = *received;
    if (state->method == &tree_exact) *received += foreign * bucket->chunk.count;
  }
  return STATUS_OK;
}

static enum status allocate(struct tree *tree, int64_t received) {
  struct tree_state *state = tree->state;
  state->block_elements = round_up(tree->count);
  state->block_count = state->method == &tree_fast ? 1 : count_blocks(tree->own);
  int64_t blocks = state->block_elements * state->block_count;
  tree->memory = sizeof(float) * (size_t)(blocks + received);
  void *memory = NULL;
  TRY(state->device->ops->allocate(state->device, tree->memory, &memory));
  state->blocks = memory;
  state->received = state->blocks + blocks;
  return STATUS_OK;
}

size_t tree_memory(enum tree_mode mode, int slots, int size, int64_t count) {
  int64_t most = 0, chunk = (count + size - 1) / size;
  int all = 0;
  struct tree_node nodes[TREE_STACK_NODES];
  if (mode == TREE_FAST) return sizeof(float) * (size_t)round_up(count);
  for (int rank = 0; rank < size; rank++)
    all += tree_partials(comm_share(slots, rank, size), nodes);
  for (int rank = 0; rank < size; rank++) {
    struct slot_range own = comm_share(slots, rank, size);
    int foreign = all - tree_partials(own, nodes);
    int64_t elements = round_up(count) * count_blocks(own) + foreign * chunk;
    if (elements > most) most = elements;
  }
  return sizeof(float) * (size_t)most;
}

static enum status check_arguments(const struct device *device, int64_t count,
                                   size_t bucket_elements) {
  REQUIRE(device->ops->kind == DEVICE_CPU, STATUS_FAILED,
          "the reduction over MPI needs host memory, found device %s", device->ops->name);
  REQUIRE(count >= 1, STATUS_FAILED, "a block of %lld floats cannot be reduced", (long long)count);
  REQUIRE(bucket_elements <= COMM_MESSAGE_BYTES / sizeof(float), STATUS_USAGE,
          "bucket: expected at most %zu elements, found %zu", COMM_MESSAGE_BYTES / sizeof(float),
          bucket_elements);
  return STATUS_OK;
}

enum status tree_open(struct tree *tree, struct comm *comm, struct device *device,
                      const struct tree_options *options) {
  size_t bucket_elements = options->bucket_elements;
  *tree = (struct tree){.comm = comm, .slots = options->slots, .count = options->count};
  TRY(check_arguments(device, options->count, bucket_elements));
  TRY(comm_slots(options->slots, comm->rank, comm->size, &tree->own));
  struct tree_state *state = tree->state = calloc(1, sizeof *state);
  REQUIRE(state, STATUS_FAILED, "out of memory");
  state->method = methods[options->mode];
  state->device = device;
  int64_t received = 0;
  enum status status = list_partials(tree);
  if (!status)
    status =
        cut_buckets(tree, bucket_elements ? (int64_t)bucket_elements : DEFAULT_BUCKET, &received);
  if (!status) status = allocate(tree, received);
  if (status) tree_close(tree);
  return status;
}

void tree_close(struct tree *tree) {
  struct tree_state *state = tree->state;
  if (state) {
    if (state->blocks) state->device->ops->release(state->device, state->blocks, tree->memory);
    free(state->partials);
    free(state->partial_count);
    free(state->buckets);
    free(state->requests);
    free(state);
  }
  *tree = (struct tree){0};
}

/* --- a step ------------------------------------------------------------------------------------
 */

enum status tree_start(struct tree *tree, float *sum, struct stream *stream) {
  (void)stream;
  struct tree_state *state = tree->state;
  TRY(comm_usable(tree->comm));
  state->sum = sum;
  state->slot = tree->own.first;
  state->pushed = 0;
  state->depth = 0;
  state->launched = state->folded = state->finished = 0;
  size_t messages = (size_t)state->bucket_count * (size_t)state->buckets->message_count;
  for (size_t i = 0; i < messages; i++) state->requests[i] = (struct comm_request){.done = true};
  if (state->method->start) TRY(state->method->start(tree));
  return STATUS_OK;
}

/* Buckets whose own part is complete leave, in order. */
static enum status launch_ready(struct tree *tree) {
  struct tree_state *state = tree->state;
  int last = tree->own.first + tree->own.count - 1;
  if (state->slot < last) return STATUS_OK;
  while (state->launched < state->bucket_count) {
    struct tree_bucket *bucket = &state->buckets[state->launched];
    if (state->slot == last && bucket->first + bucket->count > state->pushed) break;
    TRY(state->method->launch(tree, bucket));
    state->launched++;
  }
  return STATUS_OK;
}

static void end_slot(struct tree_state *state) {
  state->slot++;
  state->pushed = 0;
}

/* Elements [first, first + count) of the sums that the plan of this slot lists. */
static void merge(const struct tree_state *state, const float *values, int64_t first,
                  int64_t count) {
  if (state->fresh >= 0)
    memcpy(tree_block(state, state->fresh) + first, values, sizeof(float) * (size_t)count);
  for (int i = 0; i < state->add_count; i++) {
    const struct tree_sum *sum = &state->adds[i];
    const float *from = sum->from < 0 ? values : tree_block(state, sum->from) + first;
    tree_add_float(tree_block(state, sum->to) + first, from, (size_t)count);
  }
}

enum status tree_push(struct tree *tree, int slot, const float *values, int64_t first,
                      int64_t count) {
  struct tree_state *state = tree->state;
  REQUIRE(slot == state->slot && slot < tree->own.first + tree->own.count && count > 0 &&
              first == state->pushed && count <= tree->count - first,
          STATUS_FAILED,
          "reduction: expected element %lld of slot %d, found elements %lld to %lld of slot %d",
          (long long)state->pushed, state->slot, (long long)first, (long long)(first + count),
          slot);
  if (!first) state->method->plan_slot(state, slot, true);
  merge(state, values, first, count);
  state->pushed += count;
  TRY(launch_ready(tree));
  if (state->pushed == tree->count) end_slot(state);
  return tree_progress(tree);
}

enum status tree_skip(struct tree *tree, int slot) {
  struct tree_state *state = tree->state;
  if (slot == state->slot - 1) return tree_progress(tree); /* it was complete when it failed */
  REQUIRE(slot == state->slot && slot < tree->own.first + tree->own.count, STATUS_FAILED,
          "reduction: expected slot %d, found slot %d skipped", state->slot, slot);
  if (!state->pushed) {
    state->method->plan_slot(state, slot, false);
    merge(state, NULL, 0, tree->count);
  }
  state->pushed = tree->count;
  TRY(launch_ready(tree));
  end_slot(state);
  return tree_progress(tree);
}

enum status tree_progress(struct tree *tree) {
  TRY(comm_usable(tree->comm));
  return tree->state->method->advance(tree);
}

/* The messages that hold up the sum. Partial nodes that are missing are their sender's fault;
 * totals may be late because their sender itself waits for somebody. */
static struct comm_request *find_pending(const struct tree_state *state, int *count) {
  bool partials = state->folded < state->bucket_count;
  struct tree_bucket *bucket = &state->buckets[partials ? state->folded : state->finished];
  int arrivals = (int)(bucket->departures - bucket->arrivals);
  *count = partials && arrivals ? arrivals : bucket->message_count;
  return bucket->arrivals;
}

enum status tree_wait(struct tree *tree) {
  struct tree_state *state = tree->state;
  REQUIRE(state->launched == state->bucket_count, STATUS_FAILED,
          "reduction: expected slot %d before the end of the step", state->slot);
  struct comm_patience patience;
  comm_patience_start(&patience, "gradient reduction");
  for (;;) {
    TRY(tree_progress(tree));
    if (state->finished == state->bucket_count) return STATUS_OK;
    int count;
    const struct comm_request *pending = find_pending(state, &count);
    TRY(comm_patience_pause(tree->comm, &patience, pending, count));
  }
}
