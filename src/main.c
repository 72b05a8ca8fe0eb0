/* The program: opens the ranks, finds the command, and says what went wrong. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/log.h"
#include "base/timer.h"
#include "command/command.h"
#include "command/list.h"
#include "train/signals.h"

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

/* The first rank to give up ends the job, and the launcher then ends the others: they need not say
 * the same again. So each gives those before it a moment. */
static bool is_ended_by_another(const struct comm *comm) {
  const double first = 0.2, each = 0.4, longest = 2.0;
  double started = timer_now(), patience = first + each * comm->rank;
  if (patience > longest) patience = longest;
  while (!signals_just_terminated() && timer_now() - started < patience)
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  return signals_just_terminated();
}

static int report(const struct comm *comm, enum status status) {
  if (status == STATUS_OK) return 0;
  bool speaks = comm->broken ? !is_ended_by_another(comm) : comm->rank == 0;
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
