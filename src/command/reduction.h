/* How fast gradients travel: the tree of training, timed. */
#pragma once
#include <stdio.h>
#include "comm/tree.h"
#include "config/config.h"
#include "graph/run.h"

enum { REDUCTION_ROUNDS = 20 };

/* Collective. Opens a tree for `count` floats as the config says, but with so many slots. */
CHECKED enum status reduction_open(struct tree *tree, struct comm *comm, struct device *device,
                                   const struct config *config, int slots, int64_t count);

/* Collective. The median time, of the slowest rank, from when the last slot's gradients are there
 * to when the total is. block: the tree's count of floats on the device. */
CHECKED enum status reduction_alone(struct tree *tree, struct stream *stream, float *block,
                                    double *seconds);

/* Collective. The median time of forward and backward of one slot on each rank, the slowest's; with
 * the tree (one slot per rank), gradients travel meanwhile, and the total is waited for. tree may
 * be NULL. */
CHECKED enum status reduction_beside(struct tree *tree, struct comm *comm, struct run *run,
                                     float *gradients, double *seconds);

/* Collective. Times the reduction of a config's gradient over the ranks, on the config's device,
 * and has rank 0 print it. */
CHECKED enum status reduction_report(const struct config *config, struct comm *comm, FILE *out);
