/* The inside of a tree: shared by the local half (tree_open.c, tree.c), the two ways of summing
 * (tree_exact.c, tree_fast.c) and the transports (tree_messages.c, tree_nccl.c). */
#pragma once
#include "comm/fold.h"
#include "comm/sums.h"
#include "comm/transport.h"
#include "comm/tree.h"

/* Chunk `rank` of a bucket of `count` elements: whole cache lines, except at the end. */
struct tree_chunk {
  int64_t first, count;
};
struct tree_chunk tree_chunk(int64_t count, int rank, int size);

/* `elements` in whole cache lines. */
int64_t tree_round_up(int64_t elements);

/* A range of the block that travels on its own. Its messages stand in one array of requests (done
 * when not yet started): arrivals (partial nodes of other ranks, my chunk of them), departures (my
 * partial nodes, others' chunks), totals (both ways). */
struct tree_bucket {
  int64_t first, count;
  struct tree_chunk chunk; /* what this rank folds; first counts from the bucket's */
  int64_t received_at;     /* where in state->received; a node every tree_round_up(chunk.count) */
  struct event ready;      /* device memory: this rank's part is complete */
  struct comm_request *arrivals, *departures, *totals;
  int message_count; /* of all three */
};

/* One way of summing: how a slot enters the local sums, and which messages a bucket needs. */
struct tree_method {
  /* Notes what a slot's values (or its absence) lead to: adds, add_count, and fresh or, when the
   * last slot of all (`finish`) leaves one sum, root. */
  void (*plan_slot)(struct tree_state *state, int slot, bool present, bool finish);
  /* Messages between host_blocks and host_sum. start may be NULL: a step begins. launch: this
   * rank's part of the bucket is there. advance: does what can be done without waiting. */
  enum status (*start)(struct tree *tree);
  enum status (*launch)(struct tree *tree, struct tree_bucket *bucket);
  enum status (*advance)(struct tree *tree);
};
extern const struct tree_method tree_exact, tree_fast;

/* How buckets cross the ranks. All but advance may be NULL. */
struct tree_transport {
  const char *name; /* in the key comm.transport */
  bool (*serves)(const struct device *device);
  void (*describe)(char *text, size_t bytes); /* the library's name and version */
  bool uses_host; /* copies blocks, and receives, in host memory of the device's */
  enum status (*open)(struct tree *tree); /* collective */
  void (*close)(struct tree *tree);
  void (*give_up)(struct tree *tree); /* the ranks have lost each other: ends work on streams */
  enum status (*start)(struct tree *tree);
  /* Which nodes this rank ends up with is known: its last slot has been planned. */
  enum status (*plan_done)(struct tree *tree);
  /* The work on state->stream so far completes this rank's part of the bucket. */
  enum status (*launch)(struct tree *tree, struct tree_bucket *bucket);
  /* Does what can be done without waiting; sets state->done. */
  enum status (*advance)(struct tree *tree);
  /* The messages that hold up the sum; none where it is held up by something else. */
  const struct comm_request *(*pending)(const struct tree *tree, int *count);
};

/* Where a node's data is: a block, or one of these. */
enum { TREE_VALUES = -1, TREE_NOWHERE = -2 };

/* block `to` += block `from` (or the slot's values) */
struct tree_sum {
  int to, from;
};

struct tree_state {
  const struct tree_method *method;
  const struct tree_transport *transport;
  struct device *device;
  void *memory, *host_memory; /* of the device and of the host: two allocations */
  size_t memory_bytes, host_bytes;
  float *blocks;
  float *received;    /* partial nodes of other ranks, in the memory in which messages arrive */
  float *host_blocks; /* what messages are sent from: `blocks`, or the host's copy of them */
  int64_t block_elements;
  int block_count;
  struct tree_node (*partials)[TREE_STACK_NODES]; /* of each rank: lo and level */
  int *partial_count;
  uint64_t *present; /* of each rank: bit k says whether its node k has data */
  struct tree_bucket *buckets;
  int bucket_count; /* 0 when there is one rank */
  struct comm_request *requests;
  struct stream traffic; /* the tree's own, where several ranks have device memory */
  struct event finish;   /* all work on it has been given */
  void *link;            /* the transport's own */

  /* this step */
  struct stream stream; /* of the values */
  float *sum;
  float *host_sum;                        /* what messages are received in: `sum`, or a copy */
  int slot;                               /* the next to come */
  int64_t pushed;                         /* elements of it that came */
  struct tree_sum adds[TREE_STACK_NODES]; /* the merges that this slot causes, in order */
  int add_count;
  int fresh; /* block to which the values are copied; negative: none */
  int root;  /* where the one sum is, which is then copied to `sum` */
  struct tree_node stack[TREE_STACK_NODES]; /* without data: present nodes have a block */
  int stack_block[TREE_STACK_NODES];
  int depth;
  /* buckets: this rank's part is complete; messages are on their way; folded; summed; copied back
   */
  int complete, launched, folded, finished, returned;
  bool finishing; /* `finish` has been recorded */
  bool done;
};

static inline float *tree_block(const struct tree_state *state, int block) {
  return state->blocks + block * state->block_elements;
}

static inline float *tree_host_block(const struct tree_state *state, int block) {
  return state->host_blocks + block * state->block_elements;
}

/* Ends a step of a transport that has given all its work to `traffic`: records `finish` once, then
 * sets `done` when it is reached. */
CHECKED enum status tree_await_finish(struct tree_state *state);

/* The root of all ranks' nodes of a bucket, restricted to my chunk, copied to `sum`; zeros when
 * there is none. `blocks`: this rank's. present[rank]: bit k says whether node k of a rank has
 * data. Computed on `stream`, or by the host when it is NULL. */
CHECKED enum status tree_fold_chunk(const struct tree *tree, const struct tree_bucket *bucket,
                                    float *blocks, const uint64_t *present, struct stream *stream,
                                    float *sum);

/* Bit k: this rank's node k has data. */
uint64_t tree_own_nodes(const struct tree_state *state);
