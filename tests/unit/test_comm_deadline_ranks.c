/* A rank that does not come: the others say so and whom they miss, instead of waiting for ever. */
#include "check.h"
#include <mpi.h>
#include <stdbool.h>
#include <time.h>
#include "base/timer.h"
#include "comm/comm.h"
#include "comm/tree.h"
#include "device/device.h"

/* Where the last rank stops; or NCCL fails on it. */
enum fault { BEFORE_BARRIER, BEFORE_PUSHING, WHILE_PUSHING, NCCL_FAILS };

static const struct meeting {
  const char *device, *transport;
  enum tree_mode mode;
  enum fault fault;
} meetings[] = {
    {"cpu", "mpi", TREE_EXACT, BEFORE_BARRIER},   {"cpu", "mpi", TREE_EXACT, BEFORE_PUSHING},
    {"cpu", "mpi", TREE_EXACT, WHILE_PUSHING},    {"cuda", "mpi", TREE_EXACT, WHILE_PUSHING},
#ifdef MEDTRAIN_HAS_NCCL
    {"cuda", "nccl", TREE_EXACT, BEFORE_PUSHING}, {"cuda", "nccl", TREE_EXACT, WHILE_PUSHING},
    {"cuda", "nccl", TREE_FAST, WHILE_PUSHING},
#endif
#ifdef MEDTRAIN_CUDA_SHIM /* which fails when it is told to */
    {"cuda", "nccl", TREE_EXACT, NCCL_FAILS},
#endif
};
enum { MEETINGS = sizeof meetings / sizeof *meetings, ELEMENTS = 1000 };

static struct comm comms[MEETINGS]; /* broken ones can only be abandoned */

/* Seconds. A busy machine holds up those that are not late as well. */
static const double DEADLINE = 0.8, LATE = 2.8;

static void sleep_for(double seconds) {
  struct timespec pause = {.tv_sec = (time_t)seconds,
                           .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&pause, NULL);
}

/* One step; its last part, and the wait, are not for a rank that is late. */
static enum status push_and_wait(struct tree *tree, enum fault fault, bool late, float *block) {
  int end = fault == WHILE_PUSHING && late ? ELEMENTS / 2 : ELEMENTS;
  TRY(tree_start(tree, block, NULL));
  if (late && fault == BEFORE_PUSHING) end = 0;
  if (end) TRY(tree_push(tree, tree->own.first, block, 0, end));
  if (late && fault != NCCL_FAILS) {
    sleep_for(LATE);
    tree->comm->broken = true; /* it would wait for the others, who have left */
    return STATUS_OK;
  }
  return tree_wait(tree);
}

static enum status reduce(struct comm *comm, struct device *device, const struct meeting *meeting,
                          bool late) {
  struct tree tree = {0};
  float *block = NULL;
  const struct tree_options options = {.mode = meeting->mode,
                                       .transport = meeting->transport,
                                       .slots = comm->size,
                                       .count = ELEMENTS,
                                       .bucket_elements = ELEMENTS / 4};
  TRY(device->ops->allocate(device, ELEMENTS * sizeof *block, (void **)&block));
  TRY(tree_open(&tree, comm, device, &options));
  TRY(comm_barrier(comm)); /* time counts from here */
  enum status status = push_and_wait(&tree, meeting->fault, late, block);
  tree_close(&tree);
  device->ops->release(device, block, ELEMENTS * sizeof *block);
  return status;
}

static enum status meet(struct comm *comm, const struct meeting *meeting, bool late) {
  struct device device;
  if (meeting->fault == BEFORE_BARRIER) {
    if (late) sleep_for(LATE);
    return late ? STATUS_OK : comm_barrier(comm);
  }
  TRY(device_open(&device, meeting->device, comm->local_rank, comm->local_size, true, 1));
  enum status status = reduce(comm, &device, meeting, late);
  device_close(&device);
  return status;
}

static void check_message(const struct comm *comm, const struct meeting *meeting, bool failed) {
  char expected[64];
  snprintf(expected, sizeof expected, "for rank %d", comm->size - 1);
  CHECK(comm->broken);
  if (failed) {
    snprintf(expected, sizeof expected, "rank %d: validation: NCCL, moving", comm->rank);
    CHECK_SAY(strstr(status_message(), expected) && strstr(status_message(), "remote process"),
              ": %s", status_message());
    return;
  }
  CHECK_SAY(strstr(status_message(), "validation"), ": %s", status_message());
  if (comm->rank == 0 || meeting->fault != BEFORE_BARRIER)
    CHECK_SAY(strstr(status_message(), expected), ": %s", status_message());
}

/* Leaves no trace of the failed meeting: what was posted belongs to this communicator only, and MPI
 * itself is closed by main. */
static void try_meeting(struct comm *comm, const struct meeting *meeting) {
  bool is_last = comm->rank == comm->size - 1, fails = meeting->fault == NCCL_FAILS;
  char operation[32];
  snprintf(operation, sizeof operation, "%d:1", comm->size - 1);
  if (fails) setenv("NCCL_SHIM_FAIL", operation, 1);
  CHECK_OK(comm_barrier(comm));
  comm->deadline = DEADLINE;
  comm->phase = "validation";
  double started = timer_now();
  enum status status = meet(comm, meeting, is_last);
  double waited = timer_now() - started;
  if (is_last && !fails) {
    CHECK_OK(status);
  } else {
    CHECK(status == STATUS_FAILED && waited < LATE - 0.1);
    CHECK(is_last || waited > DEADLINE - 0.05);
    check_message(comm, meeting, is_last);
    CHECK_FAILS(comm_barrier(comm), "lost each other");
  }
  unsetenv("NCCL_SHIM_FAIL");
}

static bool has_device(const char *name) {
  for (int i = 0; devices[i]; i++)
    if (strcmp(devices[i]->name, name) == 0) return devices[i]->count(NULL) > 0;
  return false;
}

int main(int argc, char **argv) {
  int size, provided;
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int i = 0; i < MEETINGS && size > 1; i++) {
    if (!has_device(meetings[i].device)) continue;
    CHECK_OK(comm_open(&comms[i], "mpi", &argc, &argv));
    try_meeting(&comms[i], &meetings[i]);
    MPI_Barrier(MPI_COMM_WORLD);
  }
  if (size == 1) {
    CHECK_OK(comm_open(&comms[0], "auto", &argc, &argv));
    comms[0].deadline = 0.01;
    CHECK_OK(comm_barrier(&comms[0]));
    comm_close(&comms[0]);
  }
  printf("%d ranks\n", size);
  MPI_Finalize();
  return check_result();
}
