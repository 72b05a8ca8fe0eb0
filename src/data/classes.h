/* Label maps' values and the classes that are made of them. */
#pragma once
#include "config/config.h"
#include "volume/volume.h"

/* data.relabel, then data.labels: values become classes in place. */
void classes_make(const struct config *config, struct volume *label);
