/* The program: opens the ranks, finds the command, and says what went wrong. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "command/command.h"
#include "command/list.h"

static enum status run_command(struct comm *comm, int argc, char **argv) {
  REQUIRE(argc > 1, STATUS_USAGE, "expected a config file or a command; see --help");
  const struct command *command = command_find(argv[1]);
  struct invocation invocation = {comm, argc - 2, argv + 2};
  if (!command) { /* medtrain-dist CONFIG ... trains */
    command = command_find("train");
    invocation = (struct invocation){comm, argc - 1, argv + 1};
  }
  REQUIRE(command->parallel || comm->size == 1, STATUS_USAGE,
          "%s runs on one process: start it without mpirun (found %d ranks)", command->name,
          comm->size);
  return command->run(&invocation);
}

/* Results on a full disk or a closed pipe are no results. */
static enum status finish_output(void) {
  REQUIRE(fflush(stdout) == 0 && !ferror(stdout), STATUS_FAILED,
          "standard output: cannot write all of it: %s", strerror(errno));
  return STATUS_OK;
}

static int report(const struct comm *comm, enum status status) {
  if (status == STATUS_OK) return 0;
  bool speaks = comm->rank == 0 || comm->broken;
  if (speaks && status == STATUS_STOPPED) log_warning("%s", status_message());
  if (speaks && status != STATUS_STOPPED) {
    bool whole = getenv("MEDTRAIN_TRACE") != NULL;
    log_error("%s", whole ? status_trace() : status_message());
  }
  return (int)status;
}

int main(int argc, char **argv) {
  if (argc == 2 && list_answer(argv[1], stdout)) return fflush(stdout) == 0 ? 0 : 1;
  struct comm comm = {0};
  enum status status = comm_open(&comm, "auto", &argc, &argv);
  log_setup(comm.rank, comm.size ? comm.size : 1, LOG_INFO);
  if (!status) status = run_command(&comm, argc, argv);
  if (!status) status = finish_output();
  int code = report(&comm, status);
  log_close();
  comm_close(&comm);
  return code;
}
