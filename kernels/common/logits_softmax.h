/* The softmax of a vector of voxels. For _simd.c files. */
#pragma once
#include "kernels/common/logits_walk.h"
#include "kernels/common/simd_math.h"

/* Of `many` neighbouring vectors of voxels at once, so that none waits for the one before. In
 * vector i probability k is power[i][k] / sum[i]; power[i][k] is 2^below[i][k], and that is (logit
 * k - the largest) / log(2). */
enum { LOGITS_MANY = 2 };
struct logits_softmax {
  simd sum[LOGITS_MANY];
  simd below[LOGITS_MANY][LOGITS_MOST_CLASSES], power[LOGITS_MANY][LOGITS_MOST_CLASSES];
};

/* 2^x of `count` vectors, a constant of at most SIMD_TOGETHER, of numbers up to 127. The polynomial
 * is that of simd_exps. */
static inline __attribute__((always_inline)) void logits_powers(const simd *x, simd *power,
                                                                int count) {
  simd p[SIMD_TOGETHER], f[SIMD_TOGETHER], n[SIMD_TOGETHER];
#if defined SIMD_ISA_AVX512
  SIMD_EACH(k, count)
  n[k] = (simd)_mm512_roundscale_ps((__m512)x[k], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  SIMD_EACH(k, count) f[k] = x[k] - n[k];
#else
  const float magic = 12582912; /* 1.5 * 2^23: adding it rounds to a whole number */
  SIMD_EACH(k, count) n[k] = x[k] + magic;
  SIMD_EACH(k, count) f[k] = x[k] - (n[k] - magic);
#endif
  SIMD_EACH(k, count) p[k] = 1.32647128e-3F * f[k] + 9.67152317e-3F;
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + 5.55073408e-2F;
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + 2.40222426e-1F;
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + 6.93146974e-1F;
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + 1;
#if defined SIMD_ISA_AVX512
  SIMD_EACH(k, count) power[k] = (simd)_mm512_scalef_ps((__m512)p[k], (__m512)n[k]);
#else
  SIMD_EACH(k, count)
  power[k] =
      (simd)((simd_int)(x[k] > -126) & (simd_int)((simd_bits)p[k] + ((simd_bits)n[k] << 23)));
#endif
}

/* Where the label is k. */
static inline simd logits_where(simd_int label, int k, simd yes, simd no) {
#if defined SIMD_ISA_AVX512
  const __mmask16 own = _mm512_cmpeq_epi32_mask((__m512i)label, _mm512_set1_epi32(k));
  return (simd)_mm512_mask_mov_ps((__m512)no, own, (__m512)yes);
#else
  return simd_select(label == k, yes, no);
#endif
}

/* Of the labels from v on of a row; many: a constant. */
static inline __attribute__((always_inline)) void logits_softmax(const struct logits_row *row,
                                                                 int v, int step, int classes,
                                                                 int many,
                                                                 struct logits_softmax *softmax) {
  const float unit = 1.44269504F; /* 1 / log(2) */
  const float *low = row->low + v, *high = row->high + v;
  const simd low_weight = simd_all(unit * row->low_weight);
  const simd high_weight = simd_all(unit * row->high_weight);
  int whole = classes / SIMD_TOGETHER * SIMD_TOGETHER;
  SIMD_EACH(i, many) {
    simd *z = softmax->below[i], largest;
    for (int k = 0; k < classes; k++)
      z[k] = low_weight * simd_load(low + i * SIMD_WIDTH + k * step) +
             high_weight * simd_load(high + i * SIMD_WIDTH + k * step);
    largest = z[0];
    for (int k = 1; k < classes; k++) largest = simd_max(largest, z[k]);
    for (int k = 0; k < classes; k++) z[k] -= largest;
  }
  SIMD_EACH(i, many) {
    for (int k = 0; k < whole; k += SIMD_TOGETHER)
      logits_powers(softmax->below[i] + k, softmax->power[i] + k, SIMD_TOGETHER);
    for (int k = whole; k < classes; k++)
      logits_powers(softmax->below[i] + k, softmax->power[i] + k, 1);
  }
  SIMD_EACH(i, many) {
    softmax->sum[i] = (simd){0};
    for (int k = 0; k < classes; k++) softmax->sum[i] += softmax->power[i][k];
  }
}

/* Calls of(piece, context, classes, many) with a number of classes that a compiler knows where they
 * are few: their vectors are then registers. */
#define LOGITS_OF_CLASSES(of, piece, context)                                  \
  switch ((piece)->step % (LOGITS_MANY * SIMD_WIDTH) ? 0 : (piece)->classes) { \
    case 2:                                                                    \
      of(piece, context, 2, LOGITS_MANY);                                      \
      break;                                                                   \
    case 3:                                                                    \
      of(piece, context, 3, LOGITS_MANY);                                      \
      break;                                                                   \
    case 4:                                                                    \
      of(piece, context, 4, LOGITS_MANY);                                      \
      break;                                                                   \
    case 5:                                                                    \
      of(piece, context, 5, LOGITS_MANY);                                      \
      break;                                                                   \
    default:                                                                   \
      of(piece, context, (piece)->classes, 1);                                 \
  }
