/* Functions of vectors of floats, a few units in the last place off: exp, log, log(1 + x), and what
 * they are made of. For _simd.c files. */
#pragma once
#include "kernels/common/simd.h"

static inline simd simd_select(simd_int where, simd yes, simd no) {
  return (simd)((where & (simd_int)yes) | (~where & (simd_int)no));
}
static inline simd simd_max(simd a, simd b) {
  return simd_select(a > b, a, b);
}
static inline simd simd_abs(simd a) {
  return (simd)((simd_int)a & 0x7fffffff);
}

/* Bytes as numbers. */
typedef unsigned char simd_bytes __attribute__((vector_size(SIMD_WIDTH), aligned(1), may_alias));
static inline simd_int simd_from_bytes(const unsigned char *from) {
  return __builtin_convertvector(*(const simd_bytes *)from, simd_int);
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

/* Coefficients of S. Moshier's Cephes library (expf, logf), netlib.org/cephes. */

/* 0 below -87.3, where e^x is no normal number; as e^88 above 88. */
static inline simd simd_exp(simd x) {
  const float magic = 12582912; /* 1.5 * 2^23: adding it rounds to a whole number */
  simd_int low = x < -87.3F;
  x = simd_select(x > 88, simd_all(88), simd_select(low, simd_all(-87.3F), x));
  simd rounded = x * 1.44269504088896341F + magic, n = rounded - magic;
  simd r = x - n * 0.693359375F + n * 2.12194440e-4F;
  simd p = simd_all(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1;
  simd_int power = (((simd_int)rounded - 0x4b400000) + 127) << 23;
  return simd_select(low, simd_all(0), p * (simd)power);
}

/* Of normal numbers above 0. */
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

/* log(1 + x) of x from 0 to 1. What 1 + x rounds away is so little that it may be made up for
 * with 1 - x / 2 in place of 1 / (1 + x). */
static inline simd simd_log1p(simd x) {
  simd u = 1 + x;
  return simd_log(u) + (x - (u - 1)) * (1 - 0.5F * x);
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
static inline struct simd_chance simd_sigmoid(simd x) {
  simd small = simd_exp(-simd_abs(x)), one = 1 / (1 + small), other = small * one;
  simd_int above = x > 0;
  return (struct simd_chance){simd_select(above, one, other), simd_select(above, other, one)};
}
