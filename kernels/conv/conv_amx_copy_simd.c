/* Voxels of any tensor of the CPU as bfloat16, channels side by side: what tiles are made of. */
#include "kernels/common/simd16.h"
#include "kernels/conv/conv_amx.h"
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512

enum { PLANAR = CONV_AMX_PLANAR };

static void copy_halves(const uint16_t *from, int64_t step, int64_t count, uint16_t *to,
                        int64_t pitch) {
  for (int64_t i = 0; i < count; i++, from += step, to += pitch)
    _mm256_storeu_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
}

/* Two blocks of channels, so that lines are written whole. */
static void copy_two(const uint16_t *from, int64_t block, int64_t step, int64_t count, uint16_t *to,
                     int64_t pitch) {
  for (int64_t i = 0; i < count; i++, from += step, to += pitch) {
    __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)from));
    __m256i second = _mm256_loadu_si256((const __m256i *)(from + block));
    _mm512_storeu_si512(to, _mm512_inserti64x4(first, second, 1));
  }
}

/* Rounded by the processor, which takes subnormal numbers for zeros. */
static CONV_BF16_TARGET void copy_floats(const float *from, int64_t step, int64_t count,
                                         uint16_t *to, int64_t pitch) {
  for (int64_t i = 0; i < count; i++, from += step, to += pitch)
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)));
}

static void copy_blocked(const struct tensor *tensor, const void *data, int64_t at, int step,
                         int64_t count, int channels, uint16_t *to) {
  const int64_t block = shape_voxels(tensor->shape) * CHANNEL_BLOCK;
  const int64_t apart = (int64_t)step * CHANNEL_BLOCK;
  for (int c = 0; c < channels; c += CHANNEL_BLOCK, at += block) {
    const uint16_t *halves = (const uint16_t *)data + at;
    if (tensor->dtype == DTYPE_F32)
      copy_floats((const float *)data + at, apart, count, to + c, channels);
    else if (c + CHANNEL_BLOCK == channels)
      copy_halves(halves, apart, count, to + c, channels);
    else
      copy_two(halves, block, apart, count, to + c, channels), c += CHANNEL_BLOCK, at += block;
  }
}

static uint16_t value_at(enum dtype dtype, const void *data, int64_t at) {
  return dtype == DTYPE_BF16 ? ((const uint16_t *)data)[at]
                             : bf16_from_float(((const float *)data)[at]);
}

/* Up to 16 neighbouring values, or those `step` apart. */
static simd_half values_at(enum dtype dtype, const void *data, int64_t at, int step, int count) {
  if (step == 1 && count == SIMD_WIDTH) return simd_to_bf16(simd_get(dtype, data, at));
  uint16_t values[SIMD_WIDTH] = {0};
  for (int i = 0; i < count; i++) values[i] = value_at(dtype, data, at + (int64_t)i * step);
  return *(const simd_half *)values;
}

/* voxels[voxel][4] := up to 16 voxels. */
static void interleave(const struct tensor *tensor, const void *data, int64_t at, int step,
                       int count, uint16_t *voxels) {
  simd_half c[PLANAR] = {{0}};
  for (int k = 0; k < PLANAR && k < tensor->shape.c; k++)
    c[k] = values_at(tensor->dtype, data, at + k * shape_voxels(tensor->shape), step, count);
  __m512i word[2];
  for (int k = 0; k < 2; k++)
    word[k] = _mm512_or_si512(_mm512_cvtepu16_epi32((__m256i)c[2 * k]),
                              _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)c[2 * k + 1]), 16));
  /* pairs of voxels: 0 1 | 4 5 | 8 9 | 12 13, and 2 3 | ... */
  __m512i even = _mm512_unpacklo_epi32(word[0], word[1]);
  __m512i odd = _mm512_unpackhi_epi32(word[0], word[1]);
  const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
  const __m512i second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  _mm512_storeu_si512(voxels, _mm512_permutex2var_epi64(even, first, odd));
  _mm512_storeu_si512(voxels + 2 * SIMD_WIDTH, _mm512_permutex2var_epi64(even, second, odd));
}

static void copy_planar(const struct tensor *tensor, const void *data, int64_t at, int step,
                        int64_t count, int channels, uint16_t *to) {
  for (int64_t i = 0; i < count; i += SIMD_WIDTH) {
    uint16_t voxels[SIMD_WIDTH][PLANAR];
    const int many = conv_at_most((int)(count - i), SIMD_WIDTH);
    interleave(tensor, data, at + i * step, step, many, voxels[0]);
    for (int k = 0; k < many; k++, to += channels) {
      __m128i voxel = _mm_loadl_epi64((const __m128i *)voxels[k]);
      if (channels == PLANAR)
        _mm_storel_epi64((__m128i *)to, voxel);
      else
        _mm256_storeu_si256((__m256i *)to, _mm256_zextsi128_si256(voxel));
    }
  }
}

static void clear(uint16_t *to, int64_t count, int channels) {
  if (count > 0) memset(to, 0, sizeof(*to) * (size_t)(count * channels));
}

void SIMD_NAME(conv_amx_copy)(const struct tensor *tensor, const void *data, const int at[5],
                              int step, int64_t count, int channels, uint16_t *to) {
  const struct shape s = tensor->shape;
  const bool outside = at[2] < 0 || at[2] >= s.d || at[3] < 0 || at[3] >= s.h;
  int64_t low = at[4] < 0 ? conv_divide_up(-at[4], step) : 0;
  int64_t high = outside || at[4] >= s.w ? 0 : conv_divide_up(s.w - at[4], step);
  if (high > count) high = count;
  if (low > high) low = high;
  clear(to, low, channels);
  if (high > low) {
    const int64_t first = tensor_at(tensor, at[0], at[1], at[2], at[3], at[4] + (int)low * step);
    (tensor->layout == LAYOUT_BLOCKED ? copy_blocked : copy_planar)(
        tensor, data, first, step, high - low, channels, to + low * channels);
  }
  clear(to + high * channels, count - high, channels);
}
#endif
