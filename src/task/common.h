/* What tasks share. */
#pragma once
#include "task/task.h"

/* Opens data.shards and sorts its subjects into splits. On failure the caller closes with
 * task_close. */
CHECKED enum status task_open_dataset(struct task_run *run, const struct config *config);

/* Part of fill: input `input` is a subject's stored image, or label map. Checks its checksum the
 * first time and copies it, unless the device keeps it. */
CHECKED enum status task_put_image(struct task_run *run, enum purpose purpose, int subject,
                                   void *const *inputs, int input);
CHECKED enum status task_put_labels(struct task_run *run, enum purpose purpose, int subject,
                                    void *const *inputs, int input);

/* Makes room for epochs of so many samples in task_shuffle. */
CHECKED enum status task_reserve_order(struct task_run *run, int64_t samples);

/* Where sample `index` of a training epoch of `samples` falls in its shuffled order. A slot that is
 * filled up beyond the epoch borrows from the next one, which *epoch then is. The order is kept
 * until another epoch is asked for. */
int task_shuffle(struct task_run *run, int64_t *epoch, int64_t index, int samples);
