/* How a warp of a pass on tensor cores writes its results: bias, LeakyReLU, channels side by side.
 */
#pragma once
#include "kernels/conv/conv_cuda_matrix_load.h"

/* COUNT elements that lie side by side, moved as up to 16 bytes at once. */
template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT > 16 ? 16 : sizeof(T) * COUNT) together {
  T value[COUNT];
};

/* ALIGNED: a voxel's channels are a multiple of COUNT. */
template <typename T, bool ALIGNED, int COUNT>
__device__ static inline void store_voxel(T *to, float (&values)[COUNT], int count, bool add) {
  if (ALIGNED) {
    struct together<T, COUNT> result;
    if (add) {
      result = *(const struct together<T, COUNT> *)to;
#pragma unroll
      for (int i = 0; i < COUNT; i++) values[i] += to_float(result.value[i]);
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) result.value[i] = from_float<T>(values[i]);
    *(struct together<T, COUNT> *)to = result;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (i < count) to[i] = from_float<T>(add ? values[i] + to_float(to[i]) : values[i]);
  }
}

/* Finishes and stores a warp's sums: a lane has channels side by side. */
template <typename T, bool ALIGNED, int ROWS, int GROUPS>
__device__ static inline void store_rows(float (&sums)[ROWS][GROUPS][4],
                                         const struct matrix_pass &pass, const struct place &place,
                                         const struct share &share) {
  const int thread = threadIdx.x % 32, COUNT = 2 * GROUPS;
  int channel = place.channel_tile * pass.block_channels + (share.warp_n * 4 + thread % 4) * COUNT;
  int d = place.at[0] + share.d, h = place.at[1] + share.h, count = pass.channels - channel;
  float bias[COUNT];
#pragma unroll
  for (int i = 0; i < COUNT; i++) bias[i] = pass.bias && i < count ? pass.bias[channel + i] : 0;
#pragma unroll
  for (int part = 0; part < 2; part++) {
    int w = place.at[2] + share.phase_w + (thread / 4 + 8 * part) * pass.strip;
    int64_t line = ((int64_t)place.sample * pass.extent[0] + d) * pass.extent[1] + h;
    T *to = (T *)pass.target + (line * pass.extent[2] + w) * pass.channels + channel;
    if (count <= 0 || w >= pass.extent[2]) continue;
#pragma unroll
    for (int row = 0; row < ROWS; row++, to += (int64_t)pass.extent[2] * pass.channels) {
      float values[COUNT];
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        values[i] = sums[row][i / 2][2 * part + i % 2] + bias[i];
        values[i] = values[i] > 0 ? values[i] : pass.slope * values[i];
      }
      if (h + row < pass.extent[1]) store_voxel<T, ALIGNED>(to, values, count, pass.add);
    }
  }
}

/* Leaves the sums 0. */
template <typename T, int ROWS, int GROUPS>
__device__ static inline void store_sums(float (&sums)[ROWS][GROUPS][4],
                                         const struct matrix_pass &pass, const struct place &place,
                                         const struct share &share) {
  bool aligned = pass.channels % (2 * GROUPS) == 0;
  if (sizeof(T) == 4 || pass.wide) {
    if (aligned)
      store_rows<float, true>(sums, pass, place, share);
    else
      store_rows<float, false>(sums, pass, place, share);
  } else {
    if (aligned)
      store_rows<T, true>(sums, pass, place, share);
    else
      store_rows<T, false>(sums, pass, place, share);
  }
#pragma unroll
  for (int row = 0; row < ROWS; row++)
#pragma unroll
    for (int group = 0; group < GROUPS; group++)
#pragma unroll
      for (int k = 0; k < 4; k++) sums[row][group][k] = 0;
}
