/* Volumes to shards by all ranks together. */
#pragma once
#include "comm/comm.h"
#include "config/config.h"

/* Collective. See prepare_run. */
CHECKED enum status preparation_run(const struct config *config, struct comm *comm);

/* Collective. For configs that make their own data (data.phantom): phantoms and shards, as far as
 * they are missing. */
CHECKED enum status preparation_provide(const struct config *config, struct comm *comm);
