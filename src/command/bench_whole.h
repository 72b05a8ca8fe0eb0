/* bench: whole steps of training, as a rank of several makes them. */
#pragma once
#include <jansson.h>
#include "comm/comm.h"
#include "config/config.h"
#include "graph/run.h"

/* What there is to do, and on what. */
struct bench_whole {
  const struct config *config;
  struct comm *comm;
  struct run *run;
  float *gradients;
  enum status (*slot)(void *context, const struct run_hooks *hooks); /* forward and backward */
  enum status (*update)(void *context);
  void *context;
};

/* Collective. Times `steps` steps of all slots of the config: every own slot, the gradients' sums
 * over all of them meanwhile, losses, agreement, norm, update. *result: ranks, slots, median and
 * least seconds of the slowest rank, samples per second, and the processor's time per step of the
 * busiest rank, which others on the machine do not change much. */
CHECKED enum status bench_whole(const struct bench_whole *whole, int steps, json_t **result);
