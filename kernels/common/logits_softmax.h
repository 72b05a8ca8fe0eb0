/* The softmax of a vector of voxels. For _simd.c files. */
#pragma once
#include "kernels/common/logits_walk.h"
#include "kernels/common/simd_math.h"

/* Probability k is power[k] / sum; power[k] is e^(logit k - largest). */
struct logits_softmax {
  simd largest, sum, power[LOGITS_MOST_CLASSES];
};

static inline __attribute__((always_inline)) void logits_softmax(const struct logits_piece *piece,
                                                                 int v,
                                                                 struct logits_softmax *softmax) {
  const float *z = piece->z + v;
  int classes = piece->classes, whole = classes / SIMD_TOGETHER * SIMD_TOGETHER;
  simd largest = simd_load(z), sum = {0};
  for (int k = 1; k < classes; k++) largest = simd_max(largest, simd_load(z + k * LOGITS_ROOM));
  for (int k = 0; k < classes; k++) softmax->power[k] = simd_load(z + k * LOGITS_ROOM) - largest;
  for (int k = 0; k < whole; k += SIMD_TOGETHER) simd_exps(softmax->power + k, SIMD_TOGETHER);
  for (int k = whole; k < classes; k++) simd_exps(softmax->power + k, 1);
  for (int k = 0; k < classes; k++) sum += softmax->power[k];
  softmax->largest = largest;
  softmax->sum = sum;
}
