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
      for (int i = 0; i < judge->members; i++) free(judge->paths[i]);
      free(judge->paths);
      free(judge->checkpoint);
      judge->checkpoint = checkpoints_last_path(folder);
    }
    free(folder);
  }
  REQUIRE(judge->checkpoint, STATUS_FAILED, "%s: out of memory", judge->config->output.dir);
  return STATUS_OK;
}

static enum status add_path(struct judge *judge, const char *from, size_t bytes) {
  char **longer = realloc(judge->paths, sizeof(char *) * (size_t)(judge->members + 1));
  char *path = strndup(from, bytes);
  if (longer) judge->paths = longer;
  if (!longer || !path) free(path);
  REQUIRE(longer && path, STATUS_FAILED, "%s: out of memory", judge->checkpoint);
  judge->paths[judge->members++] = path;
  REQUIRE(file_exists(path), STATUS_USAGE,
          "%s: expected a checkpoint (train first, or give --checkpoint), found none", path);
  return STATUS_OK;
}

/* What commas separate. */
static enum status split_paths(struct judge *judge) {
  for (const char *from = judge->checkpoint; from;) {
    const char *end = strchr(from, ',');
    TRY(add_path(judge, from, end ? (size_t)(end - from) : strlen(from)));
    from = end ? end + 1 : NULL;
  }
  return STATUS_OK;
}

static enum status allocate_weights(struct judge *judge, float **weights) {
  void *memory;
  TRY(judge->device.ops->allocate(&judge->device, judge->weights_bytes, &memory));
  *weights = memory;
  return STATUS_OK;
}

/* Every member's weights in memory of their own; judge->weights holds those in use. */
static enum status load_members(struct judge *judge) {
  const struct plan *plan = &judge->network.plan;
  TRY(allocate_weights(judge, &judge->weights));
  TRY(weights_load(judge->paths[0], plan, &judge->device, judge->weights));
  if (judge->members == 1) return STATUS_OK;
  judge->member = calloc((size_t)judge->members, sizeof *judge->member);
  REQUIRE(judge->member, STATUS_FAILED, "%s: out of memory", judge->checkpoint);
  for (int i = 0; i < judge->members; i++) {
    TRY(allocate_weights(judge, &judge->member[i]));
    TRY(weights_load(judge->paths[i], plan, &judge->device, judge->member[i]));
  }
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
  TRY(load_members(judge));
  return network_open(&judge->network, &judge->device, NULL, judge->weights, NULL);
}

static enum status open_common(struct judge *judge, const struct config *config, struct comm *comm,
                               const char *checkpoint) {
  *judge = (struct judge){.config = config, .comm = comm};
  TRY(machine_open(&judge->device, config, comm));
  TRY(task_find(config->root.task, &judge->task));
  TRY(choose_checkpoint(judge, checkpoint));
  return split_paths(judge);
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
  for (int i = 0; i < judge->members && judge->member; i++)
    judge->device.ops->release(&judge->device, judge->member[i], judge->weights_bytes);
  if (judge->device.ops)
    judge->device.ops->release(&judge->device, judge->weights, judge->weights_bytes);
  free(judge->member);
  judge->member = NULL;
  judge->weights = NULL;
}

static enum status use_member(void *context, int member) {
  struct judge *judge = context;
  judge->in_use = member;
  if (!judge->member) return STATUS_OK; /* nothing has been run yet, or there is one only */
  struct stream *stream = &judge->network.run.stream;
  return judge->device.ops->copy(stream, judge->weights, judge->member[member],
                                 judge->weights_bytes);
}

static enum status run_on(void *context, const int extent[3], const void *const *inputs) {
  struct judge *judge = context;
  if (memcmp(judge->network.extent, extent, sizeof judge->network.extent) != 0) {
    close_network(judge);
    TRY(open_network(judge, extent));
    TRY(use_member(judge, judge->in_use));
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
  return (struct task_network){.context = judge,
                               .run = run_on,
                               .output = output_of,
                               .members = judge->members,
                               .use = use_member};
}

void judge_close(struct judge *judge) {
  close_network(judge);
  task_close(&judge->task_run);
  device_close(&judge->device);
  for (int i = 0; i < judge->members; i++) free(judge->paths[i]);
  free(judge->paths);
  free(judge->checkpoint);
  *judge = (struct judge){0};
}
