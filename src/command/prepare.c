/* prepare: volumes to shards. Lends the ranks' communicator to the data room. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include "command/options.h"
#include "command/phantoms.h"
#include "command/preparation.h"
#include "data/prepare.h"

static enum status agree(void *context, enum status mine) {
  return comm_agree(context, mine);
}

static enum status gather_text(void *context, const char *mine, char **all) {
  struct comm *comm = context;
  struct comm_parts parts = {0};
  *all = NULL;
  TRY(comm_gather(comm, mine, strlen(mine), 0, &parts));
  if (comm->rank == 0) {
    *all = strndup((const char *)parts.data, parts.offset[comm->size]);
    comm_parts_free(&parts);
    REQUIRE(*all, STATUS_FAILED, "prepare: out of memory");
  }
  return STATUS_OK;
}

static enum status broadcast(void *context, void *data, size_t bytes) {
  return comm_broadcast(context, data, bytes, 0);
}

static enum status barrier(void *context) {
  return comm_barrier(context);
}

enum status preparation_run(const struct config *config, struct comm *comm) {
  bool parallel = comm->size > 1;
  const struct prepare_team team = {
      .rank = comm->rank,
      .size = comm->size,
      .context = comm,
      .agree = agree,
      .gather_text = gather_text,
      .broadcast = broadcast,
      .barrier = barrier,
      .parallel = parallel,
      .communicator = parallel ? MPI_COMM_WORLD : MPI_COMM_NULL,
  };
  /* Shares differ by hours on large data: a rank that is done waits for the others, however long it
   * takes. */
  double deadline = comm->deadline;
  comm->deadline = 0;
  enum status status = prepare_run(config, &team);
  comm->deadline = deadline;
  return status;
}

enum status preparation_provide(const struct config *config, struct comm *comm) {
  TRY(phantoms_provide(config, comm));
  return config->data.phantom ? preparation_run(config, comm) : STATUS_OK;
}

static enum status provide_and_prepare(const struct config *config, struct comm *comm) {
  TRY(phantoms_provide(config, comm));
  return preparation_run(config, comm);
}

static enum status prepare_command(const struct invocation *invocation) {
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, NULL, &words, &config);
  if (!status) status = provide_and_prepare(&config, invocation->comm);
  config_close(&config);
  return status;
}

extern const struct command command_prepare;
const struct command command_prepare = {
    .name = "prepare",
    .usage = "CONFIG [key=value ...]",
    .help = "volumes to shards: checks, orients, resamples, normalises; does only what is missing",
    .run = prepare_command,
    .parallel = true,
};
