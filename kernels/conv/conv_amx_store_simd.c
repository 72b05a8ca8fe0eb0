/* What sums of tiles become: voxels of any tensor of the CPU. */
#include "kernels/common/simd16.h"
#include "kernels/conv/conv_amx.h"
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512

/* Rounded by the processor, which takes subnormal numbers for zeros. */
static CONV_BF16_TARGET void store_halves(const struct conv_target *target, int64_t at,
                                          int64_t step, const float *sums, int count, bool stream) {
  uint16_t *to = (uint16_t *)target->data + at;
  for (int i = 0; i < count; i++, to += step, sums += CHANNEL_BLOCK) {
    simd value = conv_leaky(simd_load(sums), target->slope);
    if (target->add) value += simd_from_bf16(to);
    __m256i halves = (__m256i)_mm512_cvtneps_pbh((__m512)value);
    if (stream)
      _mm256_stream_si256((__m256i *)to, halves);
    else
      _mm256_storeu_si256((__m256i *)to, halves);
  }
}

static void store_floats(const struct conv_target *target, int64_t at, int64_t step,
                         const float *sums, int count, bool stream) {
  float *to = target->data + at;
  for (int i = 0; i < count; i++, to += step, sums += CHANNEL_BLOCK) {
    simd value = conv_leaky(simd_load(sums), target->slope);
    if (target->add) value += simd_load(to);
    if (stream)
      simd_stream(to, value);
    else
      simd_store(to, value);
  }
}

static void put_one(const struct conv_target *target, int64_t at, float value) {
  uint16_t *half = (uint16_t *)target->data + at;
  if (value < 0) value *= target->slope;
  if (target->tensor->dtype == DTYPE_BF16)
    *half = bf16_from_float(target->add ? bf16_to_float(*half) + value : value);
  else
    target->data[at] = target->add ? target->data[at] + value : value;
}

static void store_planar(const struct conv_target *target, int64_t at, int64_t step,
                         const float *sums, int count) {
  const __m512i lanes =
      _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                         _mm512_set1_epi32(CHANNEL_BLOCK));
  const enum dtype dtype = target->tensor->dtype;
  for (int c = 0; c < target->tensor->shape.c; c++, at += shape_voxels(target->tensor->shape)) {
    int i = 0;
    for (; step == 1 && i + SIMD_WIDTH <= count; i += SIMD_WIDTH) {
      simd value = (simd)_mm512_i32gather_ps(lanes, sums + c + i * CHANNEL_BLOCK, sizeof(float));
      value = conv_leaky(value, target->slope);
      if (target->add) value += simd_get(dtype, target->data, at + i);
      simd_put(dtype, target->data, at + i, value, false);
    }
    for (; i < count; i++) put_one(target, at + i * step, sums[c + i * CHANNEL_BLOCK]);
  }
}

void SIMD_NAME(conv_amx_store)(const struct conv_target *target, int64_t at, int64_t step,
                               const float *sums, int count, bool stream) {
  if (target->tensor->layout == LAYOUT_PLANAR)
    store_planar(target, at, step, sums, count);
  else if (target->tensor->dtype == DTYPE_BF16)
    store_halves(target, at, step, sums, count, stream);
  else
    store_floats(target, at, step, sums, count, stream);
}
#endif
