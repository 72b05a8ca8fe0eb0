/* The table of tasks, and what opening has in common: the data set and its split. */
#include "task/task.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "data/order.h"
#include "task/common.h"

#define TASK(name) extern const struct task task_##name;
#include "task/tasks.def"
#undef TASK

const struct task *const tasks[] = {
#define TASK(name) &task_##name,
#include "task/tasks.def"
#undef TASK
    NULL};

enum status task_find(const char *name, const struct task **task) {
  for (int i = 0; tasks[i]; i++) {
    if (strcmp(tasks[i]->name, name) != 0) continue;
    *task = tasks[i];
    return STATUS_OK;
  }
  FAIL(STATUS_USAGE, "task: there is no \"%s\" in this build; see --list", name);
}

enum status task_open_dataset(struct task_run *run, const struct config *config) {
  *run = (struct task_run){.config = config, .atlas = -1};
  TRY(dataset_open(&run->dataset, config->data.shards, config->data.cache));
  size_t bytes = sizeof(int) * (size_t)(run->dataset.subject_count + 1);
  TRY(task_reserve_order(run, run->dataset.subject_count + 1));
  for (int split = 0; split < SPLIT_COUNT; split++) {
    run->subjects[split] = malloc(bytes);
    REQUIRE(run->subjects[split], STATUS_FAILED, "%s: out of memory", config->data.shards);
    run->subject_count[split] =
        dataset_select(&run->dataset, (enum split)split, run->subjects[split]);
  }
  return STATUS_OK;
}

static size_t voxels_of(const struct dataset *dataset) {
  const int *extent = dataset->extent;
  return (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
}

static enum status put(struct task_run *run, enum purpose purpose, int subject, const void *volume,
                       size_t bytes, void *const *inputs, int input) {
  bool keeps = run->kept && purpose == PURPOSE_TRAINING;
  if (!keeps) dataset_map_pages(volume, bytes);
  TRY(dataset_verify(&run->dataset, subject));
  if (keeps) run->kept[input] = subject;
  if (keeps) return STATUS_OK;
  memcpy(inputs[input], volume, bytes);
  return STATUS_OK;
}

enum status task_put_image(struct task_run *run, enum purpose purpose, int subject,
                           void *const *inputs, int input) {
  size_t bytes = voxels_of(&run->dataset) * (size_t)run->dataset.channels * sizeof(float);
  return put(run, purpose, subject, dataset_image(&run->dataset, subject), bytes, inputs, input);
}

enum status task_put_labels(struct task_run *run, enum purpose purpose, int subject,
                            void *const *inputs, int input) {
  size_t bytes = voxels_of(&run->dataset);
  return put(run, purpose, subject, dataset_label(&run->dataset, subject), bytes, inputs, input);
}

enum status task_reserve_order(struct task_run *run, int64_t samples) {
  REQUIRE(samples <= INT_MAX, STATUS_USAGE, "expected at most %d samples in an epoch, found %lld",
          INT_MAX, (long long)samples);
  int *order = realloc(run->order, sizeof(int) * (size_t)samples);
  REQUIRE(order, STATUS_FAILED, "%s: out of memory", run->config->data.shards);
  run->order = order;
  return STATUS_OK;
}

int task_shuffle(struct task_run *run, int64_t *epoch, int64_t index, int samples) {
  *epoch += index / samples;
  if (run->order_epoch != *epoch + 1) {
    order_epoch((uint64_t)run->config->root.seed, *epoch, samples, run->order);
    run->order_epoch = *epoch + 1;
  }
  return run->order[index % samples];
}

void task_close(struct task_run *run) {
  for (int split = 0; split < SPLIT_COUNT; split++) free(run->subjects[split]);
  free(run->order);
  if (run->own) run->close_own(run->own);
  dataset_close(&run->dataset);
  *run = (struct task_run){0};
}
