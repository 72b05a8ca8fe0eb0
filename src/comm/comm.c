/* Which transport a run uses. */
#include "comm/comm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "comm/transport.h"

const struct comm_ops *const comm_transports[] = {
#define COMM(name) &name,
#include "comm/comms.def"
#undef COMM
    NULL};

/* Tasks of an interactive or batch script are one process: Slurm sets the step's size in srun's
 * tasks only, its SLURM_NTASKS everywhere. */
static const char *const size_variables[] = {"OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
                                             "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};

int comm_launched_processes(void) {
  for (size_t i = 0; i < sizeof size_variables / sizeof *size_variables; i++) {
    const char *text = getenv(size_variables[i]);
    int number = text ? atoi(text) : 0;
    if (number > 0) return number;
  }
  return getenv("PMIX_RANK") ? 0 : 1;
}

const char *comm_transport_name(const struct comm_ops *ops) {
  return ops->name;
}

static const struct comm_ops *find(const char *name) {
  if (strcmp(name, "auto") == 0) name = comm_launched_processes() == 1 ? "self" : "mpi";
  for (int i = 0; comm_transports[i]; i++)
    if (strcmp(comm_transports[i]->name, name) == 0) return comm_transports[i];
  return NULL;
}

enum status comm_open(struct comm *comm, const char *name, int *argc, char ***argv) {
  *comm = (struct comm){.size = 1, .local_size = 1};
  comm->ops = find(name);
  if (!comm->ops) {
    char known[256] = "auto";
    for (int i = 0; comm_transports[i]; i++) {
      size_t used = strlen(known);
      snprintf(known + used, sizeof known - used, ", %s", comm_transports[i]->name);
    }
    FAIL(STATUS_USAGE, "communicator \"%s\": expected one of %s", name, known);
  }
  enum status status = comm->ops->open(comm, argc, argv);
  if (!status) status = comm_scratch_open(comm);
  if (status) {
    if (comm->handle) comm->ops->close(comm);
    *comm = (struct comm){.size = 1, .local_size = 1};
  }
  return status;
}

void comm_close(struct comm *comm) {
  if (comm->ops) {
    if (!comm->broken && comm_barrier(comm)) log_error("%s", status_message());
    if (comm->broken && comm->size > 1) comm_abort(comm, EXIT_FAILURE);
    comm_scratch_close(comm);
    comm->ops->close(comm);
  }
  *comm = (struct comm){0};
}

void comm_abort(struct comm *comm, int code) {
  if (comm->ops) comm->ops->abort(comm, code);
  _Exit(code);
}
