/* CUDA's vector types and 16-bit element types for the CPU: the same sizes, alignments and names;
 * arithmetic of the 16-bit types is float32's, rounded to nearest even. */
#pragma once
#include <cmath>
#include "device/real16.h"

#define CUDA_SHIM_VECTORS(type, name, align2, align4)             \
  struct name##1 {                                                \
    type x;                                                       \
  };                                                              \
  struct alignas(align2) name##2 {                                \
    type x, y;                                                    \
  };                                                              \
  struct name##3 {                                                \
    type x, y, z;                                                 \
  };                                                              \
  struct alignas(align4) name##4 {                                \
    type x, y, z, w;                                              \
  };                                                              \
  inline name##1 make_##name##1(type x) {                         \
    return {x};                                                   \
  }                                                               \
  inline name##2 make_##name##2(type x, type y) {                 \
    return {x, y};                                                \
  }                                                               \
  inline name##3 make_##name##3(type x, type y, type z) {         \
    return {x, y, z};                                             \
  }                                                               \
  inline name##4 make_##name##4(type x, type y, type z, type w) { \
    return {x, y, z, w};                                          \
  }
CUDA_SHIM_VECTORS(signed char, char, 2, 4)
CUDA_SHIM_VECTORS(unsigned char, uchar, 2, 4)
CUDA_SHIM_VECTORS(short, short, 4, 8)
CUDA_SHIM_VECTORS(unsigned short, ushort, 4, 8)
CUDA_SHIM_VECTORS(int, int, 8, 16)
CUDA_SHIM_VECTORS(unsigned, uint, 8, 16)
CUDA_SHIM_VECTORS(long long, longlong, 16, 16)
CUDA_SHIM_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDA_SHIM_VECTORS(float, float, 8, 16)
CUDA_SHIM_VECTORS(double, double, 16, 16)
#undef CUDA_SHIM_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {
  }
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {
  }
  operator uint3() const {
    return {x, y, z};
  }
};

/* --- bfloat16 and float16 --- */

/* How a type is coded; the types have external linkage, as CUDA's have. */
struct shim_code_bf16 {
  static float decode(uint16_t bits) {
    return bf16_to_float(bits);
  }
  static uint16_t encode(float value) {
    return bf16_from_float(value);
  }
};
struct shim_code_f16 {
  static float decode(uint16_t bits) {
    return f16_to_float(bits);
  }
  static uint16_t encode(float value) {
    return f16_from_float(value);
  }
};

template <typename Code>
struct shim_real16 {
  uint16_t bits;
  shim_real16() = default;
  shim_real16(float value) : bits(Code::encode(value)) {
  }
  shim_real16(double value) : bits(Code::encode((float)value)) {
  }
  shim_real16(int value) : bits(Code::encode((float)value)) {
  }
  operator float() const {
    return Code::decode(bits);
  }
};
using __nv_bfloat16 = shim_real16<shim_code_bf16>;
using __half = shim_real16<shim_code_f16>;
using nv_bfloat16 = __nv_bfloat16;
using half = __half;

template <typename T>
struct alignas(4) shim_pair16 {
  T x, y;
  shim_pair16() = default;
  shim_pair16(T low, T high) : x(low), y(high) {
  }
};
using __nv_bfloat162 = shim_pair16<__nv_bfloat16>;
using __half2 = shim_pair16<__half>;
using nv_bfloat162 = __nv_bfloat162;
using half2 = __half2;

#define CUDA_SHIM_REAL16(type, pair, name)                   \
  inline type __float2##name(float value) {                  \
    return type(value);                                      \
  }                                                          \
  inline type __float2##name##_rn(float value) {             \
    return type(value);                                      \
  }                                                          \
  inline float __##name##2float(type value) {                \
    return value;                                            \
  }                                                          \
  inline pair __float2##name##2_rn(float value) {            \
    return {value, value};                                   \
  }                                                          \
  inline pair __floats2##name##2_rn(float low, float high) { \
    return {low, high};                                      \
  }                                                          \
  inline pair __float22##name##2_rn(float2 value) {          \
    return {value.x, value.y};                               \
  }                                                          \
  inline float2 __##name##22float2(pair value) {             \
    return {value.x, value.y};                               \
  }                                                          \
  inline pair __##name##2##name##2(type value) {             \
    return {value, value};                                   \
  }                                                          \
  inline pair make_##name##2(type low, type high) {          \
    return {low, high};                                      \
  }                                                          \
  inline pair __halves2##name##2(type low, type high) {      \
    return {low, high};                                      \
  }                                                          \
  inline type __low2##name(pair value) {                     \
    return value.x;                                          \
  }                                                          \
  inline type __high2##name(pair value) {                    \
    return value.y;                                          \
  }                                                          \
  inline float __low2float(pair value) {                     \
    return value.x;                                          \
  }                                                          \
  inline float __high2float(pair value) {                    \
    return value.y;                                          \
  }                                                          \
  inline type __ushort_as_##name(unsigned short bits) {      \
    type value;                                              \
    value.bits = bits;                                       \
    return value;                                            \
  }                                                          \
  inline unsigned short __##name##_as_ushort(type value) {   \
    return value.bits;                                       \
  }
CUDA_SHIM_REAL16(__nv_bfloat16, __nv_bfloat162, bfloat16)
CUDA_SHIM_REAL16(__half, __half2, half)
#undef CUDA_SHIM_REAL16

/* One definition for both types: of one value, and of pairs under the name with a 2. */
#define CUDA_SHIM_BINARY(name, expression)                           \
  template <typename Code>                                           \
  shim_real16<Code> name(shim_real16<Code> l, shim_real16<Code> r) { \
    float a = l, b = r;                                              \
    return expression;                                               \
  }                                                                  \
  template <typename T>                                              \
  shim_pair16<T> name##2(shim_pair16<T> l, shim_pair16<T> r) {       \
    return {name(l.x, r.x), name(l.y, r.y)};                         \
  }
CUDA_SHIM_BINARY(__hadd, a + b)
CUDA_SHIM_BINARY(__hsub, a - b)
CUDA_SHIM_BINARY(__hmul, a *b)
CUDA_SHIM_BINARY(__hmax, fmaxf(a, b))
CUDA_SHIM_BINARY(__hmin, fminf(a, b))
#undef CUDA_SHIM_BINARY
template <typename Code>
shim_real16<Code> __hfma(shim_real16<Code> a, shim_real16<Code> b, shim_real16<Code> c) {
  return fmaf(a, b, c);
}
template <typename T>
shim_pair16<T> __hfma2(shim_pair16<T> a, shim_pair16<T> b, shim_pair16<T> c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
