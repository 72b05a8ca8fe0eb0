/* Vectors of floats for kernels that are written once and compiled for each instruction set: a file
 * named NAME_simd.c is compiled with SIMD_ISA_AVX512, SIMD_ISA_AVX2 and SIMD_ISA_PLAIN, and names
 * what it exports through SIMD_NAME. Such files may contract a*b+c into one fused operation; all
 * others may not. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "device/tensor.h"
#if defined __x86_64__
#include <immintrin.h>
#endif

#if defined SIMD_ISA_AVX512
#define SIMD_SUFFIX avx512
enum { SIMD_WIDTH = 16 };
#elif defined SIMD_ISA_AVX2
#define SIMD_SUFFIX avx2
enum { SIMD_WIDTH = 8 };
#else
#define SIMD_SUFFIX plain
enum { SIMD_WIDTH = 4 };
#endif

#define SIMD_JOIN_(a, b) a##_##b
#define SIMD_JOIN(a, b) SIMD_JOIN_(a, b)
/* conv_direct -> conv_direct_avx512, ... */
#define SIMD_NAME(name) SIMD_JOIN(name, SIMD_SUFFIX)
#define SIMD_STRING_(a) #a
#define SIMD_STRING(a) SIMD_STRING_(a)
/* "direct" -> "direct_avx512", ... */
#define SIMD_LABEL(text) text "_" SIMD_STRING(SIMD_SUFFIX)

/* In front of a loop with a constant number of turns: written out, so that arrays of vectors that
 * it indexes become registers. */
#if defined __clang__
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_UNROLL _Pragma("GCC unroll 64")
#endif

/* How many vectors hold one block of 16 channels. */
enum { SIMD_PER_BLOCK = CHANNEL_BLOCK / SIMD_WIDTH };

/* Aligned to one float: loads and stores may be anywhere. */
typedef float simd __attribute__((vector_size(4 * SIMD_WIDTH), aligned(4), may_alias));
typedef int simd_int __attribute__((vector_size(4 * SIMD_WIDTH), aligned(4), may_alias));
typedef unsigned simd_bits __attribute__((vector_size(4 * SIMD_WIDTH), aligned(4), may_alias));

static inline simd simd_load(const float *from) {
  return *(const simd *)from;
}
static inline void simd_store(float *to, simd value) {
  *(simd *)to = value;
}
static inline simd simd_all(float value) {
  return value - (simd){0};
}

/* *sum += a * b, fused where there is such an operation, in the sum's own register: gcc would take
 * a factor's after its last use, and then copy sums from register to register in each turn of a
 * loop.
 */
static inline __attribute__((always_inline)) void simd_add_product(simd *sum, simd a, simd b) {
#if defined SIMD_ISA_AVX512
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#elif defined SIMD_ISA_AVX2
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
#else
  *sum += a * b;
#endif
}

/* Past the caches: for what is far larger than they are, so that writing need not read first nor
 * drive out what is read again. `to` is aligned to a vector; the thread that wrote calls simd_flush
 * before others read. */
static inline void simd_stream(float *to, simd value) {
#if defined SIMD_ISA_AVX512
  _mm512_stream_ps(to, (__m512)value);
#elif defined SIMD_ISA_AVX2
  _mm256_stream_ps(to, (__m256)value);
#elif defined __x86_64__
  _mm_stream_ps(to, (__m128)value);
#else
  simd_store(to, value);
#endif
}
static inline void simd_flush(void) {
#if defined __x86_64__
  _mm_sfence();
#endif
}
/* Tensors at least this large are written past the caches: no last-level cache that a few cores
 * share holds them until they are read. */
enum { SIMD_STREAM_BYTES = 32 << 20 };

/* Whether this processor runs the instruction set this file is compiled for. */
static inline bool simd_available(void) {
#if defined SIMD_ISA_AVX512
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#elif defined SIMD_ISA_AVX2
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

/* Declares and lists the compilations of a kernel, best first. */
#if defined __x86_64__
#define SIMD_DECLARE_OTHER(type, name) \
  extern const struct type name##_avx512, name##_avx2, name##_plain
#define SIMD_KERNELS(name) &name##_avx512, &name##_avx2, &name##_plain
#else
#define SIMD_DECLARE_OTHER(type, name) extern const struct type name##_plain
#define SIMD_KERNELS(name) &name##_plain
#endif
#define SIMD_DECLARE(name) SIMD_DECLARE_OTHER(kernel, name)

/* The same for a kernel that there is for AVX-512 only; the macro brings its own comma. */
#if defined __x86_64__
#define SIMD_DECLARE_AVX512(name) extern const struct kernel name##_avx512
#define SIMD_AVX512_KERNEL(name) &name##_avx512,
#else
#define SIMD_DECLARE_AVX512(name) struct kernel
#define SIMD_AVX512_KERNEL(name)
#endif
