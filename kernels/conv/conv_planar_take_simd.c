/* Takes rows of voxels of 16 channels apart into rows of one. */
#include "kernels/conv/conv_planar.h"

enum { PITCH = CONV_PLANAR_PITCH };

/* What is taken from voxel `at` on. */
struct place {
  const float *rows[CONV_PLANAR_TERMS];
  float factor[CONV_PLANAR_TERMS];
};

/* `terms` is a constant to the compiler. */
static inline __attribute__((always_inline)) simd combine(const struct place *place, int at,
                                                          const int terms) {
  simd value = place->factor[0] * simd_load(place->rows[0] + at);
  SIMD_UNROLL
  for (int i = 1; i < terms; i++) value += place->factor[i] * simd_load(place->rows[i] + at);
  return value;
}

/* 16 voxels, zeros from voxel `count` on, which is a constant to the compiler where it is 16, as is
 * `terms`. */
static inline __attribute__((always_inline)) void take_block(float *to, const struct place *place,
                                                             int count, const int terms) {
#if defined SIMD_ISA_AVX512
  simd v[CHANNEL_BLOCK], u[CHANNEL_BLOCK];
  SIMD_UNROLL
  for (int i = 0; i < CHANNEL_BLOCK; i++) {
    v[i] = (simd){0};
    if (i < count) v[i] = combine(place, i * CHANNEL_BLOCK, terms);
  }
#define PAIRS(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#define LOW(x, y) PAIRS(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(x, y) PAIRS(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW_2(x, y) PAIRS(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH_2(x, y) PAIRS(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define EVEN_4(x, y) PAIRS(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_4(x, y) PAIRS(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
  /* u[4 g + k]: channels k, 4 + k, 8 + k and 12 + k of voxels 4 g ... 4 g + 3 */
  SIMD_UNROLL
  for (int g = 0; g < CHANNEL_BLOCK; g += 4) {
    simd low = LOW(v[g], v[g + 1]), low_next = LOW(v[g + 2], v[g + 3]);
    simd high = HIGH(v[g], v[g + 1]), high_next = HIGH(v[g + 2], v[g + 3]);
    u[g] = LOW_2(low, low_next), u[g + 1] = HIGH_2(low, low_next);
    u[g + 2] = LOW_2(high, high_next), u[g + 3] = HIGH_2(high, high_next);
  }
  SIMD_UNROLL
  for (int k = 0; k < 4; k++) {
    simd even = EVEN_4(u[k], u[4 + k]), even_next = EVEN_4(u[8 + k], u[12 + k]);
    simd odd = ODD_4(u[k], u[4 + k]), odd_next = ODD_4(u[8 + k], u[12 + k]);
    simd_store(to + k * PITCH, EVEN_4(even, even_next));
    simd_store(to + (4 + k) * PITCH, EVEN_4(odd, odd_next));
    simd_store(to + (8 + k) * PITCH, ODD_4(even, even_next));
    simd_store(to + (12 + k) * PITCH, ODD_4(odd, odd_next));
  }
#else
  for (int i = 0; i < CHANNEL_BLOCK; i++)
    for (int p = 0; p < CHANNEL_BLOCK; p += SIMD_WIDTH) {
      simd value = {0};
      if (i < count) value = combine(place, i * CHANNEL_BLOCK + p, terms);
      for (int c = 0; c < SIMD_WIDTH; c++) to[(p + c) * PITCH + i] = value[c];
    }
#endif
}

static inline __attribute__((always_inline)) void take(float *to, struct place place, int count,
                                                       const int terms) {
  for (int left = count; left > 0; left -= CHANNEL_BLOCK) {
    if (left >= CHANNEL_BLOCK)
      take_block(to, &place, CHANNEL_BLOCK, terms);
    else
      take_block(to, &place, left, terms);
    to += CHANNEL_BLOCK;
    SIMD_UNROLL
    for (int i = 0; i < terms; i++) place.rows[i] += CHANNEL_BLOCK * CHANNEL_BLOCK;
  }
}

void SIMD_NAME(conv_planar_take)(float *to, const float *const rows[CONV_PLANAR_TERMS],
                                 const struct conv_planar_terms *terms, int count) {
  struct place place;
  for (int i = 0; i < terms->count; i++)
    place.rows[i] = rows[i], place.factor[i] = terms->factor[i];
  if (terms->count == 1) take(to, place, count, 1);
  if (terms->count == 2) take(to, place, count, 2);
  if (terms->count == 3) take(to, place, count, 3);
  if (terms->count == 4) take(to, place, count, 4);
}
