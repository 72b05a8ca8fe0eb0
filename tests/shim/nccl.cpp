/* NCCL's stand-in: an operation is an entry of its stream that is done once all its MPI messages,
 * which start when the stream gets there, have come. */
#include "nccl.h"
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "shim.h"

/* One call between group start and end. */
struct call {
  enum { SEND, RECEIVE, GATHER, REDUCE } kind;
  const void *from;
  void *to;
  size_t count;
  int peer;
  ncclComm_t comm;
  cudaStream_t stream;
};

/* The calls of a group, on their way. */
struct transfer {
  std::vector<call> calls;
  std::vector<std::vector<float>> buffers; /* of each call: what is sent, then what came */
  std::vector<MPI_Request> requests;
  bool started = false;
};

struct ncclComm {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank, size;
  ncclUniqueId id;
  enum { CONNECTING, COMPARING, OPEN, ENDING, ENDED } state = CONNECTING;
  MPI_Request request = MPI_REQUEST_NULL; /* of the state's change */
  std::vector<char> cards;                /* who has which device */
  std::shared_ptr<transfer> issued;       /* not yet on its stream */
  size_t issued_at;                       /* the stream's length when it was issued */
  int polls = 0;                          /* how often that was asked for */
  int operations = 0;
  ncclResult_t error = ncclSuccess;
  bool aborted = false;
};

enum { POLLS_BEFORE_LAUNCH = 2 };

struct card {
  char host[128], bus[32];
  ncclUniqueId id;
};

static int depth;
static std::vector<call> group;
static char last_error[256];
/* What was under way when it was given up: MPI may still touch the buffers, and entries of streams
 * ask the communicators. */
static auto *given_up = new std::vector<std::shared_ptr<transfer>>;
static auto *aborted = new std::vector<ncclComm_t>;

static ncclResult_t fail(ncclResult_t code, const char *text) {
  snprintf(last_error, sizeof last_error, "%s", text);
  return code;
}

ncclResult_t ncclGetVersion(int *version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  static int number;
  *id = {};
  snprintf(id->internal, sizeof id->internal, "%d-%d", (int)getpid(), ++number);
  return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t code) {
  static const char *const texts[] = {"no error",
                                      "unhandled cuda error",
                                      "unhandled system error",
                                      "internal error",
                                      "invalid argument",
                                      "invalid usage",
                                      "remote process exited or there was a network error",
                                      "NCCL operation in progress"};
  return texts[code];
}

const char *ncclGetLastError(ncclComm_t) {
  return last_error;
}

/* --- communicators --- */

static card my_card(const ncclUniqueId &id) {
  card mine = {};
  const char *host = getenv("NCCL_HOSTID");
  if (host)
    snprintf(mine.host, sizeof mine.host, "%s", host);
  else
    gethostname(mine.host, sizeof mine.host - 1);
  cudaDeviceGetPCIBusId(mine.bus, sizeof mine.bus, shim_device());
  mine.id = id;
  return mine;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
  shim_lock lock(shim_mutex);
  int initialized, world_rank, world_size;
  if (config->blocking != 0) shim_fail("NCCL: only communicators that do not block");
  MPI_Initialized(&initialized);
  if (!initialized) return fail(ncclSystemError, "this NCCL needs MPI");
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world_size);
  if (rank != world_rank || ranks != world_size)
    return fail(ncclInvalidArgument, "this NCCL's ranks are MPI's");
  ncclComm *made = new ncclComm;
  made->rank = rank;
  made->size = ranks;
  made->id = id;
  MPI_Comm_idup(MPI_COMM_WORLD, &made->comm, &made->request);
  *comm = made;
  return ncclInProgress;
}

static void exchange_cards(ncclComm_t comm) {
  comm->cards.resize(sizeof(card) * (size_t)comm->size);
  card mine = my_card(comm->id);
  memcpy(comm->cards.data() + sizeof mine * (size_t)comm->rank, &mine, sizeof mine);
  MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, comm->cards.data(), (int)sizeof mine, MPI_BYTE,
                 comm->comm, &comm->request);
}

static void compare_cards(ncclComm_t comm) {
  const card *cards = (const card *)comm->cards.data(), &mine = cards[comm->rank];
  for (int other = 0; other < comm->size; other++) {
    const card &theirs = cards[other];
    if (memcmp(&mine.id, &theirs.id, sizeof mine.id))
      comm->error = fail(ncclInvalidUsage, "the ranks have different ids");
    if (other != comm->rank && !strcmp(mine.host, theirs.host) && !strcmp(mine.bus, theirs.bus))
      comm->error = fail(ncclInvalidUsage, "Duplicate GPU detected");
  }
}

/* The next state, when what it waits for has come. */
static void advance(ncclComm_t comm) {
  int done = 0;
  MPI_Test(&comm->request, &done, MPI_STATUS_IGNORE);
  if (!done) return;
  if (comm->state == ncclComm::CONNECTING) {
    exchange_cards(comm);
    comm->state = ncclComm::COMPARING;
  } else if (comm->state == ncclComm::COMPARING) {
    compare_cards(comm);
    comm->state = ncclComm::OPEN;
  } else {
    comm->state = ncclComm::ENDED;
  }
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  shim_lock lock(shim_mutex);
  if (comm->state != ncclComm::OPEN || comm->issued)
    shim_fail("ncclCommFinalize: called while in progress");
  comm->state = ncclComm::ENDING;
  MPI_Ibarrier(comm->comm, &comm->request);
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  shim_lock lock(shim_mutex);
  if (comm->state != ncclComm::ENDED) shim_fail("ncclCommDestroy: not finalized");
  MPI_Comm_free(&comm->comm);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  shim_lock lock(shim_mutex);
  if (comm->issued) given_up->push_back(comm->issued);
  comm->aborted = true;
  aborted->push_back(comm);
  return ncclSuccess;
}

/* --- operations --- */

static float *data_of(std::vector<float> &buffer) {
  return buffer.data();
}

static void start(transfer &all) {
  shim_reach reach;
  for (size_t i = 0; i < all.calls.size(); i++) {
    const call &c = all.calls[i];
    std::vector<float> &buffer = all.buffers[i];
    MPI_Request &request = all.requests[i];
    size_t first = c.kind == call::GATHER ? c.count * (size_t)c.comm->rank : 0;
    buffer.resize(c.kind == call::GATHER ? c.count * (size_t)c.comm->size : c.count);
    if (c.from) memcpy(data_of(buffer) + first, c.from, sizeof(float) * c.count);
    int count = (int)c.count;
    if (c.kind == call::SEND)
      MPI_Isend(data_of(buffer), count, MPI_FLOAT, c.peer, 0, c.comm->comm, &request);
    else if (c.kind == call::RECEIVE)
      MPI_Irecv(data_of(buffer), count, MPI_FLOAT, c.peer, 0, c.comm->comm, &request);
    else if (c.kind == call::GATHER)
      MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data_of(buffer), count, MPI_FLOAT,
                     c.comm->comm, &request);
    else
      MPI_Iallreduce(MPI_IN_PLACE, data_of(buffer), count, MPI_FLOAT, MPI_SUM, c.comm->comm,
                     &request);
  }
  all.started = true;
}

static bool test(transfer &all) {
  bool done = true;
  for (size_t i = 0; i < all.calls.size(); i++) {
    if (all.requests[i] == MPI_REQUEST_NULL) continue;
    int one = 0, count = 0;
    MPI_Status status;
    MPI_Test(&all.requests[i], &one, &status);
    done = done && one;
    if (!one || all.calls[i].kind != call::RECEIVE) continue;
    MPI_Get_count(&status, MPI_FLOAT, &count);
    if ((size_t)count != all.calls[i].count)
      shim_fail("ncclRecv: expected %zu elements of rank %d, found %d", all.calls[i].count,
                all.calls[i].peer, count);
  }
  return done;
}

static void deliver(transfer &all) {
  shim_reach reach;
  for (size_t i = 0; i < all.calls.size(); i++)
    if (all.calls[i].to)
      memcpy(all.calls[i].to, data_of(all.buffers[i]), sizeof(float) * all.buffers[i].size());
}

/* Whether the environment wants this operation to fail. */
static bool is_to_fail(const ncclComm_t comm) {
  int rank, operation;
  const char *text = getenv("NCCL_SHIM_FAIL");
  return text && sscanf(text, "%d:%d", &rank, &operation) == 2 && rank == comm->rank &&
         operation == comm->operations;
}

/* Gives the stream what was issued. */
static void launch(ncclComm_t comm) {
  std::shared_ptr<transfer> all = std::move(comm->issued);
  cudaStream_t stream = all->calls[0].stream;
  comm->issued = nullptr;
  if (shim_stream_of(stream)->queue->issued != comm->issued_at)
    shim_fail("work was given to a stream while NCCL was in progress");
  comm->operations++;
  if (is_to_fail(comm)) comm->error = fail(ncclRemoteError, "NCCL_SHIM_FAIL");
  auto ready = [=] {
    if (comm->aborted) {
      given_up->push_back(all);
      return true;
    }
    if (comm->error) return false;
    if (!all->started) start(*all);
    return test(*all);
  };
  auto run = [=] {
    if (!comm->aborted) deliver(*all);
  };
  shim_issue(stream, {run, nullptr, 0, ready});
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  shim_lock lock(shim_mutex);
  if (!comm->error && comm->state != ncclComm::OPEN && comm->state != ncclComm::ENDED)
    advance(comm);
  if (!comm->error && comm->issued && ++comm->polls > POLLS_BEFORE_LAUNCH) launch(comm);
  bool at_rest = (comm->state == ncclComm::OPEN || comm->state == ncclComm::ENDED) && !comm->issued;
  *error = comm->error ? comm->error : at_rest ? ncclSuccess : ncclInProgress;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  depth++;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  shim_lock lock(shim_mutex);
  if (depth == 0) return fail(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--depth > 0 || group.empty()) return ncclSuccess;
  auto all = std::make_shared<transfer>();
  all->calls.swap(group);
  all->buffers.resize(all->calls.size());
  all->requests.resize(all->calls.size(), MPI_REQUEST_NULL);
  const call &first = all->calls[0];
  for (const call &c : all->calls)
    if (c.comm != first.comm || c.stream != first.stream)
      shim_fail("ncclGroupEnd: this NCCL has one communicator and one stream in a group");
  first.comm->issued = all;
  first.comm->issued_at = shim_stream_of(first.stream)->queue->issued;
  first.comm->polls = 0;
  return ncclInProgress;
}

static ncclResult_t add(const char *name, ncclDataType_t type, const call &c) {
  shim_lock lock(shim_mutex);
  if (type != ncclFloat) return fail(ncclInvalidArgument, "this NCCL moves floats");
  if (c.comm->state != ncclComm::OPEN || c.comm->issued || c.comm->aborted || c.comm->error)
    shim_fail("%s: called while in progress, or of a communicator that is not open", name);
  if (c.peer < 0 || c.peer >= c.comm->size) return fail(ncclInvalidArgument, "no such rank");
  size_t bytes = sizeof(float) * c.count;
  if (c.from) shim_check_device(c.from, bytes, name);
  if (c.to)
    shim_check_device(c.to, c.kind == call::GATHER ? bytes * (size_t)c.comm->size : bytes, name);
  ncclGroupStart();
  group.push_back(c);
  return ncclGroupEnd();
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return add("ncclSend", type, {call::SEND, data, nullptr, count, peer, comm, stream});
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add("ncclRecv", type, {call::RECEIVE, nullptr, data, count, peer, comm, stream});
}

ncclResult_t ncclAllGather(const void *mine, void *all, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return add("ncclAllGather", type, {call::GATHER, mine, all, count, 0, comm, stream});
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream) {
  return add("ncclAllReduce", type, {call::REDUCE, from, to, count, 0, comm, stream});
}
