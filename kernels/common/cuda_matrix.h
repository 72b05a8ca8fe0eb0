/* Tensor cores and copies to shared memory that run beside the arithmetic: the only inline PTX.
 * Each function has a twin for the CPU with the same layout of values over the 32 threads of a
 * warp, all of which must call it together. What the twins cannot show: copies arrive at once, so a
 * missing wait or barrier goes unnoticed; sums are rounded to nearest in the order of k, where
 * tensor cores truncate and choose their order; bank conflicts. */
#pragma once
#include "kernels/common/cuda.h"

/* An address in shared memory. */
#ifdef __CUDACC__
typedef unsigned cuda_shared;
#else
typedef uintptr_t cuda_shared;
#endif

static __device__ inline cuda_shared cuda_shared_of(const void *shared) {
#ifdef __CUDACC__
  return (unsigned)__cvta_generic_to_shared(shared);
#else
  return (uintptr_t)shared;
#endif
}

/* --- copies --- */

/* Starts a copy of 16 aligned bytes to shared memory, or of 16 zeros if !inside (`from` is then not
 * read). Bypasses the first-level cache. */
static __device__ inline void cuda_copy_start(cuda_shared to, const void *from, bool inside) {
#ifdef __CUDACC__
  int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
#else
  if (inside)
    memcpy((void *)to, from, 16);
  else
    memset((void *)to, 0, 16);
#endif
}

/* Closes a group: the copies that this thread has started since the last group. */
static __device__ inline void cuda_copy_close() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until all but the last OPEN groups of this thread have arrived. */
template <int OPEN>
static __device__ inline void cuda_copy_wait() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
#endif
}

/* --- loading fragments --- */

#ifndef __CUDACC__
/* 4 bytes from byte `byte` of row `row` of matrix m. */
static inline unsigned cuda_matrix_peek(int m, int row, int byte) {
  unsigned value;
  memcpy(&value, *(char *const *)cuda_shim_lane(8 * m + row) + byte, 4);
  return value;
}
#endif

/* Four matrices of 8 rows of 16 bytes. Lane 8 m + i gives the address of row i of matrix m. Of
 * matrix m each lane gets bytes 4 (lane % 4) to 4 (lane % 4) + 3 of row lane / 4. */
static __device__ inline void cuda_matrix_load(unsigned (&to)[4], cuda_shared row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
#else
  int lane = cuda_shim_lane_id();
  cuda_shim_warp(0xffffffff, "ldmatrix", &row, sizeof row);
  for (int m = 0; m < 4; m++) to[m] = cuda_matrix_peek(m, lane / 4, lane % 4 * 4);
#endif
}

/* The same for elements of 16 bits, transposed: of matrix m each lane gets element lane / 4 of rows
 * 2 (lane % 4) and 2 (lane % 4) + 1. */
static __device__ inline void cuda_matrix_load_transposed(unsigned (&to)[4], cuda_shared row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
#else
  int lane = cuda_shim_lane_id(), column = lane / 4, shift = column % 2 * 16;
  cuda_shim_warp(0xffffffff, "ldmatrix", &row, sizeof row);
  for (int m = 0; m < 4; m++) {
    unsigned low = cuda_matrix_peek(m, lane % 4 * 2, column / 2 * 4) >> shift;
    unsigned high = cuda_matrix_peek(m, lane % 4 * 2 + 1, column / 2 * 4) >> shift;
    to[m] = (low & 0xffff) | high << 16;
  }
#endif
}

/* --- multiplying --- */

/* A float rounded to TF32 (8 bits of exponent, 10 of fraction), to nearest, ties away from zero. */
static __device__ inline unsigned cuda_matrix_tf32(float value) {
  unsigned bits;
#ifdef __CUDACC__
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
#else
  memcpy(&bits, &value, 4);
  if (value == value) bits = (bits + 0x1000) & ~0x1fffU;
#endif
  return bits;
}

static __device__ inline float cuda_matrix_tf32_float(unsigned bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float value;
  memcpy(&value, &bits, 4);
  return value;
#endif
}

#ifndef __CUDACC__
/* What a lane brings, as float: for its rows of a and its column of b the values of register r from
 * number `each` * r on; and where its sums are. */
struct cuda_matrix_operands {
  float a[4][2], b[2][2], (*c)[4];
};

/* The elements of a register: two of 16 bits, or one of TF32. */
static inline void cuda_matrix_decode(__nv_bfloat16, unsigned bits, float (&to)[2]) {
  to[0] = cuda_matrix_tf32_float(bits << 16);
  to[1] = cuda_matrix_tf32_float(bits & 0xffff0000U);
}
static inline void cuda_matrix_decode(__half, unsigned bits, float (&to)[2]) {
  to[0] = f16_to_float((uint16_t)bits);
  to[1] = f16_to_float((uint16_t)(bits >> 16));
}
static inline void cuda_matrix_decode(float, unsigned bits, float (&to)[2]) {
  to[0] = cuda_matrix_tf32_float(bits & ~0x1fffU);
  to[1] = 0;
}

/* The matrices of a warp, gathered from its lanes, multiplied and given back: by the last lane that
 * comes. Not watched by sanitizers, being what such a run spends its time in. */
template <int EACH>
__attribute__((no_sanitize("address", "undefined"))) static inline void cuda_matrix_finish(
    void *const (&lanes)[warpSize]) {
  float a[16][8 * EACH], b[8 * EACH][8], c[16][8];
  for (int lane = 0; lane < warpSize; lane++) {
    const struct cuda_matrix_operands *from = (const struct cuda_matrix_operands *)lanes[lane];
    int g = lane / 4, t = lane % 4;
    for (int part = 0; part < 2; part++)
      for (int e = 0; e < EACH; e++) {
        int k = (4 * part + t) * EACH + e;
        a[g][k] = from->a[2 * part][e];
        a[g + 8][k] = from->a[2 * part + 1][e];
        b[k][g] = from->b[part][e];
      }
    for (int i = 0; i < 4; i++) c[g + i / 2 * 8][2 * t + i % 2] = (*from->c)[i];
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 8 * EACH; k++)
      for (int column = 0; column < 8; column++) c[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < warpSize; lane++)
    for (int i = 0; i < 4; i++)
      (*((struct cuda_matrix_operands *)lanes[lane])->c)[i] =
          c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

template <typename T>
static inline void cuda_matrix_twin(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct cuda_matrix_operands mine;
  mine.c = &c;
  for (int r = 0; r < 4; r++) cuda_matrix_decode(T(), a[r], mine.a[r]);
  for (int r = 0; r < 2; r++) cuda_matrix_decode(T(), b[r], mine.b[r]);
  cuda_shim_warp_together("mma", &mine, cuda_matrix_finish<(int)(4 / sizeof(T))>);
}
#endif

/* c += a * b for a of 16 rows by b of 8 columns, over 32 bytes of k: 16 elements of 16 bits, or 8
 * of TF32. With g = lane / 4 and t = lane % 4, a lane holds a[0], a[1]: rows g, g + 8 of k's 4
 * bytes number t; a[2], a[3]: of its 4 bytes number t + 4 b[0], b[1]: column g of k's 4 bytes
 * number t, t + 4 c[0], c[1]: row g, columns 2t, 2t + 1; c[2], c[3]: row g + 8 */
template <typename T>
static __device__ inline void cuda_matrix_multiply(float (&c)[4], const unsigned (&a)[4],
                                                   const unsigned (&b)[2]);

#ifdef __CUDACC__
#define CUDA_MATRIX_MULTIPLY(type, instruction)                                          \
  template <>                                                                            \
  __device__ inline void cuda_matrix_multiply<type>(float(&c)[4], const unsigned(&a)[4], \
                                                    const unsigned(&b)[2]) {             \
    asm("mma.sync.aligned." instruction                                                  \
        " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"               \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                 \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));             \
  }
#else
#define CUDA_MATRIX_MULTIPLY(type, instruction)                               \
  template <>                                                                 \
  inline void cuda_matrix_multiply<type>(float(&c)[4], const unsigned(&a)[4], \
                                         const unsigned(&b)[2]) {             \
    cuda_matrix_twin<type>(c, a, b);                                          \
  }
#endif
CUDA_MATRIX_MULTIPLY(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
CUDA_MATRIX_MULTIPLY(__nv_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
CUDA_MATRIX_MULTIPLY(__half, "m16n8k16.row.col.f32.f16.f16.f32")
#undef CUDA_MATRIX_MULTIPLY
