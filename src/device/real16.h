/* The 16-bit element types on the host: bfloat16 (the upper half of a float32) and float16 (IEEE
 * 754 binary16). Conversions round to nearest, ties to even; NaN stays NaN, and what is too large
 * for float16 becomes infinity. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float bf16_to_float(uint16_t value) {
  return float_of_bits((uint32_t)value << 16);
}

static inline uint16_t bf16_from_float(float value) {
  uint32_t bits = float_bits(value);
  if (value != value) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float f16_to_float(uint16_t value) {
  uint32_t sign = (uint32_t)(value & 0x8000) << 16, rest = value & 0x7fff;
  if (rest >= 0x7c00) return float_of_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest >= 0x400) return float_of_bits(sign | ((rest << 13) + (112u << 23)));
  float small = (float)rest * 0x1p-24f; /* subnormal: a multiple of 2^-24 */
  return sign ? -small : small;
}

static inline uint16_t f16_from_float(float value) {
  uint32_t bits = float_bits(value), rest = bits & 0x7fffffff;
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 65536 or more */
  if (rest < 0x38800000) /* below 2^-14: the sum's lowest bits are the multiple of 2^-24 */
    return (uint16_t)(sign | (uint16_t)(float_bits(float_of_bits(rest) + 0.5f) - 0x3f000000));
  return (uint16_t)(sign | (uint16_t)((rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13));
}
