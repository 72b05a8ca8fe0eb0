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
/* What a lane brings: its registers, and where its sums are. `low` is what float32 has beyond TF32.
 */
struct cuda_matrix_operands {
  struct {
    unsigned a[4], b[2];
  } high, low;
  float (*c)[4];
};

/* What multiplies is not watched by sanitizers, being what such a run spends its time in; what
 * calls it is. */
#define CUDA_MATRIX_UNWATCHED __attribute__((no_sanitize("address", "undefined")))

/* The elements of a register: two of 16 bits, or one of TF32. */
CUDA_MATRIX_UNWATCHED static inline void cuda_matrix_decode(__nv_bfloat16, unsigned bits,
                                                            float *to) {
  const unsigned halves[2] = {bits << 16, bits & 0xffff0000U};
  memcpy(to, halves, sizeof halves);
}
CUDA_MATRIX_UNWATCHED static inline void cuda_matrix_decode(__half, unsigned bits, float *to) {
  for (int i = 0; i < 2; i++, bits >>= 16) {
    unsigned rest = (bits & 0x7fff) << 13; /* a float 2^112 times too small */
    memcpy(&to[i], &rest, sizeof rest);
    to[i] *= bits & 0x8000 ? -0x1p112F : 0x1p112F;
    if (rest >= 0x7c00 << 13) to[i] = f16_to_float((uint16_t)bits);
  }
}
CUDA_MATRIX_UNWATCHED static inline void cuda_matrix_decode(float, unsigned bits, float *to) {
  bits &= ~0x1fffU;
  memcpy(to, &bits, sizeof bits);
}

/* The matrices of a warp. */
template <typename T>
struct cuda_matrix_parts {
  enum { EACH = 4 / sizeof(T), DEPTH = 8 * EACH };
  float a[16][DEPTH], b[8][DEPTH];
  template <typename R>
  CUDA_MATRIX_UNWATCHED void set(int lane, const R &registers) {
    int g = lane / 4, t = lane % 4;
    for (int part = 0; part < 2; part++) {
      int k = (4 * part + t) * EACH;
      cuda_matrix_decode(T(), registers.a[2 * part], &a[g][k]);
      cuda_matrix_decode(T(), registers.a[2 * part + 1], &a[g + 8][k]);
      cuda_matrix_decode(T(), registers.b[part], &b[g][k]);
    }
  }
};

/* A row of c, in vectors of the compiler, which would not make them of the sums by itself. */
typedef float cuda_matrix_half __attribute__((vector_size(16)));
typedef cuda_matrix_half cuda_matrix_row[2];

template <int DEPTH>
CUDA_MATRIX_UNWATCHED static void cuda_matrix_add(cuda_matrix_row (&c)[16],
                                                  const float (&a)[16][DEPTH],
                                                  const float (&b)[8][DEPTH]) {
  cuda_matrix_row turned[DEPTH];
  for (int k = 0; k < DEPTH; k++)
    for (int column = 0; column < 8; column++) turned[k][column / 4][column % 4] = b[column][k];
  for (int row = 0; row < 16; row++) {
    cuda_matrix_half left = c[row][0], right = c[row][1];
    for (int k = 0; k < DEPTH; k++) {
      left += a[row][k] * turned[k][0];
      right += a[row][k] * turned[k][1];
    }
    c[row][0] = left;
    c[row][1] = right;
  }
}

/* What the lanes of a warp brought, gathered, multiplied and given back: by the last lane that
 * comes. */
template <typename T, bool SPLIT>
CUDA_MATRIX_UNWATCHED static void cuda_matrix_finish(void *const (&lanes)[warpSize]) {
  struct cuda_matrix_parts<T> high, low;
  cuda_matrix_row c[16];
  for (int lane = 0; lane < warpSize; lane++) {
    const struct cuda_matrix_operands *from = (const struct cuda_matrix_operands *)lanes[lane];
    high.set(lane, from->high);
    if (SPLIT) low.set(lane, from->low);
    for (int i = 0; i < 4; i++)
      c[lane / 4 + i / 2 * 8][lane % 4 / 2][lane % 2 * 2 + i % 2] = (*from->c)[i];
  }
  if (SPLIT) cuda_matrix_add(c, low.a, high.b);
  if (SPLIT) cuda_matrix_add(c, high.a, low.b);
  cuda_matrix_add(c, high.a, high.b);
  for (int lane = 0; lane < warpSize; lane++)
    for (int i = 0; i < 4; i++)
      (*((struct cuda_matrix_operands *)lanes[lane])->c)[i] =
          c[lane / 4 + i / 2 * 8][lane % 4 / 2][lane % 2 * 2 + i % 2];
}

template <typename T, bool SPLIT>
CUDA_MATRIX_UNWATCHED __attribute__((noinline)) static void cuda_matrix_twin(
    struct cuda_matrix_operands mine) {
  cuda_shim_warp_together("mma", &mine, cuda_matrix_finish<T, SPLIT>);
}
#undef CUDA_MATRIX_UNWATCHED
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
#define CUDA_MATRIX_MULTIPLY(type, instruction)                                        \
  template <>                                                                          \
  inline void cuda_matrix_multiply<type>(float(&c)[4], const unsigned(&a)[4],          \
                                         const unsigned(&b)[2]) {                      \
    cuda_matrix_twin<type, false>({{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, {}, &c}); \
  }
#endif
CUDA_MATRIX_MULTIPLY(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
CUDA_MATRIX_MULTIPLY(__nv_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
CUDA_MATRIX_MULTIPLY(__half, "m16n8k16.row.col.f32.f16.f16.f32")
#undef CUDA_MATRIX_MULTIPLY

/* The same of float32 as sums of two TF32 numbers, but for the product of the low ones. */
static __device__ inline void cuda_matrix_multiply_split(float (&c)[4], const unsigned (&a_high)[4],
                                                         const unsigned (&a_low)[4],
                                                         const unsigned (&b_high)[2],
                                                         const unsigned (&b_low)[2]) {
#ifdef __CUDACC__
  cuda_matrix_multiply<float>(c, a_low, b_high);
  cuda_matrix_multiply<float>(c, a_high, b_low);
  cuda_matrix_multiply<float>(c, a_high, b_high);
#else
  cuda_matrix_twin<float, true>(
      {{{a_high[0], a_high[1], a_high[2], a_high[3]}, {b_high[0], b_high[1]}},
       {{a_low[0], a_low[1], a_low[2], a_low[3]}, {b_low[0], b_low[1]}},
       &c});
#endif
}
