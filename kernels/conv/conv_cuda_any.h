/* How the CUDA kernels of conv that take any shape see tensors and indices. */
#pragma once
#include "kernels/conv/conv_cuda.h"

/* Division of numbers below 2^31 by one that is known at the launch, without dividing. */
struct conv_cuda_divider {
  uint32_t divisor, multiplier, shift;
};

static inline struct conv_cuda_divider conv_cuda_divider_of(int divisor) {
  struct conv_cuda_divider divider = {(uint32_t)divisor, 0, 0};
  while ((UINT64_C(1) << divider.shift) < (uint64_t)divisor) divider.shift++;
  uint64_t rest = (UINT64_C(1) << divider.shift) - (uint64_t)divisor;
  divider.multiplier = (uint32_t)((rest << 32) / (uint64_t)divisor + 1);
  return divider;
}

/* value := value / divisor; returns the remainder. */
__device__ inline int conv_cuda_split(int &value, const struct conv_cuda_divider &divider) {
  uint32_t whole = (uint32_t)value;
  uint32_t high = (uint32_t)((uint64_t)whole * divider.multiplier >> 32);
  uint32_t quotient = (high + whole) >> divider.shift;
  value = (int)quotient;
  return (int)(whole - quotient * divider.divisor);
}

struct conv_cuda_place {
  int d, h, w;
};

/* A tensor that a pass reads or writes. */
struct conv_cuda_field {
  const void *data;
  struct cuda_strides strides;
  int channels, d, h, w; /* as stored */
  int half;              /* 1: read through a nearest x2 upsampling */
  bool wide;             /* float32 although matrices are computed in 16 bits */
  bool last;             /* channels lie side by side */
  struct conv_cuda_divider by_w, by_h, by_channels;
};

static inline struct conv_cuda_field conv_cuda_field_of(const struct tensor *tensor,
                                                        const void *data, bool upsample) {
  struct conv_cuda_field field;
  memset(&field, 0, sizeof field);
  field.data = data;
  field.strides = cuda_strides_of(tensor);
  field.channels = tensor->shape.c;
  field.d = tensor->shape.d;
  field.h = tensor->shape.h;
  field.w = tensor->shape.w;
  field.half = upsample;
  field.wide = tensor->dtype == DTYPE_F32;
  field.last = field.strides.channel == 1;
  field.by_w = conv_cuda_divider_of(field.w);
  field.by_h = conv_cuda_divider_of(field.h);
  field.by_channels = conv_cuda_divider_of(field.channels);
  return field;
}

/* Voxel number `voxel` of a sample, as stored. */
__device__ inline struct conv_cuda_place conv_cuda_place_of(const struct conv_cuda_field &field,
                                                            int voxel) {
  struct conv_cuda_place place;
  place.w = conv_cuda_split(voxel, field.by_w);
  place.h = conv_cuda_split(voxel, field.by_h);
  place.d = voxel;
  return place;
}

/* The element of sample n at a place as the convolution sees it; 0 outside. */
template <typename T>
__device__ inline float conv_cuda_read(const struct conv_cuda_field &field, int n, int channel,
                                       const struct conv_cuda_place &place) {
  int d = place.d >> field.half, h = place.h >> field.half, w = place.w >> field.half;
  if ((unsigned)d >= (unsigned)field.d || (unsigned)h >= (unsigned)field.h ||
      (unsigned)w >= (unsigned)field.w)
    return 0;
  int64_t at = n * field.strides.sample + channel * field.strides.channel +
               (((int64_t)d * field.h + h) * field.w + w) * field.strides.voxel;
  return field.wide ? static_cast<const float *>(field.data)[at]
                    : to_float(static_cast<const T *>(field.data)[at]);
}
