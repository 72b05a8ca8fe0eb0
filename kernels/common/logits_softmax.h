/* The softmax of a vector of voxels. For _simd.c files. */
#pragma once
#include "kernels/common/logits_walk.h"
#include "kernels/common/simd_math.h"

/* Probability k is power[k] / sum; power[k] is e^(logit k - largest). */
struct logits_softmax {
  simd largest, sum, power[LOGITS_MOST_CLASSES];
};

static inline struct logits_softmax logits_softmax(const struct logits_piece *piece, int v) {
  struct logits_softmax softmax;
  const float *z = piece->z + v;
  softmax.largest = simd_load(z);
  softmax.sum = simd_all(0);
  for (int k = 1; k < piece->classes; k++)
    softmax.largest = simd_max(softmax.largest, simd_load(z + k * LOGITS_ROOM));
  for (int k = 0; k < piece->classes; k++) {
    softmax.power[k] = simd_exp(simd_load(z + k * LOGITS_ROOM) - softmax.largest);
    softmax.sum += softmax.power[k];
  }
  return softmax;
}
