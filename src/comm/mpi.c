/* Messages over MPI (MPI 3.1 standard), host memory only, on a communicator of our own so that the
 * MPI-IO of HDF5 cannot meet them. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "comm/transport.h"

struct mpi_handle {
  MPI_Comm comm;
  bool initialized_here;
};

_Static_assert(sizeof(MPI_Request) <= sizeof(uintptr_t), "a request's handle must hold MPI's");

static enum status check(struct comm *comm, int code, const char *call) {
  if (code == MPI_SUCCESS) return STATUS_OK;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  comm->broken = true;
  FAIL(STATUS_FAILED, "%s%s%s: %s", comm->phase ? comm->phase : "", comm->phase ? ": " : "", call,
       text);
}

static MPI_Comm communicator(const struct comm *comm) {
  return ((const struct mpi_handle *)comm->handle)->comm;
}

static enum status initialize(struct comm *comm, struct mpi_handle *handle, int *argc,
                              char ***argv) {
  int initialized = 0, provided = MPI_THREAD_SINGLE;
  TRY(check(comm, MPI_Initialized(&initialized), "MPI_Initialized"));
  if (!initialized) {
    TRY(check(comm, MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided),
              "MPI_Init_thread"));
    handle->initialized_here = true;
  } else {
    TRY(check(comm, MPI_Query_thread(&provided), "MPI_Query_thread"));
  }
  REQUIRE(provided >= MPI_THREAD_FUNNELED, STATUS_FAILED,
          "this MPI library offers no thread support (MPI_THREAD_FUNNELED is needed)");
  return STATUS_OK;
}

static enum status find_place(struct comm *comm) {
  MPI_Comm node;
  TRY(check(comm, MPI_Comm_rank(communicator(comm), &comm->rank), "MPI_Comm_rank"));
  TRY(check(comm, MPI_Comm_size(communicator(comm), &comm->size), "MPI_Comm_size"));
  TRY(check(comm,
            MPI_Comm_split_type(communicator(comm), MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL,
                                &node),
            "MPI_Comm_split_type"));
  TRY(check(comm, MPI_Comm_rank(node, &comm->local_rank), "MPI_Comm_rank"));
  TRY(check(comm, MPI_Comm_size(node, &comm->local_size), "MPI_Comm_size"));
  TRY(check(comm, MPI_Comm_free(&node), "MPI_Comm_free"));
  int launched = comm_launched_processes();
  REQUIRE(
      comm->size > 1 || launched <= 1, STATUS_USAGE,
      "the launcher started %d processes, but MPI sees only one: was another MPI's mpirun used, "
      "or srun without --mpi=pmix?",
      launched);
  return STATUS_OK;
}

static void close_mpi(struct comm *comm) {
  struct mpi_handle *handle = comm->handle;
  if (!handle) return;
  if (handle->comm != MPI_COMM_NULL) MPI_Comm_free(&handle->comm);
  if (handle->initialized_here) MPI_Finalize();
  free(handle);
  comm->handle = NULL;
}

static enum status open_mpi(struct comm *comm, int *argc, char ***argv) {
  struct mpi_handle *handle = calloc(1, sizeof *handle);
  REQUIRE(handle, STATUS_FAILED, "out of memory");
  handle->comm = MPI_COMM_NULL;
  comm->handle = handle;
  enum status status = initialize(comm, handle, argc, argv);
  if (!status) status = check(comm, MPI_Comm_dup(MPI_COMM_WORLD, &handle->comm), "MPI_Comm_dup");
  if (!status)
    status = check(comm, MPI_Comm_set_errhandler(handle->comm, MPI_ERRORS_RETURN),
                   "MPI_Comm_set_errhandler");
  if (!status) status = find_place(comm);
  if (status) close_mpi(comm);
  return status;
}

static void abort_mpi(struct comm *comm, int code) {
  MPI_Abort(communicator(comm), code);
}

static void keep(struct comm_request *request, MPI_Request handle) {
  request->handle = 0;
  memcpy(&request->handle, &handle, sizeof handle);
}

static enum status send(struct comm *comm, const void *data, size_t bytes, int peer, int tag,
                        struct comm_request *request) {
  MPI_Request handle;
  TRY(check(comm, MPI_Isend(data, (int)bytes, MPI_BYTE, peer, tag, communicator(comm), &handle),
            "MPI_Isend"));
  *request = (struct comm_request){.peer = peer, .bytes = bytes};
  keep(request, handle);
  return STATUS_OK;
}

static enum status receive(struct comm *comm, void *data, size_t bytes, int peer, int tag,
                           struct comm_request *request) {
  MPI_Request handle;
  TRY(check(comm, MPI_Irecv(data, (int)bytes, MPI_BYTE, peer, tag, communicator(comm), &handle),
            "MPI_Irecv"));
  *request = (struct comm_request){.peer = peer, .incoming = true};
  keep(request, handle);
  return STATUS_OK;
}

static enum status test(struct comm *comm, struct comm_request *request) {
  MPI_Request handle;
  MPI_Status result;
  int done = 0, bytes = 0;
  memcpy(&handle, &request->handle, sizeof handle);
  TRY(check(comm, MPI_Test(&handle, &done, &result), "MPI_Test"));
  keep(request, handle);
  if (!done) return STATUS_OK;
  request->done = true;
  if (!request->incoming) return STATUS_OK;
  TRY(check(comm, MPI_Get_count(&result, MPI_BYTE, &bytes), "MPI_Get_count"));
  request->bytes = (size_t)bytes;
  return STATUS_OK;
}

static void cancel(struct comm_request *request) {
  MPI_Request handle;
  int done;
  memcpy(&handle, &request->handle, sizeof handle);
  MPI_Cancel(&handle);
  MPI_Test(&handle, &done, MPI_STATUS_IGNORE);
  request->done = true;
}

static enum status sum_start(struct comm *comm, float *data, size_t count,
                             struct comm_request *request) {
  MPI_Request handle;
  TRY(check(comm,
            MPI_Iallreduce(MPI_IN_PLACE, data, (int)count, MPI_FLOAT, MPI_SUM, communicator(comm),
                           &handle),
            "MPI_Iallreduce"));
  *request = (struct comm_request){.peer = -1};
  keep(request, handle);
  return STATUS_OK;
}

/* "Open MPI v4.1.4, package: ..." */
static void describe(char *text, size_t bytes) {
  char version[MPI_MAX_LIBRARY_VERSION_STRING] = "MPI";
  int length = 0;
  MPI_Get_library_version(version, &length);
  version[strcspn(version, ",\n\t")] = 0;
  snprintf(text, bytes, "%s", version);
}

const struct comm_ops comm_mpi = {.name = "mpi",
                                  .describe = describe,
                                  .open = open_mpi,
                                  .close = close_mpi,
                                  .abort = abort_mpi,
                                  .send = send,
                                  .receive = receive,
                                  .test = test,
                                  .cancel = cancel,
                                  .sum_start = sum_start};
