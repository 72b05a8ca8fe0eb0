/* One answer for all ranks: a failure anywhere becomes the same error, with the same trace,
 * everywhere; and all ranks must have been started alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "comm/transport.h"

enum { REPORT_BYTES = 4096 };

/* The rank whose error counts: the lowest with a real one, else the lowest that was asked to stop.
 */
static int find_culprit(const int64_t *codes, int size) {
  int stopped = -1;
  for (int rank = size - 1; rank >= 0; rank--)
    if (codes[rank] == STATUS_STOPPED) stopped = rank;
  for (int rank = 0; rank < size; rank++)
    if (codes[rank] != STATUS_OK && codes[rank] != STATUS_STOPPED) return rank;
  return stopped;
}

/* The culprit's trace, from it to rank 0, from there to all. */
static enum status spread_trace(struct comm *comm, int culprit, char *text) {
  struct comm_request *request = comm->scratch->requests;
  if (culprit != 0 && comm->rank == culprit) {
    TRY(comm->ops->send(comm, text, REPORT_BYTES, 0, TAG_GATHER, request));
    TRY(comm_wait_all(comm, "agreement", request, 1));
  }
  if (culprit != 0 && comm->rank == 0) {
    TRY(comm->ops->receive(comm, text, REPORT_BYTES, culprit, TAG_GATHER, request));
    TRY(comm_wait_all(comm, "agreement", request, 1));
  }
  TRY(comm_broadcast(comm, text, REPORT_BYTES, 0));
  text[REPORT_BYTES - 1] = 0;
  return STATUS_OK;
}

/* verdict: {culprit or -1, its code, whether all ranks failed} */
static enum status decide(struct comm *comm, enum status mine, int64_t verdict[3]) {
  int64_t code = mine, *codes = comm->scratch->numbers;
  TRY(comm_collect(comm, "agreement", &code, sizeof code, 0, codes));
  if (comm->rank == 0) {
    int culprit = find_culprit(codes, comm->size), failed = 0;
    for (int rank = 0; rank < comm->size; rank++) failed += codes[rank] != STATUS_OK;
    verdict[0] = culprit;
    verdict[1] = culprit < 0 ? STATUS_OK : codes[culprit];
    verdict[2] = failed == comm->size;
  }
  return comm_broadcast(comm, verdict, 3 * sizeof *verdict, 0);
}

static enum status agree(struct comm *comm, enum status mine, char *text) {
  int64_t verdict[3] = {-1, STATUS_OK, 0};
  TRY(decide(comm, mine, verdict));
  if (verdict[0] < 0) return STATUS_OK;
  if (comm->rank == verdict[0]) {
    /* what all ranks ran into is no fault of one of them */
    if (verdict[2])
      snprintf(text, REPORT_BYTES, "%s", status_trace());
    else
      snprintf(text, REPORT_BYTES, "rank %d: %s", comm->rank, status_trace());
  }
  TRY(spread_trace(comm, (int)verdict[0], text));
  status_restore(text);
  return (enum status)verdict[1];
}

enum status comm_agree(struct comm *comm, enum status mine) {
  char text[REPORT_BYTES] = "";
  if (comm->size == 1 || (comm->broken && mine)) return mine;
  return agree(comm, mine, text);
}

static void append_rank(char *text, size_t bytes, int rank) {
  size_t used = strlen(text);
  snprintf(text + used, bytes - used, "%s %d", used ? "," : "", rank);
}

static enum status compare_parts(const struct comm_parts *parts, int size, const char *what) {
  char different[512] = "";
  size_t bytes = parts->offset[1];
  for (int rank = 1; rank < size; rank++) {
    size_t own = parts->offset[rank + 1] - parts->offset[rank];
    if (own != bytes || memcmp(parts->data + parts->offset[rank], parts->data, bytes) != 0)
      append_rank(different, sizeof different, rank);
  }
  REQUIRE(!different[0], STATUS_USAGE,
          "%s: expected the same on all ranks, but rank%s%s differ%s from rank 0", what,
          strchr(different, ',') ? "s" : "", different, strchr(different, ',') ? "" : "s");
  return STATUS_OK;
}

/* Rank 0's finding, unlike comm_agree's report, is nobody's failure: no rank is named as its
 * author. */
enum status comm_same(struct comm *comm, const char *what, const void *data, size_t bytes) {
  struct comm_parts parts;
  char text[REPORT_BYTES] = "";
  int64_t verdict = STATUS_OK;
  TRY(comm_gather(comm, data, bytes, 0, &parts));
  if (comm->rank == 0) {
    verdict = compare_parts(&parts, comm->size, what);
    if (verdict) snprintf(text, sizeof text, "%s", status_trace());
  }
  comm_parts_free(&parts);
  TRY(comm_broadcast(comm, &verdict, sizeof verdict, 0));
  if (!verdict) return STATUS_OK;
  TRY(comm_broadcast(comm, text, sizeof text, 0));
  status_restore(text);
  return (enum status)verdict;
}
