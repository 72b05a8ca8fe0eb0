/* Who owns which slots, and what that costs in messages. */
#include "comm/tree_state.h"

enum { CHUNK_ELEMENTS = 16 };

struct slot_range comm_share(int items, int rank, int size) {
  int first = (int)((int64_t)rank * items / size);
  int end = (int)(((int64_t)rank + 1) * items / size);
  return (struct slot_range){.first = first, .count = end - first};
}

enum status comm_slots(int slots, int rank, int size, struct slot_range *own) {
  REQUIRE(slots >= 1, STATUS_USAGE, "expected at least 1 slot, found %d", slots);
  REQUIRE(
      size <= slots, STATUS_USAGE,
      "%d ranks, but only %d slot%s per step: a slot is the smallest unit of work; start at most "
      "%d rank%s or raise the number of slots (train.slots)",
      size, slots, slots == 1 ? "" : "s", slots, slots == 1 ? "" : "s");
  *own = comm_share(slots, rank, size);
  return STATUS_OK;
}

struct tree_chunk tree_chunk(int64_t count, int rank, int size) {
  int64_t lines = (count + CHUNK_ELEMENTS - 1) / CHUNK_ELEMENTS;
  int64_t first = rank * lines / size * CHUNK_ELEMENTS;
  int64_t end = (rank + 1) * lines / size * CHUNK_ELEMENTS;
  if (first > count) first = count;
  if (end > count) end = count;
  return (struct tree_chunk){.first = first, .count = end - first};
}

int64_t tree_traffic(int slots, int size, int64_t count) {
  int64_t most = 0;
  struct tree_node nodes[TREE_STACK_NODES];
  for (int rank = 0; size > 1 && rank < size; rank++) {
    int64_t mine = tree_chunk(count, rank, size).count;
    int partials = tree_partials(comm_share(slots, rank, size), nodes);
    int64_t elements = partials * (count - mine) + mine * (size - 1);
    if (elements > most) most = elements;
  }
  return most * (int64_t)sizeof(float);
}
