/* Weights from a checkpoint into a network that predicts. */
#include "command/judge.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "command/machine.h"
#include "store/checkpoints.h"
#include "train/weights.h"

static enum status choose_checkpoint(struct judge *judge, const char *given) {
  if (given) {
    judge->checkpoint = strdup(given);
  } else {
    char *folder = file_join(judge->config->output.dir, "checkpoints");
    judge->checkpoint = folder ? checkpoints_best_path(folder) : NULL;
    if (judge->checkpoint && !file_exists(judge->checkpoint)) {
      free(judge->checkpoint);
      judge->checkpoint = checkpoints_last_path(folder);
    }
    free(folder);
  }
  REQUIRE(judge->checkpoint, STATUS_FAILED, "%s: out of memory", judge->config->output.dir);
  REQUIRE(file_exists(judge->checkpoint), STATUS_USAGE,
          "%s: expected a checkpoint (train first, or give --checkpoint), found none",
          judge->checkpoint);
  return STATUS_OK;
}

static enum status open_network(struct judge *judge, const int extent[3]) {
  struct kernel_choices choices = {0};
  if (judge->config->kernels.measure) TRY(choices_read(&choices, judge->config->output.dir));
  enum status planned =
      network_plan(&judge->network, judge->task, &judge->task_run, judge->config,
                   judge->device.ops->kind, PURPOSE_PREDICTION, 1, extent, &choices);
  choices_close(&choices);
  TRY(planned);
  judge->weights_bytes = sizeof(float) * (size_t)judge->network.plan.parameter_elements;
  void *memory;
  TRY(judge->device.ops->allocate(&judge->device, judge->weights_bytes, &memory));
  judge->weights = memory;
  TRY(weights_load(judge->checkpoint, &judge->network.plan, &judge->device, judge->weights));
  return network_open(&judge->network, &judge->device, NULL, judge->weights, NULL);
}

static enum status open_common(struct judge *judge, const struct config *config, struct comm *comm,
                               const char *checkpoint) {
  *judge = (struct judge){.config = config, .comm = comm};
  TRY(machine_open(&judge->device, config, comm));
  TRY(task_find(config->root.task, &judge->task));
  return choose_checkpoint(judge, checkpoint);
}

enum status judge_open(struct judge *judge, const struct config *config, struct comm *comm,
                       const char *checkpoint) {
  TRY(open_common(judge, config, comm, checkpoint));
  TRY(judge->task->open(&judge->task_run, config));
  TRY(open_network(judge, judge->task_run.dataset.extent));
  if (comm->rank == 0) log_info("weights of %s", judge->checkpoint);
  return STATUS_OK;
}

enum status judge_open_lazily(struct judge *judge, const struct config *config, struct comm *comm,
                              const char *checkpoint) {
  return open_common(judge, config, comm, checkpoint);
}

static void close_network(struct judge *judge) {
  network_close(&judge->network);
  if (judge->device.ops)
    judge->device.ops->release(&judge->device, judge->weights, judge->weights_bytes);
  judge->weights = NULL;
}

static enum status run_on(void *context, const int extent[3], const void *const *inputs) {
  struct judge *judge = context;
  if (memcmp(judge->network.extent, extent, sizeof judge->network.extent) != 0) {
    close_network(judge);
    TRY(open_network(judge, extent));
  }
  struct task_network network = network_for_task(&judge->network);
  return network.run(network.context, extent, inputs);
}

static enum status output_of(void *context, const char *name, const void **memory) {
  struct judge *judge = context;
  struct task_network network = network_for_task(&judge->network);
  return network.output(network.context, name, memory);
}

struct task_network judge_network(struct judge *judge) {
  return (struct task_network){.context = judge, .run = run_on, .output = output_of};
}

void judge_close(struct judge *judge) {
  close_network(judge);
  task_close(&judge->task_run);
  device_close(&judge->device);
  free(judge->checkpoint);
  *judge = (struct judge){0};
}
