/* Walks over logits and bits on the CPU in pieces, for any of the layouts there. Compiled once per
 * instruction set. */
#pragma once
#include <stdint.h>
#include "kernels/common/bits.h"
#include "kernels/common/simd.h"

enum { BITS_PIECE = 4096 /* floats */ };

/* `count` logits, a multiple of 16, with the truth, bit i % 16 of number i / 16. Logit i is one of
 * channel channel + i % lanes, lanes 1 or 16. Those that make a piece whole are BITS_NOTHING, of
 * truth 0: a probability, a loss and slopes of exactly 0. */
#define BITS_NOTHING (-200.0F)
struct bits_piece {
  int n, channel, lanes, count;
  const float *z;
  const uint16_t *truth;
  double *sums;  /* forward: of the block that the piece is in */
  float *slopes; /* backward: where the gradient goes by bits_give */
  bool past;     /* past the caches */
};

/* The truth of logits i, i + 1, ...: all ones where the class is there, else 0. */
static inline simd_int bits_truth(const struct bits_piece *piece, int i) {
  int word = piece->truth[i / CHANNEL_BLOCK];
#if defined SIMD_ISA_AVX512
  return (simd_int)_mm512_movm_epi32((__mmask16)word);
#else
  simd_int place;
  for (int lane = 0; lane < SIMD_WIDTH; lane++) place[lane] = 1 << (i % CHANNEL_BLOCK + lane);
  return (word & place) == place;
#endif
}

/* The value where the class is there, else 0. */
static inline simd bits_where(const struct bits_piece *piece, int i, simd value) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_maskz_mov_ps(piece->truth[i / CHANNEL_BLOCK], (__m512)value);
#else
  return (simd)(bits_truth(piece, i) & (simd_int)value);
#endif
}

/* The value with the other sign where the class is there. */
static inline simd bits_turned(const struct bits_piece *piece, int i, simd value) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_mask_xor_ps((__m512)value, piece->truth[i / CHANNEL_BLOCK], (__m512)value,
                                  _mm512_set1_ps(-0.0F));
#else
  return (simd)((simd_int)value ^ (bits_truth(piece, i) & (int)0x80000000));
#endif
}

/* Where the class is there the sum, elsewhere the first. */
static inline simd bits_add(const struct bits_piece *piece, int i, simd first, simd second) {
#if defined SIMD_ISA_AVX512
  return (simd)_mm512_mask_add_ps((__m512)first, piece->truth[i / CHANNEL_BLOCK], (__m512)first,
                                  (__m512)second);
#else
  return first + bits_where(piece, i, second);
#endif
}

static inline void bits_give(const struct bits_piece *piece, int i, simd slope) {
  if (piece->past)
    simd_stream(piece->slopes + i, slope);
  else
    simd_store(piece->slopes + i, slope);
}

/* What is done with a piece. */
typedef void bits_each(const struct bits_piece *piece, const void *context);

/* Blocks that channels of a sample are cut into: by shapes alone; each has 1 or 16 channels. */
int SIMD_NAME(bits_blocks)(const struct node *node);
int SIMD_NAME(bits_groups)(const struct node *node);

/* Calls `each` on all logits with `count` sums per block (at most BITS_MOST_SUMS), 0 at first;
 * writes them to partial [n][groups][count][blocks]. */
enum { BITS_MOST_SUMS = 48 };
void SIMD_NAME(bits_sums)(const struct node *node, const struct io *io, bits_each *each,
                          const void *context, double *partial, int count);

/* Calls `each` on all logits and gives dx[0] what it makes of them. */
void SIMD_NAME(bits_gradient)(const struct node *node, const struct io *io, bits_each *each,
                              const void *context);
