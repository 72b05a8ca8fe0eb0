/* What all kernels of dropout share. Also C++, and then for the device, too. */
#pragma once
#include "base/philox.h"
#include "kernels/common/shared.h"
#include "kernels/dropout/dropout.h"

/* One node's arguments, ready to use. */
struct dropout_mask {
  uint32_t number, threshold; /* words below it drop */
  float scale;                /* of what is kept */
};

static inline struct dropout_mask dropout_mask_make(const struct node *node) {
  const struct dropout_arguments *a = (const struct dropout_arguments *)node->arguments;
  struct dropout_mask mask;
  mask.number = a->number;
  mask.threshold = (uint32_t)((double)a->probability * 4294967296.0);
  mask.scale = (float)(1 / (1 - (double)a->probability));
  return mask;
}

/* The words of channels 4*group .. 4*group + 3 of a voxel. */
HOST_DEVICE static inline void dropout_words(const struct dropout_mask *mask, const uint32_t key[2],
                                             uint32_t voxel, uint32_t group, uint32_t word[4]) {
  const uint32_t counter[4] = {voxel, group, mask->number, 0};
  philox_block(counter, key, word);
}
