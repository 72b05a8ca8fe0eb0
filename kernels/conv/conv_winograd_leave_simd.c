/* The third stage: products transformed back, with bias, activation and what the target holds. */
#include "kernels/conv/conv_winograd_transform.h"

enum { MOST_OUTPUTS = 2 };

/* Rows of the target under a run of tiles; NULL outside. */
struct rows {
  float *row[MOST_OUTPUTS][MOST_OUTPUTS]; /* [d][h] */
  int column, columns;                    /* the first of the run; all of a row */
};

WINOGRAD_INLINE simd output_of(const simd m[], const enum winograd_kind kind, const int output) {
  if (kind == WINOGRAD_ONE) return m[0];
  return output == 0 ? m[0] + m[1] + m[2] : m[1] - m[2] - m[3];
}

/* What point `point` counts in target voxel `output` of a tile. */
static inline int share_of(const enum winograd_kind kind, const int output, const int point) {
  static const int shares[MOST_OUTPUTS][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
  return kind == WINOGRAD_ONE ? 1 : shares[output][point];
}

WINOGRAD_INLINE void add_share(simd *sum, simd value, const int share) {
  if (share > 0) *sum += value;
  if (share < 0) *sum -= value;
}

/* The points of one d of a tile, transformed along h and w, added to its outputs. */
WINOGRAD_INLINE void leave_plane(simd y[MOST_OUTPUTS][MOST_OUTPUTS][MOST_OUTPUTS], const float *m,
                                 size_t pitch, const int kd, const int kh, const int kw,
                                 const int pd) {
  const int pw_count = winograd_points(kw), ph_count = winograd_points(kh);
  simd line[MOST_OUTPUTS][WINOGRAD_MOST_WINDOW];
  SIMD_UNROLL
  for (int ph = 0; ph < ph_count; ph++) {
    simd points[WINOGRAD_MOST_WINDOW];
    SIMD_UNROLL
    for (int pw = 0; pw < pw_count; pw++)
      points[pw] = simd_load(m + pitch * (size_t)((pd * ph_count + ph) * pw_count + pw));
    SIMD_UNROLL
    for (int w = 0; w < winograd_outputs(kw); w++) line[w][ph] = output_of(points, kw, w);
  }
  SIMD_UNROLL
  for (int w = 0; w < winograd_outputs(kw); w++) {
    SIMD_UNROLL
    for (int h = 0; h < winograd_outputs(kh); h++) {
      simd value = output_of(line[w], kh, h);
      SIMD_UNROLL
      for (int d = 0; d < winograd_outputs(kd); d++)
        add_share(&y[d][h][w], value, share_of(kd, d, pd));
    }
  }
}

WINOGRAD_INLINE void store(const struct conv_target *target, float *to, simd value) {
  value = conv_leaky(value, target->slope);
  if (target->add) value += simd_load(to);
  simd_store(to, value);
}

WINOGRAD_INLINE void leave(const struct conv_target *target, const struct rows *rows,
                           const float *bias, const float *m, size_t pitch, int tiles, int part,
                           const int kd, const int kh, const int kw) {
  const simd start = bias ? simd_load(bias + part) : (simd){0};
  for (int t = 0, column = rows->column; t < tiles;
       t++, m += CHANNEL_BLOCK, column += winograd_outputs(kw)) {
    simd y[MOST_OUTPUTS][MOST_OUTPUTS][MOST_OUTPUTS] = {0};
    SIMD_UNROLL
    for (int pd = 0; pd < winograd_points(kd); pd++)
      leave_plane(y, m + part, pitch, kd, kh, kw, pd);
    SIMD_UNROLL
    for (int d = 0; d < winograd_outputs(kd); d++) {
      SIMD_UNROLL
      for (int h = 0; h < winograd_outputs(kh); h++) {
        float *row = rows->row[d][h];
        if (!row) continue;
        SIMD_UNROLL
        for (int w = 0; w < winograd_outputs(kw); w++)
          if (column + w >= 0 && column + w < rows->columns)
            store(target, row + (int64_t)(column + w) * CHANNEL_BLOCK + part, y[d][h][w] + start);
      }
    }
  }
}

typedef void leave_function(const struct conv_target *target, const struct rows *rows,
                            const float *bias, const float *m, size_t pitch, int tiles);

#define LEAVE(name, kd, kh, kw)                                                                  \
  static void name(const struct conv_target *target, const struct rows *rows, const float *bias, \
                   const float *m, size_t pitch, int tiles) {                                    \
    for (int part = 0; part < CHANNEL_BLOCK; part += SIMD_WIDTH)                                 \
      leave(target, rows, bias, m, pitch, tiles, part, WINOGRAD_##kd, WINOGRAD_##kh,             \
            WINOGRAD_##kw);                                                                      \
  }
LEAVE(leave_full_3d, FULL, FULL, FULL)
LEAVE(leave_sum, ONE, ONE, ONE)
LEAVE(leave_full_hw, ONE, FULL, FULL)
LEAVE(leave_full_dh, FULL, FULL, ONE)

static leave_function *const leaves[WINOGRAD_FAMILIES] = {[WINOGRAD_FULL_3D] = leave_full_3d,
                                                          [WINOGRAD_UP_3D] = leave_full_3d,
                                                          [WINOGRAD_DOWN_3D] = leave_sum,
                                                          [WINOGRAD_FULL_HW] = leave_full_hw,
                                                          [WINOGRAD_FULL_DH] = leave_full_dh};

void SIMD_NAME(winograd_leave_run)(const struct conv_target *target,
                                   const struct winograd_grid *grid, enum winograd_family family,
                                   int block, const struct winograd_run *run, const float *m,
                                   size_t pitch) {
  struct shape s = target->tensor->shape;
  int outputs[3];
  for (int i = 0; i < 3; i++) outputs[i] = winograd_outputs(winograd_axis_kind(family, i));
  struct rows rows = {.columns = s.w, .column = grid->first[2] + run->w * outputs[2]};
  for (int i = 0; i < outputs[0]; i++)
    for (int j = 0; j < outputs[1]; j++) {
      int d = grid->first[0] + run->d * outputs[0] + i;
      int h = grid->first[1] + run->h * outputs[1] + j;
      if (d < 0 || d >= s.d || h < 0 || h >= s.h) continue;
      rows.row[i][j] =
          target->data + tensor_at(target->tensor, run->n, block * CHANNEL_BLOCK, d, h, 0);
    }
  leaves[family](target, &rows, target->bias ? target->bias + block * CHANNEL_BLOCK : NULL,
                 m + (size_t)run->at * CHANNEL_BLOCK, pitch, run->count);
}
