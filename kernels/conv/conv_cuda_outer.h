/* Products of channels summed over voxels, on tensor cores: how voxels lie in shared memory and how
 * matrices are taken from there. A row along w lies voxel by voxel, a voxel's channels are CHUNKS
 * of 16 bytes; these change places with the voxel's column, so that 8 neighbouring voxels of one
 * chunk lie in different banks. */
#pragma once
#include "kernels/common/cuda_matrix.h"

/* What is added to the number of a chunk (by exclusive or) in a column. */
template <int CHUNKS>
static __device__ inline int outer_swizzle(int column) {
  if (CHUNKS == 2) return column >> 2 & 1;
  return (column >> 1 & 1) << 1 | (column >> 2 & 1);
}

/* Matrices whose depth are 16 voxels along w: 16 channels by these (left), and these by 16 channels
 * (right), which are two matrices of 8 columns. */
template <typename T>
struct outer_matrix {
  struct left {
    unsigned value[4];
  };
  struct right {
    unsigned value[4];
  };
  /* The first byte of a lane in a row; the following rows and chunks are at fixed distances. */
  template <int CHUNKS>
  static __device__ unsigned left_offset(int column) {
    int lane = threadIdx.x % 32, chunk = lane >> 3 & 1;
    column += lane % 8 + (lane >> 4) * 8;
    return (column * CHUNKS + (chunk ^ outer_swizzle<CHUNKS>(column))) * 16;
  }
  template <int CHUNKS>
  static __device__ unsigned right_offset() {
    int lane = threadIdx.x % 32, chunk = lane >> 4, column = lane % 16;
    return (column * CHUNKS + (chunk ^ outer_swizzle<CHUNKS>(column))) * 16;
  }
  static __device__ void load(struct left &to, const unsigned char *plane, unsigned offset) {
    cuda_matrix_load_transposed(to.value, cuda_shared_of(plane + offset));
  }
  static __device__ void load(struct right &to, const unsigned char *plane, unsigned offset) {
    cuda_matrix_load_transposed(to.value, cuda_shared_of(plane + offset));
  }
  static __device__ void multiply(float (&sum)[2][4], const struct left &left,
                                  const struct right &right) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const unsigned b[2] = {right.value[2 * j], right.value[2 * j + 1]};
      cuda_matrix_multiply<T>(sum[j], left.value, b);
    }
  }
};

/* A float is the sum of two TF32 numbers; of their four products the smallest is left out. */
template <>
struct outer_matrix<float> {
  struct left {
    float value[2][4]; /* 8 voxels each; split when they are needed, to save registers */
  };
  struct right {
    unsigned high[2][2][2], low[2][2][2];
  };
  template <int CHUNKS>
  static __device__ unsigned left_offset(int column) {
    int lane = threadIdx.x % 32, channel = lane / 4;
    column += lane % 4;
    return (column * CHUNKS + (channel / 4 ^ outer_swizzle<CHUNKS>(column))) * 16 + channel % 4 * 4;
  }
  template <int CHUNKS>
  static __device__ unsigned right_offset() {
    return left_offset<CHUNKS>(0);
  }
  /* Of 4 chunks: 4 voxels further, chunks swap in pairs; 8 channels are 2 chunks. */
  static __device__ float read(const unsigned char *plane, unsigned offset, int voxels, int upper) {
    unsigned at = (offset + voxels * 64) ^ (voxels / 4 % 2 * 16) ^ (upper * 32);
    return *reinterpret_cast<const float *>(plane + at);
  }
  static __device__ void split(float value, unsigned &high, unsigned &low) {
    high = cuda_matrix_tf32(value);
    low = cuda_matrix_tf32(value - cuda_matrix_tf32_float(high));
  }
  static __device__ void load(struct left &to, const unsigned char *plane, unsigned offset) {
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) to.value[k][i] = read(plane, offset, 8 * k + i / 2 * 4, i % 2);
  }
  static __device__ void load(struct right &to, const unsigned char *plane, unsigned offset) {
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int j = 0; j < 2; j++)
#pragma unroll
        for (int i = 0; i < 2; i++)
          split(read(plane, offset, 8 * k + 4 * i, j), to.high[k][j][i], to.low[k][j][i]);
  }
  static __device__ void multiply(float (&sum)[2][4], const struct left &left,
                                  const struct right &right) {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      unsigned high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; i++) split(left.value[k][i], high[i], low[i]);
#pragma unroll
      for (int j = 0; j < 2; j++)
        cuda_matrix_multiply_split(sum[j], high, low, right.high[k][j], right.low[k][j]);
    }
  }
};
