/* What classes are called where there is no data set: predict (internal to the task). */
#pragma once
#include "config/config.h"

struct segmentation_names {
  int count;
  char **name; /* of structures 0, 1, ..., or of classes 1, 2, ... */
};

/* data.structures or data.label_names; else label_map.json beside data.shards; else "class_1", ...
 * As many as the config's network has, without the background. STATUS_USAGE when a list has another
 * number, naming it. On failure *names is left zeroed. */
CHECKED enum status segmentation_names_find(const struct config *config,
                                            struct segmentation_names *names);

/* Accepts a zeroed one. */
void segmentation_names_free(struct segmentation_names *names);
