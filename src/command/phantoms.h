/* Phantom subjects on disk, for the phantom command and for configs that make their own data. */
#pragma once
#include "comm/comm.h"
#include "config/config.h"

/* Collective. Writes subjects of config->phantom into directory/images and directory/labels as
 * NAME.nii.gz, each rank its share. */
CHECKED enum status phantoms_write(const struct config *config, struct comm *comm,
                                   const char *directory);

/* Collective. With data.phantom: fills data.source with phantoms if it is missing. Without: does
 * nothing. */
CHECKED enum status phantoms_provide(const struct config *config, struct comm *comm);
