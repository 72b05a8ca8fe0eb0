/* NCCL's communicator (NCCL user guide, "Creating a communicator with options" and "Fault
 * tolerance"). MPI carries its id. */
#include "comm/nccl_link.h"
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "comm/transport.h"
#include "device/cuda.h"

void nccl_describe(char *text, size_t bytes) {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) version = 0;
  snprintf(text, bytes, "nccl %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

/* --- errors ---------------------------------------------------------------------------------- */

void nccl_give_up(struct nccl_link *link) {
  if (link->grouping) ncclGroupEnd();
  link->grouping = false;
  if (link->handle) ncclCommAbort(link->handle);
  link->handle = NULL;
}

enum status nccl_group_start(struct nccl_link *link) {
  NCCL_TRY(link, ncclGroupStart());
  link->grouping = true;
  return STATUS_OK;
}

enum status nccl_group_end(struct nccl_link *link) {
  link->grouping = false;
  return nccl_check(link, ncclGroupEnd());
}

enum status nccl_check(struct nccl_link *link, ncclResult_t code) {
  if (code == ncclSuccess || code == ncclInProgress) return STATUS_OK;
  char last[256] = "";
  const char *text = ncclGetLastError(link->handle);
  if (text) snprintf(last, sizeof last, "%.*s", (int)strcspn(text, "\n"), text);
  struct comm *comm = link->comm;
  comm->broken = true;
  nccl_give_up(link);
  FAIL(STATUS_FAILED, "rank %d: %s%sNCCL, %s: %s%s%s%s", comm->rank, comm->phase ? comm->phase : "",
       comm->phase ? ": " : "", link->doing, ncclGetErrorString(code), last[0] ? " (" : "", last,
       last[0] ? ")" : "");
}

enum status nccl_poll(struct nccl_link *link, bool *ready) {
  ncclResult_t state = ncclSuccess;
  *ready = false;
  NCCL_TRY(link, ncclCommGetAsyncError(link->handle, &state));
  *ready = state == ncclSuccess;
  return nccl_check(link, state);
}

static enum status wait_until_ready(struct nccl_link *link, const char *what) {
  struct comm_patience patience;
  comm_patience_start(&patience, what);
  for (;;) {
    bool ready;
    TRY(nccl_poll(link, &ready));
    if (ready) return STATUS_OK;
    enum status status = comm_patience_pause(link->comm, &patience, NULL, 0);
    if (status) nccl_give_up(link);
    if (status) return status;
  }
}

/* --- ranks that share a GPU ------------------------------------------------------------------ */

struct place {
  char host[64], bus[32];
};

/* Each rank's number among those with the same GPU, in rank order. */
static void number_sharers(const struct place *places, int size, int *number, bool *shared) {
  *shared = false;
  for (int rank = 0; rank < size; rank++) {
    number[rank] = 0;
    for (int other = 0; other < rank; other++)
      number[rank] += memcmp(&places[other], &places[rank], sizeof *places) == 0;
    if (number[rank]) *shared = true;
  }
}

/* NCCL refuses two ranks of one host with the same GPU. What a host is, NCCL_HOSTID may say: ranks
 * that share GPUs pretend to be on several, each of which has a GPU once. Between these NCCL then
 * uses the network (sockets on one machine) instead of peer access and shared memory: right, but
 * slow, which is what sharing is for: tests. Runs that do not share leave NCCL as it is, as does a
 * variable that is set already. */
static enum status name_hosts(struct comm *comm, const struct place *places, int *number) {
  char host[96];
  bool shared;
  number_sharers(places, comm->size, number, &shared);
  snprintf(host, sizeof host, "%s-%d", places[comm->rank].host, number[comm->rank]);
  REQUIRE(!shared || setenv("NCCL_HOSTID", host, 0) == 0, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

static enum status gather_places(struct comm *comm, struct device *device, struct place *places) {
  struct place mine = {0};
  gethostname(mine.host, sizeof mine.host - 1);
  enum status status =
      cuda_status(cudaDeviceGetPCIBusId(mine.bus, sizeof mine.bus, device->ordinal),
                  "cudaDeviceGetPCIBusId", __FILE__, __LINE__);
  TRY(comm_agree(comm, status));
  TRY(comm_collect(comm, "NCCL start", &mine, sizeof mine, 0, places));
  return comm_broadcast(comm, places, sizeof *places * (size_t)comm->size, 0);
}

static enum status find_sharers(struct comm *comm, struct device *device) {
  struct place *places = calloc((size_t)comm->size, sizeof *places);
  int *number = calloc((size_t)comm->size, sizeof *number);
  enum status status = places && number ? STATUS_OK : STATUS_FAILED;
  if (status) status = status_fail(status, __FILE__, __LINE__, "out of memory");
  status = comm_agree(comm, status);
  if (!status) status = gather_places(comm, device, places);
  if (!status) status = name_hosts(comm, places, number);
  free(places);
  free(number);
  return status;
}

/* --- opening and closing --------------------------------------------------------------------- */

static enum status share_id(struct nccl_link *link, ncclUniqueId *id) {
  enum status status = STATUS_OK;
  link->doing = "making its id";
  if (link->comm->rank == 0) status = nccl_check(link, ncclGetUniqueId(id));
  TRY(comm_agree(link->comm, status));
  return comm_broadcast(link->comm, id, sizeof *id, 0);
}

enum status nccl_open(struct nccl_link *link, struct comm *comm, struct device *device) {
  ncclUniqueId id;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  *link = (struct nccl_link){.comm = comm};
  TRY(find_sharers(comm, device));
  TRY(share_id(link, &id));
  config.blocking = 0;
  link->doing = "connecting the ranks (comm.transport = \"mpi\" does without it)";
  NCCL_TRY(link, ncclCommInitRankConfig(&link->handle, comm->size, id, comm->rank, &config));
  return wait_until_ready(link, "NCCL start");
}

/* Ends it together, so that nobody takes away memory that another rank still reads. */
static enum status finalize(struct nccl_link *link) {
  link->doing = "ending";
  NCCL_TRY(link, ncclCommFinalize(link->handle));
  return wait_until_ready(link, "NCCL end");
}

void nccl_close(struct nccl_link *link) {
  if (link->handle && !link->comm->broken && !finalize(link)) {
    ncclCommDestroy(link->handle);
    link->handle = NULL;
  }
  nccl_give_up(link);
  *link = (struct nccl_link){0};
}
