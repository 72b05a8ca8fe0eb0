/* Sums that do not depend on the number of ranks. The leaves are the slots of a step; node(lo,
 * level) = node(lo, level-1) + node(lo + 2^(level-1), level-1), and a missing child passes its
 * sibling through (0 is never added: it would turn -0 into 0). A rank adds the slots it owns as
 * they come (aligned siblings merge, as in a binary counter); across ranks bytes are moved and
 * added by us, in the same tree. So neither rank counts nor bucket borders can change a bit. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "comm/comm.h"
#include "device/device.h"

struct slot_range {
  int first, count;
};

/* The part of `items` numbered things that rank `rank` of `size` owns:
 * [rank*items/size, (rank+1)*items/size). Empty for some ranks when there are fewer things than
 * ranks. */
struct slot_range comm_share(int items, int rank, int size);

/* The same for the slots of a training step; more ranks than slots is a STATUS_USAGE error. */
CHECKED enum status comm_slots(int slots, int rank, int size, struct slot_range *own);

enum tree_mode {
  TREE_EXACT, /* the fixed tree */
  TREE_FAST,  /* plain sums and the transport's own all-reduce: bits depend on the rank count */
};

struct tree_options {
  enum tree_mode mode;
  const char *transport; /* "nccl", "mpi", or "auto" (also NULL): the best of this build and device;
                            of no account when there is one rank */
  int slots;
  int64_t count;          /* floats of the block */
  size_t bucket_elements; /* floats that travel together; 0: 4 Mi */
};

struct tree_state;

/* One flat block of floats summed over all slots of a step. Use:
 *   tree_start(tree, sum, stream);
 *   for every own slot, in order:  tree_push(...) its ranges, in order;  or tree_skip(tree, slot);
 *     (between steps of the plan: tree_progress)
 *   tree_wait(tree);   now sum[0..count) is the total on every rank */
struct tree {
  struct comm *comm;
  struct slot_range own;
  int slots;
  int64_t count;              /* floats of the block */
  size_t memory, host_memory; /* bytes held, of the device and (pinned) of the host */
  struct tree_state *state;
};

/* Collective; all ranks must give the same options. Allocates everything a step needs, in the
 * device's memory (and, to stage messages, in pinned memory of the host). Errors: more ranks than
 * slots, a transport that this build or device does not have, no memory. Holds `comm` and `device`,
 * which must outlive it. */
CHECKED enum status tree_open(struct tree *tree, struct comm *comm, struct device *device,
                              const struct tree_options *options);
/* Collective when the ranks have not lost each other. Accepts a zeroed tree. */
void tree_close(struct tree *tree);

/* Begins a step. `sum` (count floats of the device) must stay until tree_wait returns; it may be
 * the very block the slots' gradients are written to: a range of it is overwritten only after that
 * range of the last own slot has been pushed. `stream` (NULL: the device's first) is where the
 * values that are pushed become ready: sums of this rank's slots are made there, so that what it is
 * given later may overwrite the values; what crosses the ranks has a stream of its own. It must not
 * be recording while ranges are pushed or skipped. */
CHECKED enum status tree_start(struct tree *tree, float *sum, struct stream *stream);

/* Adds elements [first, first + count) of slot `slot`'s block; `values` points at element `first`
 * and is free again for what the stream is given afterwards. A slot's ranges come in ascending
 * order without gaps, slots in ascending order. Buckets that are complete in the last own slot
 * start to travel at once. */
CHECKED enum status tree_push(struct tree *tree, int slot, const float *values, int64_t first,
                              int64_t count);

/* The slot has no samples (or failed): it is a missing leaf. Also ends a slot of which only some
 * ranges were pushed, after an error on this rank: the total is then worthless, but no rank hangs,
 * and comm_agree tells everybody. Skipping the slot that has just been completed does nothing. */
CHECKED enum status tree_skip(struct tree *tree, int slot);

/* Moves what can be moved without waiting. Cheap; call it between the steps of the plan. */
CHECKED enum status tree_progress(struct tree *tree);

/* Collective. Waits until all buckets are summed; one rank alone waits for nothing: the total is
 * there for what its stream is given afterwards. When every slot of every rank was skipped, sum is
 * filled with zeros. */
CHECKED enum status tree_wait(struct tree *tree);

/* The transports of this build, best first, NULL-terminated. */
struct tree_transport;
extern const struct tree_transport *const tree_transports[];

/* What gradients travel by: "nccl 2.28.9", "Open MPI v4.1.4 through host memory". */
void tree_transport_describe(const struct tree_transport *transport, char *text, size_t bytes);
void tree_describe(const struct tree *tree, char *text, size_t bytes);

/* Bytes of the device's memory that tree_open takes on the rank that needs most. */
size_t tree_memory(enum tree_mode mode, int slots, int size, int64_t count);

/* Bytes that the busiest rank sends per step for a block of `count` floats. */
int64_t tree_traffic(int slots, int size, int64_t count);

/* Collective. The tree over `items` numbered things (slots, samples) of `width` doubles each, for
 * losses and metrics: this rank gives values[i][0..width) of the things comm_share() gives it, and
 * present[i] (NULL: all are there). sum[0..width) is the same on every rank; zeros when nothing is
 * present. */
CHECKED enum status comm_tree_sum(struct comm *comm, int items, int width, const double *values,
                                  const bool *present, double *sum);
