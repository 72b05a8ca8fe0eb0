/* All sums of some places and one or two blocks of 16 target channels stay in registers. */
#include "kernels/conv/conv_multiply.h"
#include "kernels/conv/conv_direct.h"

/* Places whose sums, the weights and a value fit the registers, for one block and for two. */
#if defined SIMD_ISA_AVX512
enum { MOST_PLACES = 24, MOST_BLOCKS = 2 };
#elif defined SIMD_ISA_AVX2
enum { MOST_PLACES = 6, MOST_BLOCKS = 1 };
#else
enum { MOST_PLACES = 3, MOST_BLOCKS = 1 };
#endif

/* What is multiplied: from place `place` and block `block` on. */
struct piece {
  const struct conv_product *products;
  int count, place, block;
  float *m;
  size_t m_pitch;
  bool add;
};

typedef simd sums[MOST_BLOCKS][MOST_PLACES][SIMD_PER_BLOCK];

#define INLINE static inline __attribute__((always_inline))

/* Adds the products of one group; places and blocks are constants to the compiler. */
INLINE void add_group(sums sum, const struct conv_product *product, const float *x, const float *w,
                      const int places, const int blocks) {
  for (int c = 0; c < CHANNEL_BLOCK; c++, w += CHANNEL_BLOCK) {
    simd weight[MOST_BLOCKS][SIMD_PER_BLOCK];
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      const float *from = w + product->block_pitch * (size_t)b;
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) weight[b][p] = simd_load(from + p * SIMD_WIDTH);
      __builtin_prefetch(from + product->ahead, 0, 2);
    }
    SIMD_UNROLL
    for (int t = 0; t < places; t++) {
      simd value = simd_all(x[t * CHANNEL_BLOCK + c]);
      SIMD_UNROLL
      for (int b = 0; b < blocks; b++) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][t][p] += value * weight[b][p];
      }
    }
  }
}

INLINE void add_product(sums sum, const struct piece *piece, const struct conv_product *product,
                        const int places, const int blocks) {
  const float *w = product->w + product->block_pitch * (size_t)piece->block;
  const float *x = product->x + piece->place * CHANNEL_BLOCK;
  for (int left = product->groups; left > 0; left--, x += product->group_pitch) {
    add_group(sum, product, x, w, places, blocks);
    w += CHANNEL_BLOCK * CHANNEL_BLOCK;
  }
}

INLINE void multiply(const struct piece *piece, const int places, const int blocks) {
  float *m = piece->m + piece->m_pitch * (size_t)piece->block + piece->place * CHANNEL_BLOCK;
  const size_t m_pitch = piece->m_pitch;
  sums sum;
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < places; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        const float *from = m + m_pitch * (size_t)b + t * CHANNEL_BLOCK + p * SIMD_WIDTH;
        sum[b][t][p] = piece->add ? simd_load(from) : (simd){0};
      }
    }
  }
  for (int i = 0; i < piece->count; i++)
    add_product(sum, piece, &piece->products[i], places, blocks);
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < places; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        simd_store(m + m_pitch * (size_t)b + t * CHANNEL_BLOCK + p * SIMD_WIDTH, sum[b][t][p]);
    }
  }
}

typedef void multiply_function(const struct piece *piece);

/* Widest first. */
#if defined SIMD_ISA_AVX512
#define ONE_BLOCK(DO) DO(24, 1) DO(16, 1) DO(8, 1)
#define TWO_BLOCKS(DO) DO(12, 2) DO(8, 2) DO(4, 2)
#elif defined SIMD_ISA_AVX2
#define ONE_BLOCK(DO) DO(6, 1) DO(3, 1)
#define TWO_BLOCKS(DO)
#else
#define ONE_BLOCK(DO) DO(3, 1)
#define TWO_BLOCKS(DO)
#endif

#define DEFINE(places, blocks)                                          \
  static void multiply_##places##_##blocks(const struct piece *piece) { \
    multiply(piece, places, blocks);                                    \
  }
#define ENTRY(places, blocks) {places, multiply_##places##_##blocks},
ONE_BLOCK(DEFINE)
TWO_BLOCKS(DEFINE)

static const struct width {
  int places;
  multiply_function *multiply;
} widths[][4] = {{ONE_BLOCK(ENTRY)}, {TWO_BLOCKS(ENTRY)}};

static const struct width *find_width(int blocks, int places) {
  const struct width *width = widths[blocks - 1];
  while (width[1].places >= places) width++;
  return width;
}

void SIMD_NAME(conv_multiply)(float *m, size_t m_pitch, const struct conv_product *products,
                              int count, int places, int blocks, bool add) {
  struct piece piece = {products, count, .m = m, .m_pitch = m_pitch, .add = add};
  for (int together; piece.block < blocks; piece.block += together) {
    together = blocks - piece.block < MOST_BLOCKS ? blocks - piece.block : MOST_BLOCKS;
    const struct width *width;
    for (piece.place = 0; piece.place < places; piece.place += width->places) {
      width = find_width(together, places - piece.place);
      width->multiply(&piece);
    }
  }
}
