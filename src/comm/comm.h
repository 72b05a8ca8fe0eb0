/* The ranks of a run and what they do together. Every collective is built from non-blocking
 * messages that are polled until they arrive or `deadline` has passed, so that a rank that is
 * stopped or lost ends the job with a message instead of hanging it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

struct comm_ops; /* comm/transport.h */

struct comm {
  const struct comm_ops *ops;
  int rank, size;
  int local_rank, local_size; /* among the ranks of this node */
  double deadline;            /* seconds a collective may wait for other ranks; 0 = for ever */
  const char *phase;          /* what the run is doing, for messages ("validation"); may be NULL */
  bool broken;  /* a collective failed half-way: only comm_close/comm_abort are left */
  void *handle; /* the transport's own */
  struct comm_scratch *scratch;
};

/* Collective. Opens the transport `name`: "self" (one process), "mpi", or "auto", which takes mpi
 * when a launcher (mpirun, srun, PMIx) started more than one process, and otherwise self, without
 * touching MPI. Unknown names are a STATUS_USAGE error that lists the known ones. argc and argv may
 * be NULL. The deadline starts at 0. */
CHECKED enum status comm_open(struct comm *comm, const char *name, int *argc, char ***argv);

/* Collective. Accepts a zeroed comm. Closing a broken one ends the job (MPI_Abort, code 1), because
 * there is no clean way out while other ranks wait. */
void comm_close(struct comm *comm);

/* Ends all ranks at once with exit status `code`. Prints nothing. Does not return. */
_Noreturn void comm_abort(struct comm *comm, int code);

/* The compiled-in transports, NULL-terminated: for --list. */
extern const struct comm_ops *const comm_transports[];
const char *comm_transport_name(const struct comm_ops *ops);

/* Collective. Every rank says how its part went, and gets one answer: STATUS_OK when all are fine,
 * else the code and the trace of the lowest failing rank ("rank 2: message"), the same on all
 * ranks, so that rank 0 can print it once. A stop on request (STATUS_STOPPED) yields to real
 * errors. A rank whose work failed must come here and may not skip the collectives before it (see
 * tree_skip). */
CHECKED enum status comm_agree(struct comm *comm, enum status mine);

/* Collective. Returns when every rank has come. */
CHECKED enum status comm_barrier(struct comm *comm);

/* Collective. Copies `bytes` bytes at `data` from rank `root` to all ranks. */
CHECKED enum status comm_broadcast(struct comm *comm, void *data, size_t bytes, int root);

/* What the ranks sent to root: rank r's bytes are data[offset[r] .. offset[r+1]). */
struct comm_parts {
  unsigned char *data;
  size_t *offset; /* size + 1 numbers */
};

/* Collective. Root gets every rank's bytes (lengths may differ, also 0), in rank order; release
 * with comm_parts_free. Other ranks get zeroed parts. */
CHECKED enum status comm_gather(struct comm *comm, const void *data, size_t bytes, int root,
                                struct comm_parts *parts);
/* Accepts zeroed parts. */
void comm_parts_free(struct comm_parts *parts);

/* Collective. Root gets all ranks' lines in rank order, each its own string in a list (free with
 * file_list_free); other ranks get NULL and 0. */
CHECKED enum status comm_gather_lines(struct comm *comm, const char *const *lines, int count,
                                      int root, char ***all, int *all_count);

enum comm_reduction { COMM_MAX, COMM_MIN, COMM_SUM, COMM_OR };

/* Collective. Combines values[0..count) of all ranks element by element, in place, on every rank.
 * Integers only: their sums are exact. Sums of real numbers go through comm/tree.h. */
CHECKED enum status comm_reduce_int64(struct comm *comm, enum comm_reduction reduction,
                                      int64_t *values, int count);

/* Collective. A STATUS_USAGE error on all ranks, naming the ranks whose bytes differ from rank 0's,
 * unless all agree; `what` says what was compared ("the config"). */
CHECKED enum status comm_same(struct comm *comm, const char *what, const void *data, size_t bytes);
