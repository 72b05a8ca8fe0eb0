/* Rows of logits between tensors and rows of single classes, LOGITS_TURNED floats apart; rows of
 * labels. For _simd.c files. */
#pragma once
#include <string.h>
#include "kernels/common/simd_cells.h"

enum {
  LOGITS_ROW = 64, /* labels of a row in a piece, at most */
  LOGITS_TURNED = LOGITS_ROW + SIMD_WIDTH,
  LOGITS_QUAD = 4,
};
typedef float logits_quad __attribute__((vector_size(4 * LOGITS_QUAD), aligned(4), may_alias));

static inline void logits_turn(logits_quad q[LOGITS_QUAD]) {
  logits_quad a = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
  logits_quad b = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
  logits_quad c = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
  logits_quad d = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
  q[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  q[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  q[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  q[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

#if defined SIMD_ISA_AVX512

/* As logits_turn, in every quarter. */
static inline void logits_turn_quarters(__m512 q[LOGITS_QUAD]) {
  __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(q[0], q[1]));
  __m512d b = _mm512_castps_pd(_mm512_unpacklo_ps(q[2], q[3]));
  __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(q[0], q[1]));
  __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(q[2], q[3]));
  q[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
  q[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
  q[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
  q[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
}

/* Classes k to k + 3 of the first 16 voxels. */
static inline void logits_load_many(const float *from, float *to) {
  __m512 q[LOGITS_QUAD];
  SIMD_UNROLL
  for (int i = 0; i < LOGITS_QUAD; i++, from += CHANNEL_BLOCK) {
    q[i] = _mm512_castps128_ps512(_mm_loadu_ps(from));
    q[i] = _mm512_insertf32x4(q[i], _mm_loadu_ps(from + 4 * CHANNEL_BLOCK), 1);
    q[i] = _mm512_insertf32x4(q[i], _mm_loadu_ps(from + 8 * CHANNEL_BLOCK), 2);
    q[i] = _mm512_insertf32x4(q[i], _mm_loadu_ps(from + 12 * CHANNEL_BLOCK), 3);
  }
  logits_turn_quarters(q);
  SIMD_UNROLL
  for (int i = 0; i < LOGITS_QUAD; i++) _mm512_storeu_ps(to + i * LOGITS_TURNED, q[i]);
}

/* A block of channels of 16 voxels, from their rows. */
static inline void logits_give_many(const float *row, bool add, float *to) {
  __m512 q[LOGITS_QUAD][LOGITS_QUAD];
  SIMD_UNROLL
  for (int k = 0; k < LOGITS_QUAD; k++) {
    SIMD_UNROLL
    for (int i = 0; i < LOGITS_QUAD; i++)
      q[k][i] = _mm512_loadu_ps(row + (LOGITS_QUAD * k + i) * LOGITS_TURNED);
    logits_turn_quarters(q[k]);
  }
  SIMD_UNROLL
  for (int i = 0; i < LOGITS_QUAD; i++) {
    __m512 a = _mm512_shuffle_f32x4(q[0][i], q[1][i], 0x44), b, voxel[LOGITS_QUAD];
    __m512 c = _mm512_shuffle_f32x4(q[0][i], q[1][i], 0xee), d;
    b = _mm512_shuffle_f32x4(q[2][i], q[3][i], 0x44);
    d = _mm512_shuffle_f32x4(q[2][i], q[3][i], 0xee);
    voxel[0] = _mm512_shuffle_f32x4(a, b, 0x88);
    voxel[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
    voxel[2] = _mm512_shuffle_f32x4(c, d, 0x88);
    voxel[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
    SIMD_UNROLL
    for (int k = 0; k < LOGITS_QUAD; k++) {
      float *own = to + (LOGITS_QUAD * k + i) * CHANNEL_BLOCK;
      if (add) voxel[k] = _mm512_add_ps(voxel[k], _mm512_loadu_ps(own));
      _mm512_storeu_ps(own, voxel[k]);
    }
  }
}

#endif

/* Classes k to k + 3 of `count` voxels that are stored in blocks of channels: many voxels at a
 * time, then one by one. */
static inline void logits_load_quads(const float *from, int count, float *to) {
  int v = 0;
#if defined SIMD_ISA_AVX512
  for (; v + SIMD_WIDTH <= count; v += SIMD_WIDTH)
    logits_load_many(from + v * CHANNEL_BLOCK, to + v);
#endif
  for (; v + LOGITS_QUAD <= count; v += LOGITS_QUAD) {
    logits_quad q[LOGITS_QUAD];
    for (int i = 0; i < LOGITS_QUAD; i++)
      q[i] = *(const logits_quad *)(from + (v + i) * CHANNEL_BLOCK);
    logits_turn(q);
    for (int i = 0; i < LOGITS_QUAD; i++) *(logits_quad *)(to + i * LOGITS_TURNED + v) = q[i];
  }
  for (; v < count; v++)
    for (int i = 0; i < LOGITS_QUAD; i++) to[i * LOGITS_TURNED + v] = from[v * CHANNEL_BLOCK + i];
}

/* Channels that are neighbours in memory only along w. */
static inline void logits_load_strided(const float *from, int64_t stride, int count, float *to) {
  if (stride == 1)
    for (int v = 0; v < count; v += SIMD_WIDTH)
      simd_store(to + v, simd_load_lanes(from + v, simd_lanes_until(count - v)));
  else
    for (int v = 0; v < count; v++) to[v] = from[v * stride];
}

/* Gives a block of channels of a row of gradients to dx. */
static inline void logits_give_channels(const float *row, bool add, int count, float *to) {
  int v = 0;
#if defined SIMD_ISA_AVX512
  for (; v + SIMD_WIDTH <= count; v += SIMD_WIDTH)
    if (add)
      logits_give_many(row + v, true, to + v * CHANNEL_BLOCK);
    else
      logits_give_many(row + v, false, to + v * CHANNEL_BLOCK);
#endif
  for (; v < count; v++)
    for (int i = 0; i < CHANNEL_BLOCK; i++) {
      float *own = to + v * CHANNEL_BLOCK + i, value = row[i * LOGITS_TURNED + v];
      *own = add ? *own + value : value;
    }
}

static inline void logits_give_strided(const float *row, bool add, int count, int64_t stride,
                                       float *to) {
  if (stride == 1 && !add)
    memcpy(to, row, sizeof(float) * (size_t)count);
  else
    for (int v = 0; v < count; v++) to[v * stride] = add ? to[v * stride] + row[v] : row[v];
}

/* `count` labels at even places, and as many at odd ones. */
static inline void logits_part_labels(const unsigned char *from, int count, unsigned char *even,
                                      unsigned char *odd) {
  typedef unsigned char bytes __attribute__((vector_size(16), aligned(1), may_alias));
  enum { MANY = sizeof(bytes) };
  int i = 0;
  for (; i + MANY <= count; i += MANY) {
    bytes a = *(const bytes *)(from + 2 * i), b = *(const bytes *)(from + 2 * i + MANY);
    *(bytes *)(even + i) =
        __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *(bytes *)(odd + i) =
        __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  }
  for (; i < count; i++) {
    even[i] = from[2 * i];
    odd[i] = from[2 * i + 1];
  }
}
