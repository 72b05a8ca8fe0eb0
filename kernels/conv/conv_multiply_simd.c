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
  /* conv_multiply */
  float *m;
  size_t m_pitch;
  bool add;
  const struct conv_voxels *voxels; /* conv_multiply_voxels */
};

/* Whose sums are in registers. All are constants to the compiler; step: of places, in blocks;
 * 0: the places of conv_multiply, which has nothing to skip. */
struct tile {
  int places, blocks, step;
};

typedef simd sums[MOST_BLOCKS][MOST_PLACES][SIMD_PER_BLOCK];

#define INLINE static inline __attribute__((always_inline))

/* Asks for the lines of some places of x while channel c is multiplied: a few at a time, since many
 * at once would have to wait for memory. */
INLINE void ask(const struct tile tile, const float *x, int c) {
  const int step = (tile.step > 1 ? tile.step : 1) * CHANNEL_BLOCK;
  SIMD_UNROLL
  for (int t = 0; t < tile.places; t += CHANNEL_BLOCK) __builtin_prefetch(x + (t + c) * step);
}

/* Adds the products of one group with `channels` channels. `ahead`: from w, or where there is a
 * step from x, to what is asked for. */
INLINE void add_group(sums sum, const struct tile tile, const float *x, const float *w,
                      size_t block_pitch, size_t ahead, int channels) {
  const int step = (tile.step > 1 ? tile.step : 1) * CHANNEL_BLOCK;
  for (int c = 0; c < channels; c++, w += CHANNEL_BLOCK) {
    simd weight[MOST_BLOCKS][SIMD_PER_BLOCK];
    SIMD_UNROLL
    for (int b = 0; b < tile.blocks; b++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++)
        weight[b][p] = simd_load(w + block_pitch * (size_t)b + p * SIMD_WIDTH);
      if (tile.step == 0) __builtin_prefetch(w + block_pitch * (size_t)b + ahead, 0, 2);
    }
    if (tile.step > 0) ask(tile, x + ahead, c);
    SIMD_UNROLL
    for (int t = 0; t < tile.places; t++) {
      simd value = simd_all(x[t * step + c]);
      SIMD_UNROLL
      for (int b = 0; b < tile.blocks; b++) {
        SIMD_UNROLL
        for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][t][p] += value * weight[b][p];
      }
    }
  }
}

INLINE void add_product(sums sum, const struct tile tile, const struct piece *piece,
                        const struct conv_product *product) {
  const int step = (tile.step > 1 ? tile.step : 1) * CHANNEL_BLOCK;
  const float *w = product->w + product->block_pitch * (size_t)piece->block;
  const float *x = product->x + (ptrdiff_t)piece->place * step;
  for (int left = product->groups; left > 0; left--, x += product->group_pitch) {
    if (tile.step > 0) {
      int channels = left > 1 ? CHANNEL_BLOCK : CHANNEL_BLOCK - product->idle;
      add_group(sum, tile, x, w, product->block_pitch, product->x_ahead, channels);
      for (int c = channels; c < CHANNEL_BLOCK; c++) ask(tile, x + product->x_ahead, c);
      w += product->skip;
    } else {
      add_group(sum, tile, x, w, product->block_pitch, product->ahead, CHANNEL_BLOCK);
    }
    w += CHANNEL_BLOCK * CHANNEL_BLOCK;
  }
}

INLINE void multiply(const struct piece *piece, const int places, const int blocks) {
  const struct tile tile = {places, blocks, 0};
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
  for (int i = 0; i < piece->count; i++) add_product(sum, tile, piece, &piece->products[i]);
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

/* One voxel's address after the other: gcc would find all of them first, for want of registers in
 * vectors. */
#define NEXT_VOXEL(address, step) \
  do {                            \
    (address) += (step);          \
    __asm__("" : "+r"(address));  \
  } while (0)

INLINE void load_voxels(sums sum, const struct tile tile, const struct conv_voxels *voxels,
                        const float *y) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    const float *from = y + voxels->pitch * (size_t)b;
    SIMD_UNROLL
    for (int t = 0; t < tile.places; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][t][p] = simd_load(from + p * SIMD_WIDTH);
      NEXT_VOXEL(from, voxels->step);
    }
  }
}

INLINE void start_voxels(sums sum, const struct tile tile, const struct conv_voxels *voxels,
                         int block) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++) {
      simd bias = {0};
      if (voxels->bias)
        bias = simd_load(voxels->bias + (block + b) * CHANNEL_BLOCK + p * SIMD_WIDTH);
      SIMD_UNROLL
      for (int t = 0; t < tile.places; t++) sum[b][t][p] = bias;
    }
  }
}

INLINE void store_voxels(sums sum, const struct tile tile, const struct conv_voxels *voxels,
                         float *y, const bool stream) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    float *to = y + voxels->pitch * (size_t)b;
    SIMD_UNROLL
    for (int t = 0; t < tile.places; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        if (stream)
          simd_stream(to + p * SIMD_WIDTH, sum[b][t][p]);
        else
          simd_store(to + p * SIMD_WIDTH, sum[b][t][p]);
      }
      NEXT_VOXEL(to, voxels->step);
    }
  }
}

INLINE void activate(sums sum, const struct tile tile, float slope) {
  SIMD_UNROLL
  for (int b = 0; b < tile.blocks; b++) {
    SIMD_UNROLL
    for (int t = 0; t < tile.places; t++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) sum[b][t][p] = conv_leaky(sum[b][t][p], slope);
    }
  }
}

INLINE void multiply_voxels(const struct piece *piece, const struct tile tile) {
  const struct conv_voxels *voxels = piece->voxels;
  float *y = voxels->y + voxels->pitch * (size_t)piece->block + voxels->step * (size_t)piece->place;
  sums sum;
  if (voxels->add)
    load_voxels(sum, tile, voxels, y);
  else
    start_voxels(sum, tile, voxels, piece->block);
  for (int i = 0; i < piece->count; i++) add_product(sum, tile, piece, &piece->products[i]);
  if (voxels->slope != 1) activate(sum, tile, voxels->slope);
  if (voxels->stream)
    store_voxels(sum, tile, voxels, y, true);
  else
    store_voxels(sum, tile, voxels, y, false);
}

typedef void multiply_function(const struct piece *piece);

/* Widest first. Widths of voxels end with 1, lest others be touched. */
#if defined SIMD_ISA_AVX512
#define ONE_BLOCK(DO) DO(24, 1) DO(16, 1) DO(8, 1)
#define TWO_BLOCKS(DO) DO(12, 2) DO(8, 2) DO(4, 2)
#define ONE_BLOCK_OF_VOXELS(DO, step) DO(24, 1, step) DO(8, 1, step) DO(1, 1, step)
#define TWO_BLOCKS_OF_VOXELS(DO, step) DO(12, 2, step) DO(8, 2, step) DO(4, 2, step) DO(1, 2, step)
#elif defined SIMD_ISA_AVX2
#define ONE_BLOCK(DO) DO(6, 1) DO(3, 1)
#define TWO_BLOCKS(DO)
#define ONE_BLOCK_OF_VOXELS(DO, step) DO(6, 1, step) DO(3, 1, step) DO(1, 1, step)
#define TWO_BLOCKS_OF_VOXELS(DO, step)
#else
#define ONE_BLOCK(DO) DO(3, 1)
#define TWO_BLOCKS(DO)
#define ONE_BLOCK_OF_VOXELS(DO, step) DO(3, 1, step) DO(1, 1, step)
#define TWO_BLOCKS_OF_VOXELS(DO, step)
#endif

#define DEFINE(places, blocks)                                          \
  static void multiply_##places##_##blocks(const struct piece *piece) { \
    multiply(piece, places, blocks);                                    \
  }
#define ENTRY(places, blocks) {places, multiply_##places##_##blocks},
ONE_BLOCK(DEFINE)
TWO_BLOCKS(DEFINE)

#define DEFINE_VOXELS(places, blocks, step)                                    \
  static void voxels_##places##_##blocks##_##step(const struct piece *piece) { \
    multiply_voxels(piece, (struct tile){places, blocks, step});               \
  }
#define ENTRY_VOXELS(places, blocks, step) {places, voxels_##places##_##blocks##_##step},
ONE_BLOCK_OF_VOXELS(DEFINE_VOXELS, 1)
ONE_BLOCK_OF_VOXELS(DEFINE_VOXELS, 2)
TWO_BLOCKS_OF_VOXELS(DEFINE_VOXELS, 1)
TWO_BLOCKS_OF_VOXELS(DEFINE_VOXELS, 2)

static const struct width {
  int places;
  multiply_function *multiply;
} widths[][4] = {{ONE_BLOCK(ENTRY)}, {TWO_BLOCKS(ENTRY)}},
  voxel_widths[][2][5] = {
      {{ONE_BLOCK_OF_VOXELS(ENTRY_VOXELS, 1)}, {ONE_BLOCK_OF_VOXELS(ENTRY_VOXELS, 2)}},
      {{TWO_BLOCKS_OF_VOXELS(ENTRY_VOXELS, 1)}, {TWO_BLOCKS_OF_VOXELS(ENTRY_VOXELS, 2)}}};

static const struct width *find_width(int blocks, int places) {
  const struct width *width = widths[blocks - 1];
  while (width[1].places >= places) width++;
  return width;
}

/* The widest that leaves none too few for the next: 16 are 8 and 8 rather than 12 and 4. */
static const struct width *find_voxel_width(int blocks, int step, int places) {
  const struct width *width = voxel_widths[blocks - 1][step - 1];
  while (width->places > places ||
         (width->places < places && width[1].places > places - width->places))
    width++;
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

void SIMD_NAME(conv_multiply_voxels)(const struct conv_voxels *voxels,
                                     const struct conv_product *products, int count, int places,
                                     int blocks, int step) {
  struct piece piece = {products, count, .voxels = voxels};
  for (int together; piece.block < blocks; piece.block += together) {
    together = blocks - piece.block < MOST_BLOCKS ? blocks - piece.block : MOST_BLOCKS;
    const struct width *width;
    for (piece.place = 0; piece.place < places; piece.place += width->places) {
      width = find_voxel_width(together, step, places - piece.place);
      width->multiply(&piece);
    }
  }
}
