/* The table of tasks, and what opening has in common: the data set and its split. */
#include "task/task.h"
#include <stdlib.h>
#include <string.h>
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
  run->order = malloc(bytes);
  REQUIRE(run->order, STATUS_FAILED, "%s: out of memory", config->data.shards);
  for (int split = 0; split < SPLIT_COUNT; split++) {
    run->subjects[split] = malloc(bytes);
    REQUIRE(run->subjects[split], STATUS_FAILED, "%s: out of memory", config->data.shards);
    run->subject_count[split] =
        dataset_select(&run->dataset, (enum split)split, run->subjects[split]);
  }
  return STATUS_OK;
}

void task_close(struct task_run *run) {
  for (int split = 0; split < SPLIT_COUNT; split++) free(run->subjects[split]);
  free(run->order);
  dataset_close(&run->dataset);
  *run = (struct task_run){0};
}
