/* Tiles of whole blocks: 12 sums at a time. (24 would need fewer loads, but storing so many at once
 * holds up the multipliers.) The last block's few channels: products of source channels with their
 * weights, of so many voxels at a time that their sums over lanes, found in pairs, fill a vector.
 */
#include "kernels/conv/conv_point_few.h"

#if defined SIMD_ISA_AVX512

enum {
  LEAST_GROUPS = 2, /* fewer do not pay for the sums over lanes */
  MOST_PLACES = 12,
  MOST_BLOCKS = 3,
  TOGETHER = 4, /* channels */
};

static void find_lanes(struct conv_few *few, const struct conv_source *source) {
  static const int phase[3] = {0};
  const struct conv_packing *packing = &source->packing;
  int lanes = packing->lanes % CHANNEL_BLOCK;
  if (few->groups < LEAST_GROUPS || lanes == 0 || lanes > CONV_FEW_LANES) return;
  few->lanes = lanes;
  few->blocks--;
  const float *w = source->packed + conv_packing_at(packing, phase, few->blocks, 0);
  for (int c = 0; c < few->groups * CHANNEL_BLOCK; c++)
    for (int lane = 0; lane < lanes; lane++)
      few->w[lane][c / CHANNEL_BLOCK][c % CHANNEL_BLOCK] = w[c * CHANNEL_BLOCK + lane];
}

struct conv_few SIMD_NAME(conv_point_find_few)(const struct conv_target *target,
                                               const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  struct conv_few few = {0};
  int groups = conv_packing_groups(packing);
  if (target->add || packing->channels % CHANNEL_BLOCK != 0 || groups > CONV_FEW_GROUPS) return few;
  few.groups = groups;
  few.blocks = conv_packing_lane_blocks(packing);
  find_lanes(&few, source);
  return few;
}

#define INLINE static inline __attribute__((always_inline))

/* --- whole blocks --- */

/* Some tiles side by side of some blocks, whose number is a constant as are the places of a tile.
 */
struct tiles {
  const struct conv_few_target *target;
  const struct conv_few_source *source;
  int block, place, count;
};

INLINE void multiply_channel(simd sum[MOST_BLOCKS][MOST_PLACES], const float *x, const float *w,
                             size_t block_pitch, const int places, const int blocks) {
  simd weight[MOST_BLOCKS];
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++) weight[b] = simd_load(w + block_pitch * (size_t)b);
  SIMD_UNROLL
  for (int t = 0; t < places; t++) {
    simd value = simd_all(x[t * CHANNEL_BLOCK]);
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) simd_add_product(&sum[b][t], value, weight[b]);
  }
}

INLINE void multiply_tile(simd sum[MOST_BLOCKS][MOST_PLACES], const struct conv_few_source *source,
                          const float *x, const float *w, const int places, const int blocks) {
  for (int g = source->groups; g > 0; g--, x += source->group_pitch) {
    if (source->ahead) {
      const float *next = x + source->ahead;
      __asm__("" : "+r"(next)); /* one address, not one of each place */
      SIMD_UNROLL
      for (int t = 0; t < places; t++) __builtin_prefetch(next + t * CHANNEL_BLOCK);
    }
    for (int c = 0; c < CHANNEL_BLOCK; c += TOGETHER) {
      SIMD_UNROLL
      for (int k = 0; k < TOGETHER; k++, w += CHANNEL_BLOCK)
        multiply_channel(sum, x + c + k, w, source->block_pitch, places, blocks);
    }
  }
}

INLINE void compute_tiles(const struct tiles *tiles, const bool stream, const int places,
                          const int blocks) {
  const struct conv_few_target *target = tiles->target;
  const struct conv_few_source *source = tiles->source;
  const size_t pitch = target->pitch;
  const float *x = source->x + tiles->place * CHANNEL_BLOCK;
  const float *w = source->w + source->block_pitch * (size_t)tiles->block;
  float *y = target->y + pitch * (size_t)tiles->block + tiles->place * CHANNEL_BLOCK;
  const float slope = target->slope;
  simd bias[MOST_BLOCKS];
  SIMD_UNROLL
  for (int b = 0; b < blocks; b++)
    bias[b] =
        target->bias ? simd_load(target->bias + (tiles->block + b) * CHANNEL_BLOCK) : (simd){0};
  for (int left = tiles->count; left > 0; left--) {
    simd sum[MOST_BLOCKS][MOST_PLACES];
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      SIMD_UNROLL
      for (int t = 0; t < places; t++) sum[b][t] = bias[b];
    }
    multiply_tile(sum, source, x, w, places, blocks);
    SIMD_UNROLL
    for (int b = 0; b < blocks; b++) {
      SIMD_UNROLL
      for (int t = 0; t < places; t++) {
        simd value = slope != 1 ? conv_leaky(sum[b][t], slope) : sum[b][t];
        if (stream)
          simd_stream(y + pitch * (size_t)b + t * CHANNEL_BLOCK, value);
        else
          simd_store(y + pitch * (size_t)b + t * CHANNEL_BLOCK, value);
      }
    }
    x += places * CHANNEL_BLOCK, y += places * CHANNEL_BLOCK;
  }
}

typedef void tiles_function(const struct tiles *tiles);

#define DEFINE_TILES(places, blocks)                                  \
  static void tiles_##places##_##blocks(const struct tiles *tiles) {  \
    compute_tiles(tiles, false, places, blocks);                      \
  }                                                                   \
  static void stream_##places##_##blocks(const struct tiles *tiles) { \
    compute_tiles(tiles, true, places, blocks);                       \
  }
#define NAME_TILES(places, blocks) \
  {places, {tiles_##places##_##blocks, stream_##places##_##blocks}},
#define TILES_OF_1(DO) DO(12, 1) DO(4, 1) DO(1, 1)
#define TILES_OF_2(DO) DO(6, 2) DO(2, 2) DO(1, 2)
#define TILES_OF_3(DO) DO(4, 3) DO(2, 3) DO(1, 3)
TILES_OF_1(DEFINE_TILES)
TILES_OF_2(DEFINE_TILES)
TILES_OF_3(DEFINE_TILES)
/* By blocks, widest first. */
static const struct {
  int places;
  tiles_function *compute[2]; /* [whether past the caches] */
} kinds[MOST_BLOCKS][3] = {
    {TILES_OF_1(NAME_TILES)}, {TILES_OF_2(NAME_TILES)}, {TILES_OF_3(NAME_TILES)}};

/* How many of `left` blocks are next. */
static int find_blocks(int left) {
  return left % 2 == 1 ? conv_at_most(left, MOST_BLOCKS) : 2;
}

static void compute_blocks(const struct conv_few_target *target,
                           const struct conv_few_source *source, int places, int blocks) {
  struct conv_few_source one = *source;
  for (int block = 0, together; block < blocks; block += together) {
    together = find_blocks(blocks - block);
    struct tiles tiles = {target, &one, block, 0, 0};
    for (int i = 0; i < 3; i++) {
      int width = kinds[together - 1][i].places;
      tiles.count = (places - tiles.place) / width;
      if (tiles.count > 0) kinds[together - 1][i].compute[target->stream](&tiles);
      tiles.place += tiles.count * width;
    }
    one.ahead = 0;
  }
}

/* --- a few channels --- */

/* Half of the lanes of the sum of a's and b's halves each: of halves of a vector for `level` 0, of
 * halves of those for level 1, and so on. */
INLINE simd add_halves(simd a, simd b, const int level) {
  const __m512 p = (__m512)a, q = (__m512)b;
  if (level == 0)
    return (simd)(_mm512_shuffle_f32x4(p, q, 0x44) + _mm512_shuffle_f32x4(p, q, 0xee));
  if (level == 1)
    return (simd)(_mm512_shuffle_f32x4(p, q, 0x88) + _mm512_shuffle_f32x4(p, q, 0xdd));
  if (level == 2) return (simd)(_mm512_shuffle_ps(p, q, 0x44) + _mm512_shuffle_ps(p, q, 0xee));
  return (simd)(_mm512_shuffle_ps(p, q, 0x88) + _mm512_shuffle_ps(p, q, 0xdd));
}

/* Lane i := the sum of all lanes of vector place_of(i). */
INLINE simd add_lanes(simd vector[CHANNEL_BLOCK]) {
  SIMD_UNROLL
  for (int level = 0; level < 4; level++) {
    const int pairs = CHANNEL_BLOCK >> (level + 1);
    SIMD_UNROLL
    for (int i = 0; i < pairs; i++) vector[i] = add_halves(vector[2 * i], vector[2 * i + 1], level);
  }
  return vector[0];
}

INLINE int place_of(int i) {
  return i % 4 * 4 + i / 4;
}

/* The sums of `count` voxels, at most as many as fill a vector. lanes and groups are constants. */
INLINE simd multiply_lanes(const struct conv_few *few, const struct conv_few_source *source,
                           const float *x, int count, const int lanes, const int groups) {
  const size_t pitch = source->group_pitch, ahead = source->ahead;
  const int together = CHANNEL_BLOCK / lanes;
  simd vector[CHANNEL_BLOCK];
  SIMD_UNROLL
  for (int i = 0; i < CHANNEL_BLOCK; i++) vector[i] = (simd){0};
  SIMD_UNROLL
  for (int v = 0; v < together; v++) {
    const float *from = x + (v < count ? v : count - 1) * CHANNEL_BLOCK;
    SIMD_UNROLL
    for (int g = 0; g < groups; g++) {
      simd value = simd_load(from + pitch * (size_t)g);
      __builtin_prefetch(from + pitch * (size_t)g + ahead);
      SIMD_UNROLL
      for (int o = 0; o < lanes; o++) {
        simd *sum = &vector[place_of(v * lanes + o)];
        if (g == 0)
          *sum = value * simd_load(few->w[o][g]);
        else
          *sum += value * simd_load(few->w[o][g]);
      }
    }
  }
  return add_lanes(vector);
}

/* Voxel v's lanes of the sums, and zeros. */
INLINE simd take(simd sums, int v, const int lanes) {
  const __mmask16 mask = (__mmask16)((1 << lanes) - 1);
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i place = _mm512_add_epi32(first, _mm512_set1_epi32(v * lanes));
  return (simd)_mm512_maskz_permutexvar_ps(mask, place, (__m512)sums);
}

/* `count` voxels; of several a constant to the compiler. */
INLINE void compute_voxels(const struct conv_few *few, const struct conv_few_target *target,
                           const struct conv_few_source *source, int place, simd bias, int count,
                           const int lanes, const int groups) {
  const float slope = target->slope;
  const bool stream = target->stream;
  const int together = CHANNEL_BLOCK / lanes;
  const float *x = source->x + place * CHANNEL_BLOCK;
  float *y = target->y + place * CHANNEL_BLOCK;
  simd sums = multiply_lanes(few, source, x, count, lanes, groups);
  SIMD_UNROLL
  for (int v = 0; v < together; v++) {
    if (v >= count) continue;
    simd value = take(sums, v, lanes) + bias;
    if (slope != 1) value = conv_leaky(value, slope);
    if (stream)
      simd_stream(y + v * CHANNEL_BLOCK, value);
    else
      simd_store(y + v * CHANNEL_BLOCK, value);
  }
}

INLINE void compute_lanes(const struct conv_few *few, const struct conv_few_target *target,
                          const struct conv_few_source *source, int places, const int lanes,
                          const int groups) {
  const int together = CHANNEL_BLOCK / lanes;
  int place = 0;
  simd bias = {0};
  if (target->bias) bias = simd_load(target->bias);
  for (; place + together <= places; place += together)
    compute_voxels(few, target, source, place, bias, together, lanes, groups);
  if (place < places)
    compute_voxels(few, target, source, place, bias, places - place, lanes, groups);
}

typedef void lanes_function(const struct conv_few *few, const struct conv_few_target *target,
                            const struct conv_few_source *source, int places);

#define DEFINE(lanes, groups)                                                              \
  static void lanes_##lanes##_##groups(const struct conv_few *few,                         \
                                       const struct conv_few_target *target,               \
                                       const struct conv_few_source *source, int places) { \
    compute_lanes(few, target, source, places, lanes, groups);                             \
  }
#define NAME(lanes, groups) [lanes - 1][groups - LEAST_GROUPS] = lanes_##lanes##_##groups,
#define GROUPS(DO, lanes) DO(lanes, 2) DO(lanes, 3) DO(lanes, 4)
#define ALL(DO) GROUPS(DO, 1) GROUPS(DO, 2) GROUPS(DO, 3) GROUPS(DO, 4) GROUPS(DO, 5)
ALL(DEFINE)
static lanes_function *const functions[CONV_FEW_LANES][CONV_FEW_GROUPS - LEAST_GROUPS + 1] = {
    ALL(NAME)};

void SIMD_NAME(conv_point_few)(const struct conv_few *few, const struct conv_few_target *target,
                               const struct conv_few_source *source, int places, int blocks,
                               bool ends) {
  int whole = blocks - (ends && few->lanes > 0);
  compute_blocks(target, source, places, whole);
  if (whole == blocks) return;
  struct conv_few_source one = *source;
  struct conv_few_target last = *target;
  if (whole > 0) one.ahead = 0;
  last.y += last.pitch * (size_t)whole;
  if (last.bias) last.bias += whole * CHANNEL_BLOCK;
  functions[few->lanes - 1][few->groups - LEAST_GROUPS](few, &last, &one, places);
}

#else

struct conv_few SIMD_NAME(conv_point_find_few)(const struct conv_target *target,
                                               const struct conv_source *source) {
  (void)target, (void)source;
  return (struct conv_few){0};
}

void SIMD_NAME(conv_point_few)(const struct conv_few *few, const struct conv_few_target *target,
                               const struct conv_few_source *source, int places, int blocks,
                               bool ends) {
  (void)few, (void)target, (void)source, (void)places, (void)blocks, (void)ends;
}

#endif
