/* Gathering bytes and lines whose lengths differ from rank to rank. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "comm/transport.h"

void comm_parts_free(struct comm_parts *parts) {
  free(parts->data);
  free(parts->offset);
  *parts = (struct comm_parts){0};
}

static enum status make_room(struct comm *comm, struct comm_parts *parts) {
  const int64_t *lengths = comm->scratch->numbers;
  parts->offset = calloc((size_t)comm->size + 1, sizeof *parts->offset);
  REQUIRE(parts->offset, STATUS_FAILED, "out of memory");
  for (int rank = 0; rank < comm->size; rank++)
    parts->offset[rank + 1] = parts->offset[rank] + (size_t)lengths[rank];
  parts->data = malloc(parts->offset[comm->size] + 1);
  REQUIRE(parts->data, STATUS_FAILED, "out of memory for %zu bytes from all ranks",
          parts->offset[comm->size]);
  return STATUS_OK;
}

/* One message to or from every rank that has something left, a gigabyte at most, until nobody has.
 */
static enum status receive_parts(struct comm *comm, struct comm_parts *parts, size_t done,
                                 bool *more) {
  struct comm_request *requests = comm->scratch->requests;
  int count = 0;
  *more = false;
  for (int rank = 0; rank < comm->size; rank++) {
    size_t bytes = parts->offset[rank + 1] - parts->offset[rank];
    if (rank == comm->rank || bytes <= done) continue;
    size_t piece = bytes - done < COMM_MESSAGE_BYTES ? bytes - done : COMM_MESSAGE_BYTES;
    TRY(comm->ops->receive(comm, parts->data + parts->offset[rank] + done, piece, rank, TAG_GATHER,
                           &requests[count++]));
    if (bytes - done > piece) *more = true;
  }
  return comm_wait_all(comm, "gather", requests, count);
}

static enum status send_part(struct comm *comm, const unsigned char *data, size_t bytes, int root) {
  for (size_t done = 0; done < bytes;) {
    size_t piece = bytes - done < COMM_MESSAGE_BYTES ? bytes - done : COMM_MESSAGE_BYTES;
    TRY(comm->ops->send(comm, data + done, piece, root, TAG_GATHER, comm->scratch->requests));
    TRY(comm_wait_all(comm, "gather", comm->scratch->requests, 1));
    done += piece;
  }
  return STATUS_OK;
}

static enum status gather(struct comm *comm, const void *data, size_t bytes, int root,
                          struct comm_parts *parts) {
  int64_t length = (int64_t)bytes;
  TRY(comm_collect(comm, "gather", &length, sizeof length, root, comm->scratch->numbers));
  if (comm->rank != root) return send_part(comm, data, bytes, root);
  enum status status = make_room(comm, parts);
  if (status) comm->broken = true; /* the others are already sending */
  TRY(status);
  if (bytes) memcpy(parts->data + parts->offset[root], data, bytes);
  bool more = true;
  for (size_t done = 0; more; done += COMM_MESSAGE_BYTES)
    TRY(receive_parts(comm, parts, done, &more));
  return STATUS_OK;
}

enum status comm_gather(struct comm *comm, const void *data, size_t bytes, int root,
                        struct comm_parts *parts) {
  *parts = (struct comm_parts){0};
  enum status status = gather(comm, data, bytes, root, parts);
  if (status) comm_parts_free(parts);
  return status;
}

/* Lines as one text, each with its 0 byte. */
static enum status pack_lines(const char *const *lines, int count, char **text, size_t *bytes) {
  *bytes = 0;
  for (int i = 0; i < count; i++) *bytes += strlen(lines[i]) + 1;
  char *to = *text = malloc(*bytes + 1);
  REQUIRE(to, STATUS_FAILED, "out of memory");
  for (int i = 0; i < count; i++) to = stpcpy(to, lines[i]) + 1;
  return STATUS_OK;
}

static enum status unpack_lines(const char *text, size_t bytes, char ***lines, int *count) {
  *count = 0;
  for (size_t i = 0; i < bytes; i++) *count += !text[i];
  int total = *count;
  *lines = calloc((size_t)total + 1, sizeof **lines);
  REQUIRE(*lines, STATUS_FAILED, "out of memory");
  for (int i = 0; i < total; i++, text += strlen(text) + 1) {
    if (((*lines)[i] = strdup(text))) continue;
    file_list_free(*lines, total);
    *lines = NULL;
    *count = 0;
    FAIL(STATUS_FAILED, "out of memory");
  }
  return STATUS_OK;
}

enum status comm_gather_lines(struct comm *comm, const char *const *lines, int count, int root,
                              char ***all, int *all_count) {
  char *text = NULL;
  size_t bytes = 0;
  struct comm_parts parts = {0};
  *all = NULL;
  *all_count = 0;
  TRY(pack_lines(lines, count, &text, &bytes));
  enum status status = comm_gather(comm, text, bytes, root, &parts);
  free(text);
  if (!status && comm->rank == root)
    status = unpack_lines((const char *)parts.data, parts.offset[comm->size], all, all_count);
  comm_parts_free(&parts);
  return status;
}
