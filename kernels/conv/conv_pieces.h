/* float32 on tiles of bfloat16 (common/tiles.h). A number is the sum of three bfloat16 ones, its
 * pieces; of the nine products of two such sums the six largest are added up in float32. What is
 * left out, less than 2^-21 of a product, is about what float32 rounds; numbers below 2^-110 lose
 * bits, for tiles take subnormal ones for zeros. (G. Henry, P. Tang, A. Heinecke, "Leveraging the
 * bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019.) */
#pragma once
#include "kernels/common/simd.h"
#include "kernels/common/tiles.h"
#include "kernels/conv/conv_multiply.h"

enum {
  PIECES_ROWS = 16,   /* of a tile */
  PIECES_LINE = 64,   /* bytes of a tile's row */
  PIECES_WORDS = 256, /* of a tile */
  PIECES_PRODUCTS = 6,
};

/* The upper halves of words of two vectors as pairs; what is left of both. */
static inline __attribute__((always_inline)) simd pieces_take(simd *even, simd *odd) {
  const simd_bits upper = (simd_bits){0} + 0xffff0000U;
  const simd_bits low = (simd_bits)*even & upper, high = (simd_bits)*odd & upper;
  *even -= (simd)low;
  *odd -= (simd)high;
  return (simd)(high | low >> 16);
}

/* pieces[piece][16 rows][16 pairs] of rows even[16][16] and odd[16][16]; odd NULL: zeros. stream:
 * past the caches. */
static inline __attribute__((always_inline)) void pieces_split(const float *even, const float *odd,
                                                               float *pieces, const bool stream) {
  for (int at = 0; at < PIECES_WORDS; at += SIMD_WIDTH) {
    simd a = simd_load(even + at), b = {0};
    if (odd) b = simd_load(odd + at);
    SIMD_UNROLL
    for (int piece = 0; piece < CONV_PIECES; piece++) {
      float *to = pieces + PIECES_WORDS * piece + at;
      if (stream)
        simd_stream(to, pieces_take(&a, &b));
      else
        simd_store(to, pieces_take(&a, &b));
    }
  }
}

#if defined SIMD_ISA_AVX512
#define PIECES_INLINE static inline __attribute__((always_inline)) TILES_TARGET

/* Sums in tiles 0 to 3: of one or two tiles of rows, `right` floats apart, by one or two of
 * columns, `below` floats apart. How many of each are constants to the compiler here and below. */
PIECES_INLINE void pieces_begin(const float *sums, size_t right, size_t below, bool add,
                                const int rows, const int columns) {
  _tile_zero(0);
  if (rows > 1) _tile_zero(1);
  if (columns > 1) _tile_zero(2);
  if (rows > 1 && columns > 1) _tile_zero(3);
  if (!add) return;
  _tile_loadd(0, sums, PIECES_LINE);
  if (rows > 1) _tile_loadd(1, sums + right, PIECES_LINE);
  if (columns > 1) _tile_loadd(2, sums + below, PIECES_LINE);
  if (rows > 1 && columns > 1) _tile_loadd(3, sums + right + below, PIECES_LINE);
}
PIECES_INLINE void pieces_end(float *sums, size_t right, size_t below, const int rows,
                              const int columns) {
  _tile_stored(0, sums, PIECES_LINE);
  if (rows > 1) _tile_stored(1, sums + right, PIECES_LINE);
  if (columns > 1) _tile_stored(2, sums + below, PIECES_LINE);
  if (rows > 1 && columns > 1) _tile_stored(3, sums + right + below, PIECES_LINE);
}

/* The three pieces of a tile of rows, or columns, one behind the other; those of the second tile
 * lie `pitch` floats behind. */
struct pieces_tiles {
  const float *first;
  size_t pitch;
};

/* Asks for a part of such pieces, of which there are as many as products; first NULL: none. */
PIECES_INLINE void pieces_ask(struct pieces_tiles ahead, int part, const int tiles) {
  if (!ahead.first) return;
  const float *line = ahead.first + part * (CONV_PIECES * PIECES_WORDS / PIECES_PRODUCTS);
  SIMD_UNROLL
  for (int i = 0; i < CONV_PIECES * PIECES_ROWS / PIECES_PRODUCTS; i++, line += CHANNEL_BLOCK) {
    __builtin_prefetch(line);
    if (tiles > 1) __builtin_prefetch(line + ahead.pitch);
  }
}

/* Adds the products of all rows and columns; `ahead` are the columns that are needed next. */
PIECES_INLINE void pieces_multiply(struct pieces_tiles row, struct pieces_tiles column,
                                   struct pieces_tiles ahead, const int rows, const int columns) {
#define ROWS(number)                                                \
  _tile_loadd(4, row.first + PIECES_WORDS * (number), PIECES_LINE); \
  if (rows > 1) _tile_loadd(5, row.first + row.pitch + PIECES_WORDS * (number), PIECES_LINE)
#define COLUMNS(number)                                                \
  _tile_loadd(6, column.first + PIECES_WORDS * (number), PIECES_LINE); \
  if (columns > 1)                                                     \
  _tile_loadd(7, column.first + column.pitch + PIECES_WORDS * (number), PIECES_LINE)
#define PRODUCTS(number)                    \
  pieces_ask(ahead, number, columns);       \
  _tile_dpbf16ps(0, 4, 6);                  \
  if (rows > 1) _tile_dpbf16ps(1, 5, 6);    \
  if (columns > 1) _tile_dpbf16ps(2, 4, 7); \
  if (rows > 1 && columns > 1) _tile_dpbf16ps(3, 5, 7)
  ROWS(0);
  COLUMNS(2);
  PRODUCTS(0);
  COLUMNS(1);
  PRODUCTS(1);
  COLUMNS(0);
  PRODUCTS(2);
  ROWS(2);
  PRODUCTS(3);
  ROWS(1);
  PRODUCTS(4);
  COLUMNS(1);
  PRODUCTS(5);
#undef ROWS
#undef COLUMNS
#undef PRODUCTS
}

/* Rows become columns: 16 x 16 words. */
static inline void pieces_turn(__m512i row[16], void *to) {
  __m512i half[16], *line = to;
  SIMD_UNROLL
  for (int i = 0; i < 16; i += 2) {
    half[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    half[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  SIMD_UNROLL
  for (int i = 0; i < 16; i += 4) {
    row[i] = _mm512_unpacklo_epi64(half[i], half[i + 2]);
    row[i + 1] = _mm512_unpackhi_epi64(half[i], half[i + 2]);
    row[i + 2] = _mm512_unpacklo_epi64(half[i + 1], half[i + 3]);
    row[i + 3] = _mm512_unpackhi_epi64(half[i + 1], half[i + 3]);
  }
  SIMD_UNROLL
  for (int i = 0; i < 4; i++) {
    half[i] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0x88);
    half[i + 4] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0xdd);
    half[i + 8] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0x88);
    half[i + 12] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0xdd);
  }
  SIMD_UNROLL
  for (int i = 0; i < 8; i++) {
    _mm512_storeu_si512(line + i, _mm512_shuffle_i32x4(half[i], half[i + 8], 0x88));
    _mm512_storeu_si512(line + i + 8, _mm512_shuffle_i32x4(half[i], half[i + 8], 0xdd));
  }
}
#endif
