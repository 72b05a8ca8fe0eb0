/* What tasks share. */
#pragma once
#include "task/task.h"

/* Opens data.shards and sorts its subjects into splits. On failure the caller closes with
 * task_close. */
CHECKED enum status task_open_dataset(struct task_run *run, const struct config *config);
