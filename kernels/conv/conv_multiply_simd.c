/* All sums of some places and one or two blocks of 16 target channels stay in registers. */
#include "kernels/conv/conv_multiply.h"

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
  float *m;
  size_t m_pitch;
  const struct conv_product *products;
  int count, place, block;
  bool add;
};

/* `places` and `blocks` are constants to the compiler. */
static inline __attribute__((always_inline)) void multiply(const struct piece *piece,
                                                           const int places, const int blocks) {
  float *m = piece->m + piece->m_pitch * (size_t)piece->block + piece->place * CHANNEL_BLOCK;
  const size_t m_pitch = piece->m_pitch;
  simd sum[MOST_BLOCKS][MOST_PLACES][SIMD_PER_BLOCK];
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
  for (int i = 0; i < piece->count; i++) {
    const struct conv_product *product = &piece->products[i];
    const float *w = product->w + product->block_pitch * (size_t)piece->block;
    const size_t ahead = product->ahead;
    const float *x = product->x + piece->place * CHANNEL_BLOCK;
    for (int group = 0; group < product->groups; group++, x += product->group_pitch) {
      for (int c = 0; c < CHANNEL_BLOCK; c++, w += CHANNEL_BLOCK) {
        simd weight[MOST_BLOCKS][SIMD_PER_BLOCK];
        SIMD_UNROLL
        for (int b = 0; b < blocks; b++) {
          SIMD_UNROLL
          for (int p = 0; p < SIMD_PER_BLOCK; p++)
            weight[b][p] = simd_load(w + product->block_pitch * (size_t)b + p * SIMD_WIDTH);
          __builtin_prefetch(w + product->block_pitch * (size_t)b + ahead, 0, 2);
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
  }
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

#define DEFINE(places, blocks)                                          \
  static void multiply_##places##_##blocks(const struct piece *piece) { \
    multiply(piece, places, blocks);                                    \
  }
#define ENTRY(places, blocks) {places, multiply_##places##_##blocks},
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
ONE_BLOCK(DEFINE)
TWO_BLOCKS(DEFINE)

/* Widest first. */
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
  struct piece piece = {m, m_pitch, products, count, .add = add};
  for (int together; piece.block < blocks; piece.block += together) {
    together = blocks - piece.block < MOST_BLOCKS ? blocks - piece.block : MOST_BLOCKS;
    const struct width *width;
    for (piece.place = 0; piece.place < places; piece.place += width->places) {
      width = find_width(together, places - piece.place);
      width->multiply(&piece);
    }
  }
}
