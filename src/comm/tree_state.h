/* The inside of a tree: shared by the local half (tree.c) and the two ways across ranks
 * (tree_exact.c, tree_fast.c). */
#pragma once
#include "comm/fold.h"
#include "comm/transport.h"
#include "comm/tree.h"

/* Chunk `rank` of a bucket of `count` elements: whole cache lines, except at the end. */
struct tree_chunk {
  int64_t first, count;
};
struct tree_chunk tree_chunk(int64_t count, int rank, int size);

/* A range of the block that travels on its own. Its messages stand in one array of requests (done
 * when not yet started): arrivals (partial nodes of other ranks, my chunk of them), departures (my
 * partial nodes, others' chunks), totals (both ways). */
struct tree_bucket {
  int64_t first, count;
  struct tree_chunk chunk; /* what this rank folds; first counts from the bucket's */
  int64_t received_at;     /* where in state->received */
  struct comm_request *arrivals, *departures, *totals;
  int message_count; /* of all three */
};

/* One way of summing: how a slot enters the local sums, and how a bucket crosses the ranks. */
struct tree_method {
  /* Notes what a slot's values (or its absence) lead to, in adds, add_count and fresh. */
  void (*plan_slot)(struct tree_state *state, int slot, bool present);
  /* Both may be NULL: a step begins; this rank's part of the bucket is complete. */
  enum status (*start)(struct tree *tree);
  enum status (*launch)(struct tree *tree, struct tree_bucket *bucket);
  /* Does what can be done without waiting. */
  enum status (*advance)(struct tree *tree);
};
extern const struct tree_method tree_exact, tree_fast;

/* block `to` += block `from`, or += the slot's values when `from` is negative */
struct tree_sum {
  int to, from;
};

struct tree_state {
  const struct tree_method *method;
  struct device *device;
  float *blocks, *received; /* one allocation */
  int64_t block_elements;
  int block_count;
  struct tree_node (*partials)[TREE_STACK_NODES]; /* of each rank: lo and level */
  int *partial_count;
  struct tree_bucket *buckets;
  int bucket_count;
  struct comm_request *requests;

  /* this step */
  float *sum;
  int slot;                               /* the next to come */
  int64_t pushed;                         /* elements of it that came */
  struct tree_sum adds[TREE_STACK_NODES]; /* the merges that this slot causes, in order */
  int add_count;
  int fresh; /* block to which the values are copied; negative: none */
  struct tree_node stack[TREE_STACK_NODES]; /* without data: present nodes have a block */
  int stack_block[TREE_STACK_NODES];
  int depth;
  int launched, folded, finished; /* buckets */
};

static inline float *tree_block(const struct tree_state *state, int block) {
  return state->blocks + block * state->block_elements;
}
