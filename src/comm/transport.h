/* What a transport must offer (messages between two ranks, nothing more) and how this room waits
 * for them. Collectives and the tree are written once, on top. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "comm/comm.h"

/* Messages between the same two ranks with the same tag arrive in the order in which they were
 * sent. */
enum comm_tag {
  TAG_GATHER = 1,
  TAG_BROADCAST,
  TAG_PARTIAL,
  TAG_TOTAL,
  TAG_PRESENCE,
  TAG_ROLL_CALL
};

/* A message on its way. */
struct comm_request {
  int peer;
  bool incoming, done;
  size_t bytes;     /* incoming and done: how many came */
  uintptr_t handle; /* the transport's own */
};

struct comm_ops {
  const char *name;
  void (*describe)(char *text, size_t bytes); /* the library's name and version */
  /* Sets rank, size, local_rank, local_size and handle. */
  enum status (*open)(struct comm *comm, int *argc, char ***argv);
  void (*close)(struct comm *comm);
  void (*abort)(struct comm *comm, int code);
  /* All three return at once. Memory belongs to the message until it is done. At most
   * COMM_MESSAGE_BYTES; `bytes` of a receive is an upper bound. Never called when size is 1. */
  enum status (*send)(struct comm *comm, const void *data, size_t bytes, int peer, int tag,
                      struct comm_request *request);
  enum status (*receive)(struct comm *comm, void *data, size_t bytes, int peer, int tag,
                         struct comm_request *request);
  enum status (*test)(struct comm *comm, struct comm_request *request);
  /* Gives up a message that has not come, so that its memory is free. */
  void (*cancel)(struct comm_request *request);
  /* An element-wise sum in whatever order the library likes. */
  enum status (*sum_start)(struct comm *comm, float *data, size_t count,
                           struct comm_request *request);
};

extern const struct comm_ops comm_self, comm_mpi;

enum { COMM_MESSAGE_BYTES = 1 << 30 };

/* How many processes the launcher's environment variables speak of; 1 without a launcher, 0 when
 * there is one that does not say. */
int comm_launched_processes(void);

/* Tests all requests once; `pending` is how many are not done. */
CHECKED enum status comm_test_all(struct comm *comm, struct comm_request *requests, int count,
                                  int *pending);

/* Gives up what has not come: before memory goes away that somebody's late message would be written
 * to. */
void comm_cancel_all(struct comm *comm, struct comm_request *requests, int count);

/* A wait in progress: yields, then sleeps longer and longer (at most a millisecond, and never long
 * against the time already waited: ranks may share cores), until the deadline has passed. */
struct comm_patience {
  const char *what; /* the collective, for the message */
  double started;
  int rounds;
  double longest_sleep; /* seconds */
};
void comm_patience_start(struct comm_patience *patience, const char *what);
/* Pauses; after the deadline a STATUS_FAILED error that names the phase and the ranks that
 * requests[0..count) still wait for; where no request tells, the ranks are called, and those named
 * that do not answer. Rank 0, which can tell who is missing, gives up first; others grant it some
 * more time to say so. */
CHECKED enum status comm_patience_pause(struct comm *comm, struct comm_patience *patience,
                                        const struct comm_request *requests, int count);

/* Refuses a comm that is broken. */
CHECKED enum status comm_usable(const struct comm *comm);

/* Memory for the messages of one collective, made once: they are called while training. */
struct comm_scratch {
  struct comm_request *requests; /* one per rank */
  int64_t *numbers;              /* SCRATCH_NUMBERS per rank */
  void *memory;                  /* grows to what was needed once */
  size_t bytes;
};
enum { SCRATCH_NUMBERS = 16 };
CHECKED enum status comm_scratch_open(struct comm *comm);
void comm_scratch_close(struct comm *comm);
/* At least `bytes` bytes that stay valid until the next call. */
CHECKED enum status comm_scratch_bytes(struct comm *comm, size_t bytes, void **memory);

/* Collective. Root gets `bytes` bytes of every rank at all[rank * bytes]; what others pass there is
 * not used. At most COMM_MESSAGE_BYTES. */
CHECKED enum status comm_collect(struct comm *comm, const char *what, const void *mine,
                                 size_t bytes, int root, void *all);

/* Waits for all requests. */
CHECKED enum status comm_wait_all(struct comm *comm, const char *what,
                                  struct comm_request *requests, int count);
