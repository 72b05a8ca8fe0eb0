/* Voxels of any tensor of the CPU as bfloat16, channels side by side: what tiles are made of. */
#include "kernels/common/simd16.h"
#include "kernels/conv/conv_amx.h"
#if defined SIMD_ISA_AVX512

/* `dtype` is a constant to the compiler. */
static inline __attribute__((always_inline)) void copy_blocked(enum dtype dtype, const void *data,
                                                               int64_t at, int64_t step,
                                                               int64_t count, uint16_t *to,
                                                               int64_t pitch) {
  for (int64_t i = 0; i < count; i++, at += step, to += pitch)
    if (dtype == DTYPE_BF16)
      *(simd_half *)to = *(const simd_half *)((const uint16_t *)data + at);
    else
      *(simd_half *)to = simd_to_bf16(simd_get(dtype, data, at));
}

static inline uint16_t one(enum dtype dtype, const void *data, int64_t at) {
  return dtype == DTYPE_BF16 ? ((const uint16_t *)data)[at]
                             : bf16_from_float(((const float *)data)[at]);
}

static void copy_planar(enum dtype dtype, const void *data, int64_t at, int64_t step, int64_t count,
                        uint16_t *to, int64_t pitch) {
  int64_t i = 0;
  for (; step == 1 && i + SIMD_WIDTH <= count; i += SIMD_WIDTH) {
    simd_half values = simd_to_bf16(simd_get(dtype, data, at + i));
    for (int k = 0; k < SIMD_WIDTH; k++) to[(i + k) * pitch] = values[k];
  }
  for (; i < count; i++) to[i * pitch] = one(dtype, data, at + i * step);
}

static void clear(uint16_t *to, int64_t count, int channels) {
  memset(to, 0, sizeof(*to) * (size_t)(count * channels));
}

/* Voxels inside the tensor. */
static void copy_inside(const struct tensor *tensor, const void *data, const int at[5], int step,
                        int64_t count, int channels, uint16_t *to) {
  const bool blocked = tensor->layout == LAYOUT_BLOCKED;
  if (!blocked) clear(to, count, channels);
  const int end = blocked ? channels : conv_at_most(channels, tensor->shape.c - at[1]);
  for (int c = 0; c < end; c += blocked ? CHANNEL_BLOCK : 1) {
    int64_t first = tensor_at(tensor, at[0], at[1] + c, at[2], at[3], at[4]);
    if (!blocked)
      copy_planar(tensor->dtype, data, first, step, count, to + c, channels);
    else if (tensor->dtype == DTYPE_BF16)
      copy_blocked(DTYPE_BF16, data, first, (int64_t)step * CHANNEL_BLOCK, count, to + c, channels);
    else
      copy_blocked(DTYPE_F32, data, first, (int64_t)step * CHANNEL_BLOCK, count, to + c, channels);
  }
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
    const int first[] = {at[0], at[1], at[2], at[3], at[4] + (int)low * step};
    copy_inside(tensor, data, first, step, high - low, channels, to + low * channels);
  }
  clear(to + high * channels, count - high, channels);
}
#endif
