/* What vectors of labels are compared by: sets of lanes as each instruction set gives them, and the
 * four labels that a lane holds as bytes. */
#pragma once
#include <stdint.h>
#include <string.h>
#include "kernels/common/simd_cells.h"

/* --- sets of lanes, as comparisons give them --- */

#if defined SIMD_ISA_AVX512
typedef __mmask16 set;
static inline set set_of(unsigned lanes) {
  return (set)lanes;
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return (simd)_mm512_mask_mov_ps((__m512)no, lanes, (__m512)yes);
}
static inline simd set_keep(set lanes, simd value) {
  return (simd)_mm512_maskz_mov_ps(lanes, (__m512)value);
}
static inline simd set_add(set lanes, simd to, simd value) {
  return (simd)_mm512_mask_add_ps((__m512)to, lanes, (__m512)to, (__m512)value);
}
static inline unsigned set_lanes(set lanes) {
  return lanes;
}
/* The lanes whose byte of this number is zero. */
static inline set set_zero(simd_int value, int byte) {
  return _mm512_testn_epi32_mask((__m512i)value, _mm512_set1_epi32((int)(0xffU << 8 * byte)));
}
/* Those of `among` whose value is from 0 to `end`. */
static inline set set_below(set among, simd_int value, int end) {
  return _mm512_mask_cmplt_epu32_mask(among, (__m512i)value, _mm512_set1_epi32(end));
}
static inline set set_between(simd value, simd low, simd high) {
  __mmask16 above = _mm512_cmp_ps_mask((__m512)value, (__m512)low, _CMP_GT_OQ);
  return _mm512_mask_cmp_ps_mask(above, (__m512)value, (__m512)high, _CMP_LT_OQ);
}
#else
typedef simd_int set;
static inline set set_of(unsigned lanes) {
  return simd_lanes_mask(lanes);
}
static inline simd set_pick(set lanes, simd yes, simd no) {
  return simd_select(lanes, yes, no);
}
static inline simd set_keep(set lanes, simd value) {
  return (simd)(lanes & (simd_int)value);
}
static inline simd set_add(set lanes, simd to, simd value) {
  return to + set_keep(lanes, value);
}
static inline unsigned set_lanes(set lanes) {
  return simd_lanes_below(~lanes, 1);
}
static inline set set_zero(simd_int value, int byte) {
  return (value & (int)(0xffU << 8 * byte)) == 0;
}
static inline set set_below(set among, simd_int value, int end) {
  return among & (value >= 0) & (value < end);
}
static inline set set_between(simd value, simd low, simd high) {
  return (simd_int)(value > low) & (simd_int)(value < high);
}
#endif

/* --- bytes --- */

static inline simd_int bytes_all(int label) {
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_set1_epi8((char)label);
#elif defined SIMD_ISA_AVX2
  return (simd_int)_mm256_set1_epi8((char)label);
#else
  return (int)((unsigned)label * 0x01010101U) - (simd_int){0};
#endif
}

/* Which bytes of a vector are not `label`. */
static inline uint64_t bytes_unlike(simd_int quad, int label) {
#if defined SIMD_ISA_AVX512
  return _mm512_cmpneq_epi8_mask((__m512i)quad, (__m512i)bytes_all(label));
#elif defined SIMD_ISA_AVX2
  return ~(unsigned)_mm256_movemask_epi8(
      _mm256_cmpeq_epi8((__m256i)quad, _mm256_set1_epi8((char)label)));
#elif defined __x86_64__
  const __m128i alike = _mm_cmpeq_epi8((__m128i)quad, _mm_set1_epi8((char)label));
  return (unsigned)_mm_movemask_epi8(alike) ^ 0xffff;
#else
  const unsigned char *byte = (const unsigned char *)&quad;
  uint64_t unlike = 0;
  for (size_t i = 0; i < sizeof quad; i++) unlike |= (uint64_t)(byte[i] != label) << i;
  return unlike;
#endif
}

/* As many bytes as lanes, of which there are `lanes`. */
#if defined SIMD_ISA_AVX512
typedef __m128i truths;
static inline truths truths_load(const unsigned char *from, unsigned lanes) {
  return _mm_maskz_loadu_epi8((__mmask16)lanes, from);
}
static inline set truths_equal(truths labels, int label) {
  return _mm_cmpeq_epi8_mask(labels, _mm512_castsi512_si128((__m512i)bytes_all(label)));
}
#else
typedef simd_int truths;
static inline truths truths_load(const unsigned char *from, unsigned lanes) {
  unsigned char some[SIMD_WIDTH] = {0};
  if (lanes == SIMD_LANES) return simd_from_bytes(from);
  memcpy(some, from, (size_t)__builtin_popcount(lanes));
  return simd_from_bytes(some);
}
static inline set truths_equal(truths labels, int label) {
  return labels == label;
}
#endif
