/* The softmax of a vector of voxels. For _simd.c files. */
#pragma once
#include "kernels/common/logits_walk.h"
#include "kernels/common/simd_math.h"

/* Probability k is power[k] / sum; power[k] is 2^below[k], and that is (logit k - the largest) /
 * log(2). */
struct logits_softmax {
  simd sum, power[LOGITS_MOST_CLASSES];
};

/* Before powers are taken: below is a whole number + fraction. One vector is begun between
 * finishing the one before and what is made of that, so that a processor has enough to do that need
 * not wait. */
struct logits_start {
  simd below[LOGITS_MOST_CLASSES], fraction[LOGITS_MOST_CLASSES];
};

/* Where the label is k. */
static inline simd logits_where(simd_int label, int k, simd yes, simd no) {
#if defined SIMD_ISA_AVX512
  const __mmask16 own = _mm512_cmpeq_epi32_mask((__m512i)label, _mm512_set1_epi32(k));
  return (simd)_mm512_mask_mov_ps((__m512)no, own, (__m512)yes);
#else
  return simd_select(label == k, yes, no);
#endif
}

/* Begins the vector `at`, which may be the first one behind the last. */
static inline __attribute__((always_inline)) void logits_begin(const struct logits_piece *piece,
                                                               struct logits_place at, int classes,
                                                               struct logits_start *start) {
  const struct logits_row *row = &piece->rows[at.row];
  const float *near = row->near + at.v, *far = row->far + at.v;
  const int step = piece->step;
  simd *z = start->below;
  if (classes < 1) __builtin_unreachable();
  for (int k = 0; k < classes; k++)
    z[k] = 3 * simd_load(near + k * step) + simd_load(far + k * step);
  simd largest = z[0], other = z[classes > 1];
  for (int k = 2; k < classes; k += 2) largest = simd_max(largest, z[k]);
  for (int k = 3; k < classes; k += 2) other = simd_max(other, z[k]);
  largest = simd_max(largest, other);
  for (int k = 0; k < classes; k++) z[k] -= largest;
  for (int k = 0; k < classes; k++) start->fraction[k] = simd_fraction(z[k]);
}

/* together: a constant. */
static inline __attribute__((always_inline)) void logits_finish(const struct logits_start *start,
                                                                int classes, int together,
                                                                struct logits_softmax *softmax) {
  const int whole = classes / together * together;
  simd *power = softmax->power, sum, rest = {0};
  if (classes < 1) __builtin_unreachable();
  for (int k = 0; k < whole; k += together)
    simd_powers(start->below + k, start->fraction + k, together, power + k);
  for (int k = whole; k < classes; k++)
    simd_powers(start->below + k, start->fraction + k, 1, power + k);
  sum = power[0];
  if (classes > 1) rest = power[1];
  for (int k = 2; k < classes; k += 2) sum += power[k];
  for (int k = 3; k < classes; k += 2) rest += power[k];
  softmax->sum = sum + rest;
}

/* Calls of(piece, context, classes, together, variant) with a number of classes that a compiler
 * knows where they are few: their vectors are then registers. */
#define LOGITS_OF_CLASSES(of, piece, context, variant)              \
  switch ((piece)->classes) {                                       \
    case 2:                                                         \
      of(piece, context, 2, 2, variant);                            \
      break;                                                        \
    case 3:                                                         \
      of(piece, context, 3, 3, variant);                            \
      break;                                                        \
    case 4:                                                         \
      of(piece, context, 4, 4, variant);                            \
      break;                                                        \
    case 5:                                                         \
      of(piece, context, 5, 5, variant);                            \
      break;                                                        \
    default:                                                        \
      of(piece, context, (piece)->classes, SIMD_TOGETHER, variant); \
  }
