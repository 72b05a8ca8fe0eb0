/* The same sums on the processor's tiles: rows are values, columns lanes, and 32 places are summed
 * at once. */
#include "kernels/conv/conv_outer_multiply.h"
#include "kernels/conv/conv_packing.h"
#include "kernels/conv/conv_pieces.h"
#if defined SIMD_ISA_AVX512

enum {
  TILES = 2, /* of rows together, and of columns */
  STEPS = CONV_OUTER_AMX_PLACES / (2 * PIECES_ROWS),
  PITCH = STEPS * CONV_PIECES * PIECES_WORDS, /* from block to block */
};

/* What is multiplied, in pieces: [block][32 places][piece]. */
struct operands {
  _Alignas(PIECES_LINE) float values[CONV_OUTER_AMX_BLOCKS][STEPS][CONV_PIECES][PIECES_WORDS];
  float lanes[CONV_OUTER_AMX_BLOCKS][STEPS][CONV_PIECES][PIECES_WORDS];
};

/* 32 places of a block as rows of values. */
static void turn(const float *x, float *pieces) {
  _Alignas(PIECES_LINE) float turned[2][PIECES_WORDS];
  for (int half = 0; half < 2; half++) {
    __m512i row[16];
    SIMD_UNROLL
    for (int i = 0; i < 16; i++)
      row[i] = _mm512_loadu_si512(x + half * PIECES_WORDS + i * CHANNEL_BLOCK);
    pieces_turn(row, turned[half]);
  }
  pieces_split(turned[0], turned[1], pieces, false);
}

PIECES_INLINE void add_products(const struct operands *operands, const struct conv_outer_amx *outer,
                                int group, int block, int steps, const int groups,
                                const int blocks) {
  const struct pieces_tiles none = {NULL, 0};
  float *sums =
      outer->sums + outer->group_pitch * (size_t)group + outer->block_pitch * (size_t)block;
  pieces_begin(sums, outer->group_pitch, outer->block_pitch, outer->add, groups, blocks);
  for (int step = 0; step < steps; step++) {
    struct pieces_tiles rows = {operands->values[group][step][0], PITCH};
    struct pieces_tiles columns = {operands->lanes[block][step][0], PITCH};
    pieces_multiply(rows, columns, none, groups, blocks);
  }
  pieces_end(sums, outer->group_pitch, outer->block_pitch, groups, blocks);
}

typedef void add_function(const struct operands *operands, const struct conv_outer_amx *outer,
                          int group, int block, int steps);
#define DEFINE(groups, blocks)                                                                    \
  static TILES_TARGET void add_##groups##_##blocks(const struct operands *operands,               \
                                                   const struct conv_outer_amx *outer, int group, \
                                                   int block, int steps) {                        \
    add_products(operands, outer, group, block, steps, groups, blocks);                           \
  }
DEFINE(1, 1)
DEFINE(1, 2)
DEFINE(2, 1)
DEFINE(2, 2)
static add_function *const adds[TILES][TILES] = {{add_1_1, add_1_2}, {add_2_1, add_2_2}};

/* Asks for the sums, which the first cache has lost since the last batch. */
static void ask(const struct conv_outer_amx *outer) {
  if (!outer->add) return;
  for (int i = 0; i < outer->groups * outer->blocks; i++) {
    const float *sums = outer->sums + outer->group_pitch * (size_t)(i / outer->blocks) +
                        outer->block_pitch * (size_t)(i % outer->blocks);
    for (int line = 0; line < PIECES_ROWS; line++)
      __builtin_prefetch(sums + line * CHANNEL_BLOCK, 1);
  }
}

void SIMD_NAME(conv_outer_amx)(const struct conv_outer_amx *outer) {
  struct operands operands;
  ask(outer);
  const int steps = conv_divide_up(outer->places, 2 * PIECES_ROWS);
  for (int step = 0; step < steps; step++) {
    const size_t at = (size_t)step * 2 * PIECES_WORDS;
    for (int i = 0; i < outer->groups; i++)
      turn(outer->x + outer->x_pitch * (size_t)i + at, operands.values[i][step][0]);
    for (int i = 0; i < outer->blocks; i++) {
      const float *lanes = outer->lanes + outer->lanes_pitch * (size_t)i + at;
      pieces_split(lanes, lanes + PIECES_WORDS, operands.lanes[i][step][0], false);
    }
  }
  for (int group = 0, groups; group < outer->groups; group += groups) {
    groups = conv_at_most(outer->groups - group, TILES);
    for (int block = 0, blocks; block < outer->blocks; block += blocks) {
      blocks = conv_at_most(outer->blocks - block, TILES);
      adds[groups - 1][blocks - 1](&operands, outer, group, block, steps);
    }
  }
}
#endif
