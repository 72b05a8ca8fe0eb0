/* Scores of a whole split: the ranks share the samples, everybody gets all rows in order. */
#pragma once
#include "comm/comm.h"
#include "task/task.h"
#include "train/network.h"

struct evaluation {
  struct task_columns columns;
  int count;    /* samples */
  double *rows; /* [count][columns.count]; NaN where a number does not exist */
  char *labels; /* [count][TASK_LABEL_BYTES] */
};

/* Called after each own sample, with the inputs still bound: to draw one. May be NULL. */
struct evaluation_visitor {
  enum status (*visit)(void *context, int64_t index, const struct task_network *network,
                       const void *const *inputs);
  void *context;
};

/* Collective. `network` is planned for predictions, one sample a batch, and open; `how`: how tasks
 * run it (NULL: as it is). */
CHECKED enum status evaluate_split(struct evaluation *evaluation, struct comm *comm,
                                   const struct task *task, struct task_run *task_run,
                                   struct network *network, const struct task_network *how,
                                   enum split split, bool detailed,
                                   const struct evaluation_visitor *visitor);

/* Mean and deviation (of the population) of a column over the rows where it is a number; returns
 * how many. */
int evaluation_mean(const struct evaluation *evaluation, int column, double *mean,
                    double *deviation);

/* The column called `name`, -1 when there is none. */
int evaluation_column(const struct evaluation *evaluation, const char *name);

/* Accepts a zeroed one. */
void evaluation_close(struct evaluation *evaluation);
