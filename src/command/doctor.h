/* The measurement of doctor. */
#pragma once
#include <stdio.h>
#include "comm/comm.h"
#include "config/config.h"

/* Collective. Times the reduction of a config's gradient over the ranks, on the config's device,
 * and has rank 0 print it. */
CHECKED enum status doctor_reduction(const struct config *config, struct comm *comm, FILE *out);
