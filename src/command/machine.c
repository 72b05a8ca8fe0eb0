/* How many threads a rank gets. */
#include "command/machine.h"
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* The cores this process may run on: all of the node's, or those the launcher bound it to. */
static int usable_cores(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int threads_for(const struct config *config, const struct comm *comm) {
  if (config->root.threads > 0) return (int)config->root.threads;
  const char *environment = getenv("OMP_NUM_THREADS");
  if (environment && *environment) return 0; /* the device takes it */
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  int bound = usable_cores();
  if (bound < cores) return bound; /* bound to a part of the node: all of that part */
  int share = bound / (comm->local_size > 0 ? comm->local_size : 1);
  return share > 0 ? share : 1;
}

enum status machine_open(struct device *device, const struct config *config, struct comm *comm) {
  return comm_agree(comm,
                    device_open(device, config->root.device, comm->local_rank, comm->local_size,
                                config->root.share_device, threads_for(config, comm)));
}
