/* Products of bfloat16, summed in float32: on tiles, or of pairs where there are none. */
#include "kernels/peak/peak_bf16.h"
#include <omp.h>
#include <stdint.h>
#include "kernels/common/tiles.h"
#if defined SIMD_ISA_AVX512

enum { TILES = 6, TILE_TURNS = 1 << 19, PAIRS = 12, PAIR_TURNS = 1 << 22 };
enum { ONES = 0x3f803f80 }; /* a pair */

static TILES_TARGET void multiply_tiles(void) {
  uint32_t ones[16];
  for (int i = 0; i < 16; i++) ones[i] = ONES;
  tiles_begin();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_loadd(6, ones, 0);
  _tile_loadd(7, ones, 0);
  for (int i = 0; i < TILE_TURNS; i++) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  tiles_end();
}

static __attribute__((target("avx512bf16"))) float multiply_pairs(void) {
  const __m512bh ones = (__m512bh)_mm512_set1_epi32(ONES);
  __m512 sums[PAIRS];
  SIMD_UNROLL
  for (int k = 0; k < PAIRS; k++) sums[k] = _mm512_set1_ps((float)k);
  for (int i = 0; i < PAIR_TURNS; i++) {
    SIMD_UNROLL
    for (int k = 0; k < PAIRS; k++) sums[k] = _mm512_dpbf16_ps(sums[k], ones, ones);
  }
  float sum = 0;
  for (int k = 0; k < PAIRS; k++) sum += sums[k][0];
  return sum;
}

double SIMD_NAME(peak_bf16)(void) {
  const int threads = omp_get_max_threads();
  const bool tiles = tiles_available();
  if (!tiles && !__builtin_cpu_supports("avx512bf16")) return 0;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < threads; i++) {
    volatile float sum = 0;
    if (tiles)
      multiply_tiles();
    else
      sum = multiply_pairs();
    (void)sum;
  }
  return (tiles ? 2.0 * 16 * 16 * 32 * TILES * TILE_TURNS : 2.0 * 32 * PAIRS * PAIR_TURNS) *
         threads;
}
#else
double SIMD_NAME(peak_bf16)(void) {
  return 0;
}
#endif
