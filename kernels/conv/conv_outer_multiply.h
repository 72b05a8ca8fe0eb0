/* Sums of outer products over places (tiles of a transform, voxels): the innermost loops of weight
 * gradients. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "kernels/common/simd.h"

/* Blocks of lanes whose sums stay in registers, and how many values' sums do: of one block, and of
 * all those, where fewer are quicker up to so few. */
#if defined SIMD_ISA_AVX512
enum { OUTER_BLOCKS = 2, OUTER_VALUES_OF_ONE = 16, OUTER_VALUES_OF_ALL = 8, OUTER_FEW_VALUES = 5 };
#elif defined SIMD_ISA_AVX2
enum { OUTER_BLOCKS = 1, OUTER_VALUES_OF_ONE = 4, OUTER_VALUES_OF_ALL = 4, OUTER_FEW_VALUES = 4 };
#else
enum { OUTER_BLOCKS = 1, OUTER_VALUES_OF_ONE = 2, OUTER_VALUES_OF_ALL = 2, OUTER_FEW_VALUES = 2 };
#endif

/* sum[block][value] += x[value] * lanes[block], of one place; `values` and `blocks` are constants
 * to the compiler. */
static inline __attribute__((always_inline)) void conv_outer_add(
    simd sum[][OUTER_VALUES_OF_ONE][SIMD_PER_BLOCK], const float *x, const float *lanes,
    size_t lanes_pitch, const int values, const int blocks) {
  simd vector[OUTER_BLOCKS][SIMD_PER_BLOCK];
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int p = 0; p < SIMD_PER_BLOCK; p++)
      vector[b][p] = simd_load(lanes + lanes_pitch * (size_t)b + p * SIMD_WIDTH);
  }
  SIMD_UNROLL
  for (int i = 0; i < values; i++) {
    simd value = simd_all(x[i]);
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) simd_add_product(&sum[b][i][p], value, vector[b][p]);
    }
  }
}

/* sums[block][value][16] = (add: +=) what was added up; likewise. */
static inline __attribute__((always_inline)) void conv_outer_store(
    float *sums, size_t sums_pitch, simd sum[][OUTER_VALUES_OF_ONE][SIMD_PER_BLOCK], bool add,
    const int values, const int blocks) {
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) {
    SIMD_UNROLL
    for (int i = 0; i < values; i++) {
      SIMD_UNROLL
      for (int p = 0; p < SIMD_PER_BLOCK; p++) {
        float *to = sums + sums_pitch * (size_t)b + i * CHANNEL_BLOCK + p * SIMD_WIDTH;
        if (add) sum[b][i][p] += simd_load(to);
        simd_store(to, sum[b][i][p]);
      }
    }
  }
}

/* How conv_outer_multiply's loops share out lines that are to be asked for: its own. */
struct conv_shares {
  int tiles, lanes_tiles, values_lines, lanes_lines, values_step, lanes_step;
};

/* What is multiplied, distances in floats: at each of `places` places of each of `rows` rows, some
 * values of a block of 16, `step` from place to place, with the 16 lanes of some blocks, which lie
 * side by side. */
struct conv_sweep {
  const float *values, *lanes;
  size_t step, values_row, lanes_row; /* rows: from row to row */
  size_t lanes_pitch;                 /* from block to block */
  int places, rows;
  /* meanwhile asks for what lies so far behind values and lanes: for all lanes in `parts` such
   * sweeps, of which this is `part` */
  ptrdiff_t values_ahead, lanes_ahead;
  int part, parts;
  float *value_sums;         /* += the 16 values of all places; NULL: not wanted */
  struct conv_shares shares; /* zeros at first, then kept for sweeps of as many places */
};

/* sums[block][value][16] = (add: +=) the sum of value * lanes over all places; `values` up to 16 of
 * them, rounded up to a multiple of 8; `sums_pitch` floats from block to block. */
void SIMD_NAME(conv_outer_multiply)(float *sums, size_t sums_pitch, struct conv_sweep *sweep,
                                    int values, int blocks, bool add);

/* On the processor's tiles (conv_pieces.h): sums[group][block][16 values][16] = (add: +=) the sum
 * over places of x[group][place][16 values] * lanes[block][place][16]. Pitches in floats. Behind
 * `places` there are zeros up to a multiple of 32. */
enum { CONV_OUTER_AMX_PLACES = 64, CONV_OUTER_AMX_BLOCKS = 4 }; /* at most, of groups, too */
struct conv_outer_amx {
  float *sums;
  size_t group_pitch, block_pitch;
  const float *x, *lanes;
  size_t x_pitch, lanes_pitch;
  int groups, blocks, places;
  bool add;
};
void SIMD_NAME(conv_outer_amx)(const struct conv_outer_amx *outer);
