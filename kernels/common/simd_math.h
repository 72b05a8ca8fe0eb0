/* Functions of vectors of floats, a few units in the last place off: exp, log, log(1 + x), and what
 * they are made of. For _simd.c files. */
#pragma once
#include "kernels/common/simd.h"

static inline simd simd_select(simd_int where, simd yes, simd no) {
  return (simd)((where & (simd_int)yes) | (~where & (simd_int)no));
}
static inline simd simd_max(simd a, simd b) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined SIMD_ISA_AVX2
  return (simd)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return simd_select(a > b, a, b);
#endif
}
static inline simd simd_min(simd a, simd b) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined SIMD_ISA_AVX2
  return (simd)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return simd_select(a < b, a, b);
#endif
}
static inline simd simd_abs(simd a) {
  return (simd)((simd_int)a & 0x7fffffff);
}

static inline simd simd_minus_abs(simd a) {
  return (simd)((simd_bits)a | 0x80000000U);
}

/* Bytes as numbers. */
typedef unsigned char simd_bytes __attribute__((vector_size(SIMD_WIDTH), aligned(1), may_alias));
static inline simd_int simd_from_bytes(const unsigned char *from) {
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
#elif defined SIMD_ISA_AVX2
  return (simd_int)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
#else
  return __builtin_convertvector(*(const simd_bytes *)from, simd_int);
#endif
}

/* The lanes in double: halves are added until one is left. */
static inline double simd_total(simd value) {
  double lanes[SIMD_WIDTH];
  for (int lane = 0; lane < SIMD_WIDTH; lane++) lanes[lane] = value[lane];
  SIMD_UNROLL
  for (int half = SIMD_WIDTH / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

/* Of numbers whose reciprocal is a normal one. */
static inline simd simd_reciprocal(simd x) {
#if defined SIMD_ISA_AVX512
  simd y = (simd)_mm512_rcp14_ps((__m512)x);
  return y + y * (1 - x * y);
#else
  return 1 / x;
#endif
}

/* Vectors that are worked on step by step together, so that none waits for the step before. */
enum { SIMD_TOGETHER = 4 };
#define SIMD_EACH(k, count) SIMD_UNROLL for (int k = 0; k < (count); k++)

/* e^x of `count` vectors, a constant of at most SIMD_TOGETHER, as x[k] * power[k], a power of 2; of
 * numbers up to 88 and from -88 on, where it is 0. The polynomial is the best of its degree from
 * -log(2)/2 to log(2)/2; log(2) is in two parts, of which the first has few bits. */
static inline __attribute__((always_inline)) void simd_exp_factors(simd *x, simd *power,
                                                                   int count) {
  const float magic = 12582912 + 127; /* 1.5 * 2^23: adding it rounds; and an exponent's bias */
  simd n[SIMD_TOGETHER], p[SIMD_TOGETHER];
  SIMD_EACH(k, count) power[k] = x[k] * 1.44269504F + magic;
  SIMD_EACH(k, count) n[k] = power[k] - magic;
  SIMD_EACH(k, count) x[k] = x[k] - n[k] * 0.693359375F;
  SIMD_EACH(k, count) x[k] = x[k] + n[k] * 2.12194440e-4F;
  SIMD_EACH(k, count) p[k] = 8.29030573e-3F * x[k] + 4.18979749e-2F;
  SIMD_EACH(k, count) p[k] = p[k] * x[k] + 1.66676372e-1F;
  SIMD_EACH(k, count) p[k] = p[k] * x[k] + 4.99991506e-1F;
  SIMD_EACH(k, count) p[k] = p[k] * x[k] + 9.99999702e-1F;
  SIMD_EACH(k, count) x[k] = p[k] * x[k] + 1;
  SIMD_EACH(k, count) power[k] = (simd)((simd_bits)power[k] << 23);
}

/* e^x of numbers up to 88: 0 below -87.3, where it is no normal number. */
static inline __attribute__((always_inline)) void simd_exps(simd *x, int count) {
  simd_int low[SIMD_TOGETHER];
  simd power[SIMD_TOGETHER];
  SIMD_EACH(k, count) low[k] = x[k] < -87.3F;
  simd_exp_factors(x, power, count);
  SIMD_EACH(k, count) x[k] = (simd)(~low[k] & (simd_int)(x[k] * power[k]));
}
/* As e^88 above 88. */
static inline simd simd_exp(simd x) {
  x = simd_min(simd_all(88), x);
  simd_exps(&x, 1);
  return x;
}

enum { SIMD_POWERS = 5 }; /* vectors of which powers are taken together, at most */

/* Powers of 2 that are normal numbers. Fractions are from 0 to 1 where numbers can be scaled by
 * what is whole below them, else from -1/2 to 1/2; the polynomials are the best of their degree
 * there that are 1 at 0. */
#if defined SIMD_ISA_AVX512
static inline simd simd_fraction(simd below) {
  return (simd)_mm512_reduce_ps((__m512)below, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
/* A power that is no normal number takes processors hundreds of times as long. */
static inline simd simd_scaled(simd p, simd below) {
  return (simd)_mm512_scalef_ps((__m512)p, (__m512)simd_max(simd_all(-126), below));
}
static const float simd_power[] = {6.93151312e-1F, 2.40164450e-1F, 5.57999133e-2F, 9.01703002e-3F,
                                   1.86713021e-3F};
#else
static const float simd_magic = 12582912; /* 1.5 * 2^23: adding it rounds to a whole number */
static inline simd simd_fraction(simd below) {
  return below - (below + simd_magic - simd_magic);
}
static inline simd simd_scaled(simd p, simd below) {
  simd_bits whole = (simd_bits)(below + simd_magic);
  return (simd)((simd_int)(below > -126) & (simd_int)((simd_bits)p + (whole << 23)));
}
static const float simd_power[] = {6.93146974e-1F, 2.40222426e-1F, 5.55073408e-2F, 9.67152317e-3F,
                                   1.32647128e-3F};
#endif

/* 2^below of `count` vectors, a constant of at most SIMD_POWERS. */
static inline __attribute__((always_inline)) void simd_powers(const simd *below, const simd *f,
                                                              int count, simd *power) {
  simd p[SIMD_POWERS];
  SIMD_EACH(k, count) p[k] = simd_power[4] * f[k] + simd_power[3];
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + simd_power[2];
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + simd_power[1];
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + simd_power[0];
  SIMD_EACH(k, count) p[k] = p[k] * f[k] + 1;
  SIMD_EACH(k, count) power[k] = simd_scaled(p[k], below[k]);
}

/* Of normal numbers above 0. Coefficients of S. Moshier's Cephes library (logf),
 * netlib.org/cephes. */
static inline simd simd_log(simd x) {
  simd_int bits = (simd_int)x - 0x3f3504f3; /* sqrt(1/2) */
  simd_int exponent = bits >> 23;
  simd m = (simd)((simd_int)x - (exponent << 23)) - 1, n = __builtin_convertvector(exponent, simd);
  simd p = simd_all(7.0376836292e-2F);
  p = p * m - 1.1514610310e-1F;
  p = p * m + 1.1676998740e-1F;
  p = p * m - 1.2420140846e-1F;
  p = p * m + 1.4249322787e-1F;
  p = p * m - 1.6668057665e-1F;
  p = p * m + 2.0000714765e-1F;
  p = p * m - 2.4999993993e-1F;
  p = p * m + 3.3333331174e-1F;
  simd square = m * m;
  simd y = p * m * square - n * 2.12194440e-4F - 0.5F * square;
  return m + y + n * 0.693359375F;
}

/* log(1 + x) of x from 0 to 1. */
static inline simd simd_log1p(simd x) {
  simd p = simd_all(-3.31847323e-3F);
  p = p * x + 2.02045888e-2F;
  p = p * x - 5.76644503e-2F;
  p = p * x + 1.06805563e-1F;
  p = p * x - 1.53553963e-1F;
  p = p * x + 1.96954012e-1F;
  p = p * x - 2.49585882e-1F;
  p = p * x + 3.33305120e-1F;
  p = p * x - 4.99999315e-1F;
  return x + p * (x * x);
}

/* base^power of a base from 0 on: 0 of 0. */
static inline simd simd_pow(simd base, float power) {
  simd_int none = base < 1.2e-38F;
  simd safe = simd_select(none, simd_all(1), base);
  return simd_select(none, simd_all(0), simd_exp(simd_log(safe) * power));
}

/* 1 / (1 + e^-x), and what it leaves of 1. */
struct simd_chance {
  simd p, rest;
};
static inline __attribute__((always_inline)) void simd_sigmoids(const simd *x,
                                                                struct simd_chance *chance,
                                                                int count) {
  simd small[SIMD_TOGETHER], one[SIMD_TOGETHER];
  SIMD_EACH(k, count) small[k] = simd_minus_abs(x[k]);
  simd_exps(small, count);
  SIMD_EACH(k, count) one[k] = simd_reciprocal(1 + small[k]);
  SIMD_EACH(k, count) small[k] *= one[k];
  SIMD_EACH(k, count) chance[k].p = simd_select(x[k] > 0, one[k], small[k]);
  SIMD_EACH(k, count) chance[k].rest = simd_select(x[k] > 0, small[k], one[k]);
}
static inline struct simd_chance simd_sigmoid(simd x) {
  struct simd_chance chance;
  simd_sigmoids(&x, &chance, 1);
  return chance;
}
