/* What opening and using a data set share. */
#pragma once
#include "data/dataset.h"

struct dataset_map {
  char *path; /* of the mapped file, for messages */
  unsigned char *memory;
  size_t bytes;
  const float *images; /* row 0 */
  const uint8_t *labels;
};

/* Of one subject. */
size_t dataset_count_voxels(const struct dataset *dataset);
