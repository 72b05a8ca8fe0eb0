/* Reading a shard's arrays. Private to the reading of shards. */
#pragma once
#include "data/shard_fields.h"

/* Fills subject_count, channels, extent, has_labels, compressed, structure_count, structures,
 * counted, and where the mapped arrays lie, after checking their types, shapes and places. */
CHECKED enum status shard_find_arrays(struct shard *shard, struct h5_file *file);

/* Reads what is known per slice and structure. */
CHECKED enum status shard_read_masks(struct shard *shard, struct h5_file *file);
