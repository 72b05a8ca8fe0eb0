/* The same products on the processor's tiles: rows are places, columns lanes. */
#include "kernels/conv/conv_packing.h"
#include "kernels/conv/conv_pieces.h"

void SIMD_NAME(conv_split)(const float *even, const float *odd, float *pieces, bool stream) {
  if (stream)
    pieces_split(even, odd, pieces, true);
  else
    pieces_split(even, odd, pieces, false);
}

#if defined SIMD_ISA_AVX512

enum {
  TILES = 2,      /* of places together, and of blocks */
  MOST_PAIRS = 2, /* of groups whose values wait: what the first cache holds with their weights */
};

/* The values of some pairs of groups at up to 32 places, and where their weights of block 0 are;
 * behind them the weights that are needed next. */
struct waiting {
  int count;
  const float *w[MOST_PAIRS + 1];
  size_t block_pitch[MOST_PAIRS + 1];
  _Alignas(PIECES_LINE) float values[MOST_PAIRS][TILES][CONV_PIECES][PIECES_WORDS];
};

/* Where to, at one or two tiles of places. */
struct sums {
  float *m;
  size_t m_pitch;
  int tiles, blocks;
  bool add;
};

static struct pieces_tiles weights_at(const struct waiting *waiting, int pair, int block) {
  const size_t pitch = waiting->block_pitch[pair];
  return (struct pieces_tiles){waiting->w[pair] + pitch * (size_t)block, pitch};
}

/* What waits times its weights of `blocks` blocks. */
PIECES_INLINE void multiply(const struct waiting *waiting, const struct sums *sums, int block,
                            const int tiles, const int blocks) {
  float *m = sums->m + sums->m_pitch * (size_t)block;
  const bool done = block + blocks == sums->blocks;
  pieces_begin(m, PIECES_WORDS, sums->m_pitch, sums->add, tiles, blocks);
  for (int i = 0; i < waiting->count; i++) {
    struct pieces_tiles values = {waiting->values[i][0][0], CONV_PIECES * PIECES_WORDS};
    struct pieces_tiles ahead = i + 1 < waiting->count ? weights_at(waiting, i + 1, block)
                                : done                 ? weights_at(waiting, i + 1, 0)
                                                       : weights_at(waiting, 0, block + blocks);
    pieces_multiply(values, weights_at(waiting, i, block), ahead, tiles, blocks);
  }
  pieces_end(m, PIECES_WORDS, sums->m_pitch, tiles, blocks);
}

typedef void multiply_function(const struct waiting *waiting, const struct sums *sums, int block);
#define DEFINE(tiles, blocks)                                                                \
  static TILES_TARGET void multiply_##tiles##_##blocks(const struct waiting *waiting,        \
                                                       const struct sums *sums, int block) { \
    multiply(waiting, sums, block, tiles, blocks);                                           \
  }
DEFINE(1, 1)
DEFINE(1, 2)
DEFINE(2, 1)
DEFINE(2, 2)
static multiply_function *const multiplies[TILES][TILES] = {{multiply_1_1, multiply_1_2},
                                                            {multiply_2_1, multiply_2_2}};

/* Weights `next` are needed afterwards. */
static void run(struct waiting *waiting, struct sums *sums, const float *next, size_t next_pitch) {
  waiting->w[waiting->count] = next;
  waiting->block_pitch[waiting->count] = next_pitch;
  for (int block = 0, together; block < sums->blocks; block += together) {
    together = conv_at_most(sums->blocks - block, TILES);
    multiplies[sums->tiles - 1][together - 1](waiting, sums, block);
  }
  sums->add = true;
  waiting->count = 0;
}

/* The values of groups `group` and the next one, if there is one, from place `place` on. */
static void put(struct waiting *waiting, const struct conv_product *product, int group, int place,
                int tiles, const float *w) {
  const float *x = product->x + product->group_pitch * (size_t)group + place * CHANNEL_BLOCK;
  const float *other = group + 1 < product->groups ? x + product->group_pitch : NULL;
  for (int tile = 0; tile < tiles; tile++, x += PIECES_WORDS) {
    pieces_split(x, other, waiting->values[waiting->count][tile][0], false);
    if (other) other += PIECES_WORDS;
  }
  waiting->w[waiting->count] = w;
  waiting->block_pitch[waiting->count++] = product->block_pitch;
}

void SIMD_NAME(conv_multiply_amx)(float *m, size_t m_pitch, const struct conv_product *products,
                                  int count, int places, int blocks, bool add) {
  struct waiting waiting;
  waiting.count = 0;
  for (int place = 0; place < places; place += TILES * PIECES_ROWS) {
    struct sums sums = {m + place * CHANNEL_BLOCK, m_pitch, .blocks = blocks, .add = add};
    sums.tiles = places - place > PIECES_ROWS ? TILES : 1;
    for (const struct conv_product *product = products; product < products + count; product++) {
      const float *w = product->w;
      for (int group = 0; group < product->groups; group += 2, w += CONV_PIECES * PIECES_WORDS) {
        if (waiting.count == MOST_PAIRS) run(&waiting, &sums, w, product->block_pitch);
        put(&waiting, product, group, place, sums.tiles, w);
      }
    }
    const float *next = count > 0 ? products->w : NULL; /* of the next places, or products */
    if (next && place + TILES * PIECES_ROWS >= places) next += products->ahead;
    run(&waiting, &sums, next, count > 0 ? products->block_pitch : 0);
  }
}
#endif

conv_multiplier *SIMD_NAME(conv_multiplier_of)(bool amx) {
#if defined SIMD_ISA_AVX512
  if (amx) return SIMD_NAME(conv_multiply_amx);
#endif
  (void)amx;
  return SIMD_NAME(conv_multiply);
}

void SIMD_NAME(conv_multiply_begin)(bool amx) {
#if defined SIMD_ISA_AVX512
  if (amx) tiles_begin();
#endif
  (void)amx;
}

void SIMD_NAME(conv_multiply_end)(bool amx) {
#if defined SIMD_ISA_AVX512
  if (amx) tiles_end();
#endif
  (void)amx;
}
