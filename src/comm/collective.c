/* The collectives of host bytes: everybody to one rank, one rank to everybody. A star, because its
 * centre knows who is missing; the bulk of the traffic goes through the tree instead. */
#include <stdlib.h>
#include <string.h>
#include "comm/transport.h"

enum status comm_usable(const struct comm *comm) {
  REQUIRE(!comm->broken, STATUS_FAILED,
          "the ranks have lost each other: an earlier collective failed half-way");
  return STATUS_OK;
}

enum status comm_scratch_open(struct comm *comm) {
  struct comm_scratch *scratch = calloc(1, sizeof *scratch);
  REQUIRE(scratch, STATUS_FAILED, "out of memory");
  comm->scratch = scratch;
  scratch->requests = calloc((size_t)comm->size, sizeof *scratch->requests);
  scratch->numbers = calloc((size_t)comm->size * SCRATCH_NUMBERS, sizeof *scratch->numbers);
  if (scratch->requests && scratch->numbers) return STATUS_OK;
  comm_scratch_close(comm);
  FAIL(STATUS_FAILED, "out of memory for the messages of %d ranks", comm->size);
}

void comm_scratch_close(struct comm *comm) {
  if (!comm->scratch) return;
  free(comm->scratch->requests);
  free(comm->scratch->numbers);
  free(comm->scratch->memory);
  free(comm->scratch);
  comm->scratch = NULL;
}

enum status comm_scratch_bytes(struct comm *comm, size_t bytes, void **memory) {
  struct comm_scratch *scratch = comm->scratch;
  if (bytes > scratch->bytes) {
    void *larger = realloc(scratch->memory, bytes);
    if (!larger) comm->broken = true;
    REQUIRE(larger, STATUS_FAILED, "out of memory for a message of %zu bytes", bytes);
    scratch->memory = larger;
    scratch->bytes = bytes;
  }
  *memory = scratch->memory;
  return STATUS_OK;
}

enum status comm_collect(struct comm *comm, const char *what, const void *mine, size_t bytes,
                         int root, void *all) {
  struct comm_request *requests = comm->scratch->requests;
  TRY(comm_usable(comm));
  if (comm->rank != root) {
    TRY(comm->ops->send(comm, mine, bytes, root, TAG_GATHER, requests));
    return comm_wait_all(comm, what, requests, 1);
  }
  int count = 0;
  for (int rank = 0; rank < comm->size; rank++) {
    unsigned char *place = (unsigned char *)all + (size_t)rank * bytes;
    if (rank == root)
      memmove(place, mine, bytes);
    else
      TRY(comm->ops->receive(comm, place, bytes, rank, TAG_GATHER, &requests[count++]));
  }
  return comm_wait_all(comm, what, requests, count);
}

static enum status broadcast_piece(struct comm *comm, void *data, size_t bytes, int root) {
  struct comm_request *requests = comm->scratch->requests;
  int count = 0;
  if (comm->rank != root)
    TRY(comm->ops->receive(comm, data, bytes, root, TAG_BROADCAST, &requests[count++]));
  for (int rank = 0; comm->rank == root && rank < comm->size; rank++)
    if (rank != root)
      TRY(comm->ops->send(comm, data, bytes, rank, TAG_BROADCAST, &requests[count++]));
  return comm_wait_all(comm, "broadcast", requests, count);
}

enum status comm_broadcast(struct comm *comm, void *data, size_t bytes, int root) {
  TRY(comm_usable(comm));
  for (size_t done = 0; done < bytes;) {
    size_t piece = bytes - done < COMM_MESSAGE_BYTES ? bytes - done : COMM_MESSAGE_BYTES;
    TRY(broadcast_piece(comm, (unsigned char *)data + done, piece, root));
    done += piece;
  }
  return STATUS_OK;
}

enum status comm_barrier(struct comm *comm) {
  int64_t come = 0;
  TRY(comm_collect(comm, "barrier", &come, sizeof come, 0, comm->scratch->numbers));
  return comm_broadcast(comm, &come, sizeof come, 0);
}

static int64_t combine(enum comm_reduction reduction, int64_t a, int64_t b) {
  switch (reduction) {
    case COMM_MAX:
      return a > b ? a : b;
    case COMM_MIN:
      return a < b ? a : b;
    case COMM_SUM:
      return a + b;
    case COMM_OR:
      return a | b;
  }
  return a;
}

static enum status reduce_piece(struct comm *comm, enum comm_reduction reduction, int64_t *values,
                                int count) {
  int64_t *all = comm->scratch->numbers;
  size_t bytes = sizeof *values * (size_t)count;
  TRY(comm_collect(comm, "reduction of counts", values, bytes, 0, all));
  for (int rank = 1; comm->rank == 0 && rank < comm->size; rank++)
    for (int i = 0; i < count; i++)
      values[i] = combine(reduction, values[i], all[rank * count + i]);
  return comm_broadcast(comm, values, bytes, 0);
}

enum status comm_reduce_int64(struct comm *comm, enum comm_reduction reduction, int64_t *values,
                              int count) {
  for (int done = 0; done < count; done += SCRATCH_NUMBERS) {
    int piece = count - done < SCRATCH_NUMBERS ? count - done : SCRATCH_NUMBERS;
    TRY(reduce_piece(comm, reduction, values + done, piece));
  }
  return STATUS_OK;
}
