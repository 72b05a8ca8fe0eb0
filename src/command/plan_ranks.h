/* plan: what a step would take on 1, 2, 4, ... ranks. */
#pragma once
#include "command/sketch.h"
#include "comm/comm.h"

/* What the command line says; NULL: nothing. */
struct plan_ranks_words {
  const char *seconds;   /* of forward and backward of one slot */
  const char *measure;   /* how many slots to measure now instead */
  const char *link;      /* a file with the output of bench comm */
  const char *bandwidth; /* GB/s */
  const char *latency;   /* microseconds */
  const char *overhead;  /* microseconds per message */
};

/* Whether a prediction is wanted: there are seconds of a slot, given or to be measured. */
bool plan_ranks_wanted(const struct plan_ranks_words *words);

/* Refuses what cannot be read. */
CHECKED enum status plan_ranks_check(const struct plan_ranks_words *words);

/* Prints the table for 1, 2, 4, ... and `ranks` ranks, and before it what it assumes. */
CHECKED enum status plan_ranks_print(const struct plan_ranks_words *words,
                                     const struct sketch *sketch, const struct config *config,
                                     struct comm *comm, int ranks);
