/* Rows of images as vectors of doubles, and sums over the windows of a row. */
#pragma once
#include <string.h>
#include "kernels/common/simd_cells.h"

#define LNCC_INLINE static inline __attribute__((always_inline))

enum { DOUBLES = SIMD_WIDTH / 2, USUAL_WINDOW = 9 };

/* Columns w to w + DOUBLES - 1 of a row, and which of them it has, as a set of bits. */
struct columns {
  int w;
  unsigned lanes;
};

enum { ALL_DOUBLES = (1 << DOUBLES) - 1 };

LNCC_INLINE struct columns columns_at(int w, int width) {
  unsigned lanes = ALL_DOUBLES;
  if (w < 0) lanes = w > -DOUBLES ? lanes >> -w << -w : 0;
  if (w + DOUBLES > width) lanes &= w < width ? (1U << (width - w)) - 1 : 0;
  return (struct columns){w, lanes};
}

/* The others are 0 and not read. */
LNCC_INLINE simd_half row_load(const float *row, struct columns at) {
#if defined SIMD_ISA_AVX512
  const __mmask8 lanes = (__mmask8)at.lanes;
  if (at.lanes == ALL_DOUBLES) return (simd_half)_mm512_cvtps_pd(_mm256_loadu_ps(row + at.w));
  return (simd_half)_mm512_maskz_cvtps_pd(lanes, _mm256_maskz_loadu_ps(lanes, row + at.w));
#else
  simd_half_float value = {0};
  if (at.lanes == ALL_DOUBLES)
    value = *(const simd_half_float *)(row + at.w);
  else
    for (int i = 0; i < DOUBLES; i++)
      if (at.lanes >> i & 1) value[i] = row[at.w + i];
  return __builtin_convertvector(value, simd_half);
#endif
}

LNCC_INLINE void row_store(float *row, struct columns at, simd_half value) {
#if defined SIMD_ISA_AVX512
  const __m256 narrow = _mm512_cvtpd_ps((__m512d)value);
  if (at.lanes == ALL_DOUBLES)
    _mm256_storeu_ps(row + at.w, narrow);
  else
    _mm256_mask_storeu_ps(row + at.w, (__mmask8)at.lanes, narrow);
#else
  const simd_half_float narrow = __builtin_convertvector(value, simd_half_float);
  if (at.lanes == ALL_DOUBLES)
    *(simd_half_float *)(row + at.w) = narrow;
  else
    for (int i = 0; i < DOUBLES; i++)
      if (at.lanes >> i & 1) row[at.w + i] = narrow[i];
#endif
}

/* The lanes `by` (a constant) after those of v[0], of a row of vectors. */
LNCC_INLINE simd_half lanes_after(const simd_half *v, int by) {
  const simd_half here = v[by / DOUBLES];
  if (by % DOUBLES == 0) return here;
  const simd_half next = v[by / DOUBLES + 1];
#if defined SIMD_ISA_AVX512
  switch (by % DOUBLES) {
    case 1:
      return (simd_half)_mm512_alignr_epi64((__m512i)next, (__m512i)here, 1);
    case 2:
      return (simd_half)_mm512_alignr_epi64((__m512i)next, (__m512i)here, 2);
    default:
      return (simd_half)_mm512_alignr_epi64((__m512i)next, (__m512i)here, 4);
  }
#elif defined SIMD_ISA_AVX2
  if (by % DOUBLES == 1) return __builtin_shufflevector(here, next, 1, 2, 3, 4);
  return __builtin_shufflevector(here, next, 2, 3, 4, 5);
#else
  return __builtin_shufflevector(here, next, 1, 2);
#endif
}

/* Sums of 1, 2 and 4 voxels from each of a vector on, and of the vectors after it. */
struct neighbours {
  simd_half one[USUAL_WINDOW / DOUBLES + 2], two[4], four[4];
};

/* Goes on to the vector before; returns the sums over the usual window. */
LNCC_INLINE simd_half window_before(struct neighbours *sum, simd_half value) {
  SIMD_UNROLL
  for (int k = USUAL_WINDOW / DOUBLES; k >= 0; k--) sum->one[k + 1] = sum->one[k];
  SIMD_UNROLL
  for (int k = 2; k >= 0; k--) {
    sum->two[k + 1] = sum->two[k];
    sum->four[k + 1] = sum->four[k];
  }
  sum->one[0] = value;
  sum->two[0] = value + lanes_after(sum->one, 1);
  sum->four[0] = sum->two[0] + lanes_after(sum->two, 2);
  return sum->four[0] + lanes_after(sum->four, 4) + lanes_after(sum->one, 8);
}
