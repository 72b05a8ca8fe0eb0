/* What a warp of a pass on tensor cores multiplies. Nothing is gathered into a matrix: each tap is
 * a shift of the addresses in the window that fragments are loaded from. Rows of a warp lie along
 * h, so a fragment of source voxels serves up to three taps. */
#pragma once
#include "kernels/conv/conv_cuda_matrix_load.h"

/* A fragment of COUNT registers. float32 is the sum of two TF32 values. */
template <typename T, int COUNT>
struct operand {
  unsigned value[COUNT];
};
template <int COUNT>
struct operand<float, COUNT> {
  unsigned value[COUNT], rest[COUNT];
};

template <typename T, int COUNT>
__device__ static inline void set_operand(struct operand<T, COUNT> &to, const unsigned *from) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) to.value[i] = from[i];
}
template <int COUNT>
__device__ static inline void set_operand(struct operand<float, COUNT> &to, const unsigned *from) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    float value = cuda_matrix_tf32_float(from[i]);
    to.value[i] = cuda_matrix_tf32(value);
    to.rest[i] = cuda_matrix_tf32(value - cuda_matrix_tf32_float(to.value[i]));
  }
}

template <typename T>
__device__ static inline void multiply(float (&c)[4], const struct operand<T, 4> &a,
                                       const struct operand<T, 2> &b) {
  cuda_matrix_multiply<T>(c, a.value, b.value);
}
__device__ static inline void multiply(float (&c)[4], const struct operand<float, 4> &a,
                                       const struct operand<float, 2> &b) {
  cuda_matrix_multiply_split(c, a.value, a.rest, b.value, b.rest);
}

/* TAPS taps along h for every STRIDE-th of a warp's rows from FIRST on: row j of them reads source
 * row j + tap. `a` and `b` are the lane's addresses of the first, and the steps to the next.
 * float32 sums start anew here, since tensor cores truncate theirs: the error stays that of few
 * terms. */
template <typename T, int ROWS, int GROUPS, int TAPS, int FIRST, int STRIDE>
__device__ static inline void accumulate(float (&sums)[ROWS][GROUPS][4], cuda_shared a, int a_step,
                                         cuda_shared b, int b_step) {
  constexpr int USED = (ROWS - FIRST + STRIDE - 1) / STRIDE;
  constexpr bool ANEW = sizeof(T) == 4;
  struct operand<T, 2> weights[TAPS][GROUPS];
  float anew[USED][GROUPS][4];
#pragma unroll
  for (int tap = 0; tap < TAPS; tap++)
#pragma unroll
    for (int pair = 0; pair < GROUPS / 2; pair++) {
      unsigned loaded[4];
      cuda_matrix_load(loaded, b + tap * b_step + pair * 16 * MATRIX_CHUNK);
      set_operand(weights[tap][2 * pair], loaded);
      set_operand(weights[tap][2 * pair + 1], loaded + 2);
    }
#pragma unroll
  for (int i = 0; i < USED + TAPS - 1; i++) {
    struct operand<T, 4> voxels;
    unsigned loaded[4];
    cuda_matrix_load(loaded, a + i * a_step);
    set_operand(voxels, loaded);
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
      const int row = i - tap;
      if (row < 0 || row >= USED) continue;
#pragma unroll
      for (int group = 0; group < GROUPS; group++) {
        float(&sum)[4] = sums[FIRST + row * STRIDE][group];
        if (!ANEW) {
          multiply(sum, voxels, weights[tap][group]);
          continue;
        }
        float(&fresh)[4] = anew[row][group];
#pragma unroll
        for (int k = 0; k < 4 && tap == 0; k++) fresh[k] = 0;
        multiply(fresh, voxels, weights[tap][group]);
#pragma unroll
        for (int k = 0; k < 4 && tap == TAPS - 1; k++) sum[k] += fresh[k];
      }
    }
  }
}

/* Addresses of a lane for one tap along w, and the steps of rows and of taps along h. */
struct lane {
  cuda_shared a, b;
  int row, tap;
};

/* All taps along h where the source has one phase there: voxel h reads rows step*h + tap, so taps
 * of the same remainder by step share rows. */
template <typename T, int ROWS, int GROUPS>
__device__ static inline void accumulate_rows(float (&sums)[ROWS][GROUPS][4],
                                              const struct matrix_source &source,
                                              const struct lane &lane) {
  int step = source.step[1], taps = source.taps[1][0];
  for (int first = 0; first < step && first < taps; first++)
    for (int tap = first; tap < taps; tap += 3 * step) {
      cuda_shared a = lane.a + tap * lane.row, b = lane.b + tap * lane.tap;
      int left = (taps - tap + step - 1) / step, row = step * lane.row, next = step * lane.tap;
      if (left >= 3)
        accumulate<T, ROWS, GROUPS, 3, 0, 1>(sums, a, row, b, next);
      else if (left == 2)
        accumulate<T, ROWS, GROUPS, 2, 0, 1>(sums, a, row, b, next);
      else
        accumulate<T, ROWS, GROUPS, 1, 0, 1>(sums, a, row, b, next);
    }
}

/* The same for one of two phases. */
template <typename T, int ROWS, int GROUPS, int PHASE>
__device__ static inline void accumulate_phase(float (&sums)[ROWS][GROUPS][4],
                                               const struct matrix_source &source,
                                               const struct lane &lane) {
  int taps = source.taps[1][PHASE], phase = source.most_taps[1] * source.phases[2] * lane.tap;
  cuda_shared a = lane.a + source.offset[1][PHASE] * lane.row, b = lane.b + PHASE * phase;
  for (int tap = 0; tap < taps; tap += 2)
    if (taps - tap >= 2)
      accumulate<T, ROWS, GROUPS, 2, PHASE, 2>(sums, a + tap * lane.row, lane.row,
                                               b + tap * lane.tap, lane.tap);
    else
      accumulate<T, ROWS, GROUPS, 1, PHASE, 2>(sums, a + tap * lane.row, lane.row,
                                               b + tap * lane.tap, lane.tap);
}

/* Adds all taps of a tap along d to a warp's sums. */
template <typename T, int ROWS, int GROUPS, bool PHASED>
__device__ static inline void accumulate_slice(float (&sums)[ROWS][GROUPS][4],
                                               const struct matrix_pass &pass,
                                               const struct share &share, struct cursor at,
                                               cuda_shared window, cuda_shared slice) {
  const struct matrix_source &source = pass.source[at.source];
  const int thread = threadIdx.x % 32, tap_bytes = pass.block_channels * MATRIX_CHUNK;
  bool phased[3];
  for (int i = 0; i < 3; i++) phased[i] = PHASED && source.phases[i] == 2;
  int phase_d = phased[0] ? share.d & 1 : 0, phase_w = phased[2] ? share.phase_w : 0;
  if (at.tap >= source.taps[0][phase_d]) return;
  int d = (phased[0] ? share.d / 2 + source.offset[0][phase_d] : share.d * source.step[0]) + at.tap;
  int h = phased[1] ? share.h / 2 : share.h * source.step[1];
  int w = phased[2] ? source.offset[2][phase_w] : share.phase_w * source.step[2];
  struct lane lane;
  lane.row = source.pitch * MATRIX_CHUNK;
  lane.tap = source.most_taps[2] * tap_bytes;
  int phase = phase_d * source.phases[1] * source.phases[2] + phase_w;
  int column = (thread >> 4) * 8 + (thread & 7);
  cuda_shared weights = slice + phase * source.most_taps[1] * lane.tap +
                        (share.warp_n * 8 * GROUPS + column) * MATRIX_CHUNK +
                        16 * swapped(column, thread >> 3 & 1);
  cuda_shared rows = window + (d * source.window[1] + h) * lane.row;
  int shift = source.lane_step - 1;
  for (int tap = 0; tap < source.taps[2][phase_w]; tap++) {
    int first = w + tap;
    int position = (first & shift) * source.part + (first >> shift) + (thread & 15);
    lane.a = rows + position * MATRIX_CHUNK + 16 * swapped(position, thread >> 4);
    lane.b = weights + tap * tap_bytes;
    if (phased[1]) {
      accumulate_phase<T, ROWS, GROUPS, 0>(sums, source, lane);
      accumulate_phase<T, ROWS, GROUPS, 1>(sums, source, lane);
    } else {
      accumulate_rows<T, ROWS, GROUPS>(sums, source, lane);
    }
  }
}
