/* All sums of some tiles and one or two blocks of 16 target channels stay in registers. */
#include "kernels/conv/conv_winograd_multiply.h"

/* Tiles whose sums, the weights and a value fit the registers, for one block and for two. */
#if defined SIMD_ISA_AVX512
enum { MOST_TILES = 24, MOST_BLOCKS = 2 };
#elif defined SIMD_ISA_AVX2
enum { MOST_TILES = 6, MOST_BLOCKS = 1 };
#else
enum { MOST_TILES = 3, MOST_BLOCKS = 1 };
#endif

/* What is multiplied: from tile `tile` and block `block` on. */
struct piece {
  float *m;
  size_t m_pitch;
  const struct winograd_product *products;
  int count, tile, block;
  bool add;
};

/* `tiles` and `blocks` are constants to the compiler. */
WINOGRAD_INLINE void multiply(const struct piece *piece, const int tiles, const int blocks) {
  float *m = piece->m + piece->m_pitch * (size_t)piece->block + piece->tile * CHANNEL_BLOCK;
  const size_t m_pitch = piece->m_pitch;
  simd sum[MOST_BLOCKS][MOST_TILES][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tiles; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        const float *from = m + m_pitch * (size_t)b + t * CHANNEL_BLOCK + p * SIMD_WIDTH;
        sum[b][t][p] = piece->add ? simd_load(from) : (simd){0};
      }
    }
  }
  for (int i = 0; i < piece->count; i++) {
    const struct winograd_product *product = &piece->products[i];
    const float *w = product->w + product->block_pitch * (size_t)piece->block;
    const float *x = product->x + piece->tile * CHANNEL_BLOCK;
    for (int group = 0; group < product->groups; group++, x += product->group_pitch) {
      for (int c = 0; c < CHANNEL_BLOCK; c++, w += CHANNEL_BLOCK) {
        simd weight[MOST_BLOCKS][SIMD_PER_BLOCK];
        SIMD_UNROLL
        for (int b = 0; b < blocks; b++) {
          SIMD_UNROLL
          for (int p = 0; p < SIMD_PER_BLOCK; p++)
            weight[b][p] = simd_load(w + product->block_pitch * (size_t)b + p * SIMD_WIDTH);
        }
        SIMD_UNROLL
        for (int t = 0; t < tiles; t++) {
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
    for (int t = 0; t < tiles; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        simd_store(m + m_pitch * (size_t)b + t * CHANNEL_BLOCK + p * SIMD_WIDTH, sum[b][t][p]);
    }
  }
}

typedef void multiply_function(const struct piece *piece);

#define DEFINE(tiles, blocks)                                          \
  static void multiply_##tiles##_##blocks(const struct piece *piece) { \
    multiply(piece, tiles, blocks);                                    \
  }
#define ENTRY(tiles, blocks) {tiles, multiply_##tiles##_##blocks},
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
  int tiles;
  multiply_function *multiply;
} widths[][4] = {{ONE_BLOCK(ENTRY)}, {TWO_BLOCKS(ENTRY)}};

static const struct width *find_width(int blocks, int tiles) {
  const struct width *width = widths[blocks - 1];
  while (width[1].tiles >= tiles) width++;
  return width;
}

void SIMD_NAME(winograd_multiply)(float *m, size_t m_pitch, const struct winograd_product *products,
                                  int count, int tiles, int blocks, bool add) {
  struct piece piece = {m, m_pitch, products, count, .add = add};
  for (int together; piece.block < blocks; piece.block += together) {
    together = blocks - piece.block < MOST_BLOCKS ? blocks - piece.block : MOST_BLOCKS;
    const struct width *width;
    for (piece.tile = 0; piece.tile < tiles; piece.tile += width->tiles) {
      width = find_width(together, tiles - piece.tile);
      width->multiply(&piece);
    }
  }
}
