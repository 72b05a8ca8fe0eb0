/* Scoring a split in parallel. Rows are gathered in the order of samples, so that means do not
 * depend on ranks. */
#include "train/evaluate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "comm/tree.h"

/* What this rank works with while it scores its share. */
struct scorer {
  const struct task *task;
  struct task_run *task_run;
  struct network *network;
  struct task_network how;
  enum split split;
  bool detailed;
  const struct evaluation_visitor *visitor;
  void *memory; /* one batch of inputs */
};

static enum status score_one(struct scorer *scorer, int64_t index, double *row, char *label) {
  void *inputs[NETWORK_MAX_INPUTS];
  batch_pointers(&scorer->network->batch, scorer->memory, 0, inputs);
  TRY(scorer->task->fill(scorer->task_run, PURPOSE_PREDICTION, scorer->split, 0, index, inputs));
  const void *const *given = (const void *const *)inputs;
  struct task_network network = scorer->how;
  if (!scorer->task->runs_itself) TRY(network.run(network.context, scorer->network->extent, given));
  TRY(scorer->task->score(scorer->task_run, scorer->split, index, scorer->detailed, &network, given,
                          row, label));
  if (!scorer->visitor) return STATUS_OK;
  return scorer->visitor->visit(scorer->visitor->context, index, &network, given);
}

static enum status score_share(struct scorer *scorer, struct slot_range share, int width,
                               double *rows, char *labels) {
  struct device *device = scorer->network->run.device;
  size_t bytes = scorer->network->batch.bytes;
  TRY(device->ops->allocate_host(device, bytes, &scorer->memory));
  enum status status = STATUS_OK;
  for (int i = 0; i < share.count && !status; i++)
    status = score_one(scorer, share.first + i, rows + (size_t)i * (size_t)width,
                       labels + (size_t)i * TASK_LABEL_BYTES);
  device->ops->release_host(device, scorer->memory, bytes);
  return status;
}

/* Collective. Every rank's piece, in rank order, to everybody. `all` has room for the whole. */
static enum status share_bytes(struct comm *comm, const void *mine, size_t bytes, void *all,
                               size_t all_bytes) {
  struct comm_parts parts = {0};
  TRY(comm_gather(comm, mine, bytes, 0, &parts));
  if (comm->rank == 0 && all_bytes) memcpy(all, parts.data, all_bytes);
  comm_parts_free(&parts);
  return comm_broadcast(comm, all, all_bytes, 0);
}

static enum status allocate(struct evaluation *evaluation) {
  size_t count = (size_t)evaluation->count, width = (size_t)evaluation->columns.count;
  evaluation->rows = calloc(count * width + 1, sizeof(double));
  evaluation->labels = calloc(count + 1, TASK_LABEL_BYTES);
  REQUIRE(evaluation->rows && evaluation->labels, STATUS_FAILED, "evaluation: out of memory");
  return STATUS_OK;
}

enum status evaluate_split(struct evaluation *evaluation, struct comm *comm,
                           const struct task *task, struct task_run *task_run,
                           struct network *network, const struct task_network *how,
                           enum split split, bool detailed,
                           const struct evaluation_visitor *visitor) {
  *evaluation = (struct evaluation){.count = (int)task->count(task_run, PURPOSE_PREDICTION, split)};
  enum status mine = task->columns(task_run, detailed, &evaluation->columns);
  if (!mine) mine = allocate(evaluation);
  TRY(comm_agree(comm, mine));
  size_t row = sizeof(double) * (size_t)evaluation->columns.count;
  struct slot_range share = comm_share(evaluation->count, comm->rank, comm->size);
  double *rows = evaluation->rows + (size_t)share.first * (size_t)evaluation->columns.count;
  char *labels = evaluation->labels + (size_t)share.first * TASK_LABEL_BYTES;
  struct scorer scorer = {
      .task = task,
      .task_run = task_run,
      .network = network,
      .how = how ? *how : network_for_task(network),
      .split = split,
      .detailed = detailed,
      .visitor = visitor,
  };
  struct slot_range scored = share;
  if (visitor && comm->rank == 0 && share.count == 0 && evaluation->count > 0)
    scored.count = 1; /* fewer samples than ranks: rank 0 sees the first one all the same */
  mine = score_share(&scorer, scored, evaluation->columns.count, rows, labels);
  TRY(comm_agree(comm, mine));
  TRY(share_bytes(comm, rows, row * (size_t)share.count, evaluation->rows,
                  row * (size_t)evaluation->count));
  return share_bytes(comm, labels, TASK_LABEL_BYTES * (size_t)share.count, evaluation->labels,
                     TASK_LABEL_BYTES * (size_t)evaluation->count);
}

int evaluation_mean(const struct evaluation *evaluation, int column, double *mean,
                    double *deviation) {
  double sum = 0, squares = 0;
  int count = 0;
  for (int i = 0; i < evaluation->count; i++) {
    double value = evaluation->rows[(size_t)i * (size_t)evaluation->columns.count + (size_t)column];
    if (isnan(value)) continue;
    sum += value;
    squares += value * value;
    count++;
  }
  *mean = count ? sum / count : NAN;
  double variance = count ? squares / count - *mean * *mean : NAN;
  *deviation = count ? sqrt(variance > 0 ? variance : 0) : NAN;
  return count;
}

int evaluation_column(const struct evaluation *evaluation, const char *name) {
  for (int i = 0; i < evaluation->columns.count; i++)
    if (strcmp(evaluation->columns.name[i], name) == 0) return i;
  return -1;
}

void evaluation_close(struct evaluation *evaluation) {
  free(evaluation->rows);
  free(evaluation->labels);
  *evaluation = (struct evaluation){0};
}
