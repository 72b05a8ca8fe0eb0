/* Opening and closing a tree: the transport, the buckets, the memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "comm/tree_state.h"

enum { DEFAULT_BUCKET = 4 << 20, ALIGNMENT = 16 };

static const struct tree_method *const methods[] = {
    [TREE_EXACT] = &tree_exact,
    [TREE_FAST] = &tree_fast,
};

/* --- transports ------------------------------------------------------------------------------ */

#define TREE_TRANSPORT(name) extern const struct tree_transport tree_##name;
#include "comm/tree_transports.def"
#undef TREE_TRANSPORT

const struct tree_transport *const tree_transports[] = {
#define TREE_TRANSPORT(name) &tree_##name,
#include "comm/tree_transports.def"
#undef TREE_TRANSPORT
    NULL};

void tree_transport_describe(const struct tree_transport *transport, char *text, size_t bytes) {
  transport->describe(text, bytes);
}

void tree_describe(const struct tree *tree, char *text, size_t bytes) {
  tree_transport_describe(tree->state->transport, text, bytes);
}

/* One rank: the last slot leaves the total. */
static enum status advance_alone(struct tree *tree) {
  tree->state->done = true;
  return STATUS_OK;
}

static void describe_alone(char *text, size_t bytes) {
  snprintf(text, bytes, "none: one rank");
}

static const struct tree_transport alone = {
    .name = "none", .describe = describe_alone, .advance = advance_alone};

static enum status choose_transport(const char *name, const struct device *device, int size,
                                    const struct tree_transport **transport) {
  bool any = !name || strcmp(name, "auto") == 0;
  char known[128] = "auto";
  *transport = &alone;
  if (size == 1) return STATUS_OK;
  for (int i = 0; tree_transports[i]; i++) {
    *transport = tree_transports[i];
    if (!(*transport)->serves(device)) continue;
    if (any || strcmp(name, (*transport)->name) == 0) return STATUS_OK;
    size_t used = strlen(known);
    snprintf(known + used, sizeof known - used, ", %s", (*transport)->name);
  }
  FAIL(STATUS_USAGE, "comm.transport: device %s has %s in this build, found \"%s\"",
       device->ops->name, known, name);
}

/* --- buckets --------------------------------------------------------------------------------- */

int64_t tree_round_up(int64_t elements) {
  return (elements + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* The deepest that the stack of local nodes gets between slots. One rank's last slot needs none. */
static int count_blocks(struct slot_range own, int size) {
  struct tree_node nodes[TREE_STACK_NODES];
  int most = 0, last = size == 1 ? own.count - 1 : own.count;
  for (int count = 1; count <= last; count++) {
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
  state->present = calloc((size_t)size, sizeof *state->present);
  REQUIRE(state->partials && state->partial_count && state->present, STATUS_FAILED,
          "out of memory");
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
  state->requests = calloc((size_t)state->bucket_count * (size_t)messages, sizeof *state->requests);
  REQUIRE(state->buckets && state->requests, STATUS_FAILED, "out of memory for %d buckets",
          state->bucket_count);
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
    if (state->method == &tree_exact) *received += foreign * tree_round_up(bucket->chunk.count);
  }
  return STATUS_OK;
}

/* --- memory ---------------------------------------------------------------------------------- */

/* Blocks in the device's memory; what messages arrive in there, too, or with copies of the blocks
 * and the sum in the host's. */
static enum status allocate(struct tree *tree, int64_t received) {
  struct tree_state *state = tree->state;
  const struct device_ops *ops = state->device->ops;
  bool host = state->transport->uses_host;
  state->block_elements = tree_round_up(tree->count);
  state->block_count = count_blocks(tree->own, tree->comm->size);
  if (state->method == &tree_fast && state->block_count > 1) state->block_count = 1;
  int64_t blocks = state->block_elements * state->block_count;
  state->memory_bytes = sizeof(float) * (size_t)(blocks + (host ? 0 : received));
  state->host_bytes = sizeof(float) * (size_t)(blocks + state->block_elements + received);
  if (!host) state->host_bytes = 0;
  if (state->memory_bytes) TRY(ops->allocate(state->device, state->memory_bytes, &state->memory));
  if (host) TRY(ops->allocate_host(state->device, state->host_bytes, &state->host_memory));
  state->blocks = state->memory;
  state->host_blocks = host ? state->host_memory : state->memory;
  state->received = state->host_blocks ? state->host_blocks + blocks : NULL;
  state->host_sum = host ? state->received + received : NULL;
  tree->memory = state->memory_bytes;
  tree->host_memory = state->host_bytes;
  return STATUS_OK;
}

static void release(struct tree_state *state) {
  const struct device_ops *ops = state->device->ops;
  if (state->memory) ops->release(state->device, state->memory, state->memory_bytes);
  if (state->host_memory) ops->release_host(state->device, state->host_memory, state->host_bytes);
}

static enum status open_stream(struct tree_state *state) {
  struct device *device = state->device;
  if (device->ops->host_memory || !state->bucket_count) return STATUS_OK;
  TRY(device->ops->stream_open(device, &state->traffic));
  TRY(device->ops->event_open(device, &state->finish));
  for (int i = 0; i < state->bucket_count; i++)
    TRY(device->ops->event_open(device, &state->buckets[i].ready));
  return STATUS_OK;
}

static void close_stream(struct tree_state *state) {
  const struct device_ops *ops = state->device->ops;
  for (int i = 0; state->buckets && i < state->bucket_count; i++)
    if (state->buckets[i].ready.handle) ops->event_close(&state->buckets[i].ready);
  if (state->finish.handle) ops->event_close(&state->finish);
  if (state->traffic.handle) ops->stream_close(&state->traffic);
}

size_t tree_memory(enum tree_mode mode, int slots, int size, int64_t count) {
  int64_t most = 0, chunk = (count + size - 1) / size;
  int all = 0;
  struct tree_node nodes[TREE_STACK_NODES];
  for (int rank = 0; rank < size; rank++)
    all += tree_partials(comm_share(slots, rank, size), nodes);
  for (int rank = 0; rank < size; rank++) {
    struct slot_range own = comm_share(slots, rank, size);
    int foreign = all - tree_partials(own, nodes), blocks = count_blocks(own, size);
    if (mode == TREE_FAST) foreign = 0;
    if (mode == TREE_FAST && blocks > 1) blocks = 1;
    int64_t elements = tree_round_up(count) * blocks + foreign * tree_round_up(chunk);
    if (elements > most) most = elements;
  }
  return sizeof(float) * (size_t)most;
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum status check_arguments(const struct tree_options *options) {
  size_t most = COMM_MESSAGE_BYTES / sizeof(float);
  REQUIRE(options->count >= 1, STATUS_FAILED, "a block of %lld floats cannot be reduced",
          (long long)options->count);
  REQUIRE(options->bucket_elements <= most, STATUS_USAGE,
          "bucket: expected at most %zu elements, found %zu", most, options->bucket_elements);
  return STATUS_OK;
}

static enum status open_own(struct tree *tree, const struct tree_options *options) {
  struct tree_state *state = tree->state;
  size_t bucket = options->bucket_elements ? options->bucket_elements : DEFAULT_BUCKET;
  int64_t received = 0;
  if (tree->comm->size > 1) {
    TRY(list_partials(tree));
    TRY(cut_buckets(tree, (int64_t)bucket, &received));
  }
  TRY(allocate(tree, received));
  return open_stream(state);
}

enum status tree_open(struct tree *tree, struct comm *comm, struct device *device,
                      const struct tree_options *options) {
  const struct tree_transport *transport;
  *tree = (struct tree){.comm = comm, .slots = options->slots, .count = options->count};
  TRY(check_arguments(options));
  TRY(comm_slots(options->slots, comm->rank, comm->size, &tree->own));
  TRY(choose_transport(options->transport, device, comm->size, &transport));
  struct tree_state *state = tree->state = calloc(1, sizeof *state);
  REQUIRE(state, STATUS_FAILED, "out of memory");
  state->method = methods[options->mode];
  state->transport = transport;
  state->device = device;
  enum status status = open_own(tree, options);
  if (transport->open) {
    status = comm_agree(comm, status);
    if (!status) status = transport->open(tree);
  }
  if (status) tree_close(tree);
  return status;
}

void tree_close(struct tree *tree) {
  struct tree_state *state = tree->state;
  if (state) {
    if (tree->comm->broken && state->transport->give_up) state->transport->give_up(tree);
    if (state->transport->close) state->transport->close(tree);
    close_stream(state);
    release(state);
    free(state->partials);
    free(state->partial_count);
    free(state->present);
    free(state->buckets);
    free(state->requests);
    free(state);
  }
  *tree = (struct tree){0};
}
