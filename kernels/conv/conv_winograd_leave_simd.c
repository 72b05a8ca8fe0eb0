/* The third stage: products transformed back, with bias, activation and what the target holds. */
#include "kernels/conv/conv_winograd_transform.h"

enum { MOST_OUTPUTS = 2, MOST_OUTPUTS_W = 4 };

/* Rows of the target under a run of tiles; NULL outside. */
struct rows {
  float *row[MOST_OUTPUTS][MOST_OUTPUTS]; /* [d][h] */
  int column, columns;                    /* the first of the run; all of a row */
  int64_t pitch;                          /* floats from column to column */
};

WINOGRAD_INLINE simd wide_output_of(const simd m[], const int output) {
  const simd of_one = output % 2 == 0 ? m[1] + m[2] : m[1] - m[2];
  const simd of_point = output % 2 == 0 ? m[3] + m[4] : m[3] - m[4];
  if (output == 0) return m[0] + of_one + of_point;
  if (output == 1) return of_one + WINOGRAD_POINT * of_point;
  if (output == 2) return of_one + WINOGRAD_SQUARED * of_point;
  return of_one + WINOGRAD_POINT * WINOGRAD_SQUARED * of_point + m[5];
}

/* Of a WIDE_PAIR; of a WIDE_LONE tap there is no fifth point. */
WINOGRAD_INLINE simd wide_pair_output_of(const simd m[], const bool pair, const int output) {
  const simd of_half = output % 2 == 0 ? m[0] + m[1] : m[0] - m[1];
  const simd of_more = output % 2 == 0 ? m[2] + m[3] : m[2] - m[3];
  if (output == 0) return of_half + of_more;
  if (output == 1) return 0.5F * of_half + 1.5F * of_more;
  if (output == 2) return 0.25F * of_half + 2.25F * of_more;
  if (pair) return 0.125F * of_half + 3.375F * of_more + m[4];
  return 0.125F * of_half + 3.375F * of_more;
}

WINOGRAD_INLINE simd output_of(const simd m[], const enum winograd_kind kind, const int output) {
  if (kind == WINOGRAD_ONE || kind == WINOGRAD_DOWN) return m[0];
  if (kind == WINOGRAD_WIDE) return wide_output_of(m, output);
  if (kind == WINOGRAD_WIDE_DOWN)
    return output == 0 ? m[0] + m[1] + m[2] : m[1] + WINOGRAD_SQUARED * m[2] + m[3];
  if (kind == WINOGRAD_WIDE_PAIR || kind == WINOGRAD_WIDE_LONE)
    return wide_pair_output_of(m, kind == WINOGRAD_WIDE_PAIR, output);
  if (kind != WINOGRAD_FULL && output == 0) return m[0] + m[1];
  if (kind == WINOGRAD_PAIR) return m[1] - m[2];
  if (kind == WINOGRAD_LONE) return m[1];
  return output == 0 ? m[0] + m[1] + m[2] : m[1] - m[2] - m[3];
}

/* What point `point` counts in target voxel `output` of a tile, along d. */
static inline int share_of(const enum winograd_kind kind, const int output, const int point) {
  static const int shares[MOST_OUTPUTS][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
  if (kind == WINOGRAD_ONE || kind == WINOGRAD_DOWN) return 1;
  if (kind != WINOGRAD_FULL && output == 0 && point == 2) return 0;
  return shares[output][point];
}

WINOGRAD_INLINE void add_share(simd *sum, simd value, const int share) {
  if (share > 0) *sum += value;
  if (share < 0) *sum -= value;
}

/* The points of one d of a tile, transformed along h and w, added to its outputs. */
WINOGRAD_INLINE void leave_plane(simd y[MOST_OUTPUTS][MOST_OUTPUTS][MOST_OUTPUTS_W], const float *m,
                                 size_t pitch, const int kd, const int kh, const int kw,
                                 const int pd) {
  const int pw_count = winograd_returned(kw), ph_count = winograd_returned(kh);
  simd line[MOST_OUTPUTS_W][WINOGRAD_MOST_WINDOW];
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
    simd y[MOST_OUTPUTS][MOST_OUTPUTS][MOST_OUTPUTS_W] = {0};
    SIMD_UNROLL
    for (int pd = 0; pd < winograd_returned(kd); pd++)
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
            store(target, row + (column + w) * rows->pitch + part, y[d][h][w] + start);
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
LEAVE(leave_down_3d, DOWN, DOWN, DOWN)
LEAVE(leave_wide_3d, FULL, FULL, WIDE)
LEAVE(leave_wide_down_3d, DOWN, DOWN, WIDE_DOWN)
LEAVE(leave_full_hw, ONE, FULL, FULL)
LEAVE(leave_wide_hw, ONE, FULL, WIDE)
LEAVE(leave_full_dh, FULL, FULL, ONE)
LEAVE(leave_ppp, PAIR, PAIR, PAIR)
LEAVE(leave_ppl, PAIR, PAIR, LONE)
LEAVE(leave_plp, PAIR, LONE, PAIR)
LEAVE(leave_pll, PAIR, LONE, LONE)
LEAVE(leave_lpp, LONE, PAIR, PAIR)
LEAVE(leave_lpl, LONE, PAIR, LONE)
LEAVE(leave_llp, LONE, LONE, PAIR)
LEAVE(leave_lll, LONE, LONE, LONE)
LEAVE(leave_wide_ppp, PAIR, PAIR, WIDE_PAIR)
LEAVE(leave_wide_ppl, PAIR, PAIR, WIDE_LONE)
LEAVE(leave_wide_plp, PAIR, LONE, WIDE_PAIR)
LEAVE(leave_wide_pll, PAIR, LONE, WIDE_LONE)
LEAVE(leave_wide_lpp, LONE, PAIR, WIDE_PAIR)
LEAVE(leave_wide_lpl, LONE, PAIR, WIDE_LONE)
LEAVE(leave_wide_llp, LONE, LONE, WIDE_PAIR)
LEAVE(leave_wide_lll, LONE, LONE, WIDE_LONE)

static leave_function *const leaves[WINOGRAD_FAMILIES] = {
    [WINOGRAD_FULL_3D] = leave_full_3d,   [WINOGRAD_DOWN_3D] = leave_down_3d,
    [WINOGRAD_WIDE_3D] = leave_wide_3d,   [WINOGRAD_WIDE_DOWN_3D] = leave_wide_down_3d,
    [WINOGRAD_FULL_HW] = leave_full_hw,   [WINOGRAD_WIDE_HW] = leave_wide_hw,
    [WINOGRAD_FULL_DH] = leave_full_dh,   [WINOGRAD_PPP] = leave_ppp,
    [WINOGRAD_PPL] = leave_ppl,           [WINOGRAD_PLP] = leave_plp,
    [WINOGRAD_PLL] = leave_pll,           [WINOGRAD_LPP] = leave_lpp,
    [WINOGRAD_LPL] = leave_lpl,           [WINOGRAD_LLP] = leave_llp,
    [WINOGRAD_LLL] = leave_lll,           [WINOGRAD_WIDE_PPP] = leave_wide_ppp,
    [WINOGRAD_WIDE_PPL] = leave_wide_ppl, [WINOGRAD_WIDE_PLP] = leave_wide_plp,
    [WINOGRAD_WIDE_PLL] = leave_wide_pll, [WINOGRAD_WIDE_LPP] = leave_wide_lpp,
    [WINOGRAD_WIDE_LPL] = leave_wide_lpl, [WINOGRAD_WIDE_LLP] = leave_wide_llp,
    [WINOGRAD_WIDE_LLL] = leave_wide_lll,
};

static void find_rows(const struct winograd_target *target, const struct winograd_grid *grid,
                      int block, const struct winograd_run *run, struct rows *rows) {
  const struct winograd_view *view = &target->view;
  int outputs[3];
  for (int i = 0; i < 3; i++) outputs[i] = winograd_outputs(winograd_axis_kind(target->family, i));
  rows->columns = view->extent[2];
  rows->column = grid->first[2] + run->w * outputs[2];
  rows->pitch = view->pitch[2];
  float *start = target->whole->data + view->start + run->n * view->sample + block * view->block;
  for (int i = 0; i < outputs[0]; i++)
    for (int j = 0; j < outputs[1]; j++) {
      int d = grid->first[0] + run->d * outputs[0] + i;
      int h = grid->first[1] + run->h * outputs[1] + j;
      bool inside = d >= 0 && d < view->extent[0] && h >= 0 && h < view->extent[1];
      rows->row[i][j] = inside ? start + d * view->pitch[0] + h * view->pitch[1] : NULL;
    }
}

void SIMD_NAME(winograd_leave)(const struct winograd_target *target,
                               const struct winograd_grid *grid, int block,
                               const struct winograd_runs *runs, const float *m, size_t pitch) {
  const struct conv_target *whole = target->whole;
  const float *bias = whole->bias ? whole->bias + block * CHANNEL_BLOCK : NULL;
  for (int i = 0; i < runs->count; i++) {
    const struct winograd_run *run = &runs->run[i];
    struct rows rows;
    find_rows(target, grid, block, run, &rows);
    leaves[target->family](whole, &rows, bias, m + (size_t)run->at * CHANNEL_BLOCK, pitch,
                           run->count);
  }
}
