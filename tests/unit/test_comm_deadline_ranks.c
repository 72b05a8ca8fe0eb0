/* A rank that does not come: the others say so and whom they miss, instead of waiting for ever. */
#include "check.h"
#include <mpi.h>
#include <stdbool.h>
#include <time.h>
#include "base/timer.h"
#include "comm/comm.h"
#include "comm/tree.h"
#include "device/device.h"

static struct comm comms[2]; /* broken ones can only be abandoned */

static void sleep_for(double seconds) {
  struct timespec pause = {.tv_sec = (time_t)seconds,
                           .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&pause, NULL);
}

/* The last rank is late. */
static enum status meet(struct comm *comm, struct device *device, bool in_tree) {
  static float block[1000];
  struct stream stream = {.device = device};
  struct tree tree = {0};
  if (!in_tree) return comm_barrier(comm);
  TRY(tree_open(&tree, comm, device, &(struct tree_options){.slots = comm->size, .count = 1000}));
  TRY(tree_start(&tree, block, &stream));
  TRY(tree_push(&tree, comm->rank, block, 0, 1000));
  enum status status = tree_wait(&tree);
  tree_close(&tree);
  return status;
}

/* Leaves no trace of the failed meeting: what was posted belongs to this communicator only, and MPI
 * itself is closed by main. */
static void try_meeting(struct comm *comm, bool in_tree) {
  struct device device;
  char expected[64];
  int late = comm->size - 1;
  CHECK_OK(device_open(&device, "cpu", 0, 1, false, 1));
  CHECK_OK(comm_barrier(comm));
  comm->deadline = 0.4;
  comm->phase = "validation";
  snprintf(expected, sizeof expected, "for rank %d", late);
  if (comm->rank == late) {
    sleep_for(2.5);
  } else {
    double started = timer_now();
    enum status status = meet(comm, &device, in_tree);
    double waited = timer_now() - started;
    CHECK(status == STATUS_FAILED && comm->broken && waited > 0.35 && waited < 2.4);
    CHECK_SAY(strstr(status_message(), "validation"), ": %s", status_message());
    if (comm->rank == 0 || in_tree)
      CHECK_SAY(strstr(status_message(), expected), ": %s", status_message());
    CHECK_FAILS(comm_barrier(comm), "lost each other");
  }
  device_close(&device);
}

int main(int argc, char **argv) {
  int size, provided;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int in_tree = 0; in_tree < 2 && size > 1; in_tree++) {
    CHECK_OK(comm_open(&comms[in_tree], "mpi", &argc, &argv));
    try_meeting(&comms[in_tree], in_tree);
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
