/* What opening and using a data set share. */
#pragma once
#include "data/dataset.h"
#include "data/shard.h"

struct dataset_map {
  char *path; /* of the mapped file, for messages */
  unsigned char *memory;
  size_t bytes;
  const unsigned char *array[SHARD_MAPPED_COUNT]; /* row 0; NULL: there is none */
  uint16_t *slice_structures;                     /* as in struct shard; owned */
  uint32_t *slice_checksum;
  uint64_t *structure_voxels;
};

/* A subject's values in an array; NULL: there is none. */
const unsigned char *dataset_find_array(const struct dataset *dataset, int subject,
                                        enum shard_array array);

/* Of one subject. */
size_t dataset_array_bytes(const struct dataset *dataset, enum shard_array array);
