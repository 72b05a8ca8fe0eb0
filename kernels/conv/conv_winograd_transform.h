/* How tiles enter and leave the transformed domain. A batch of tiles is stored
 * [point][tile][16 channels]; one row more than tiles lies between points, so that they do not fall
 * into the same lines of a cache. All parameters named kd, kh, kw, and points and outputs are
 * constants to the compiler. */
#pragma once
#include <math.h>
#include "kernels/conv/conv_winograd.h"

enum {
  WINOGRAD_MOST_WINDOW = 6,
  /* floats of a batch of tiles of one block of channels: at most 96 points of 24 tiles, 45 of 48,
   * 27 of 72, 24 of 96; and of one that the processor's tiles multiply, whose rows come in
   * sixteens */
  WINOGRAD_BATCH_FLOATS = 96 * 25 * CHANNEL_BLOCK,
  WINOGRAD_AMX_BATCH_FLOATS = 96 * 33 * CHANNEL_BLOCK,
};

/* How many tiles are computed together on the way to a target; as many of all its parts. */
static inline int winograd_batch(enum winograd_family target, bool amx) {
  const int points =
      winograd_family_points(winograd_is_part(target) ? winograd_target_family(target) : target);
  if (points <= 24) return 96;
  if (points <= 32) return amx ? 80 : 72;
  if (points <= 48) return 48;
  return amx ? 32 : 24;
}
/* Floats from point to point. */
static inline size_t winograd_pitch(int batch) {
  return (size_t)(batch + 1) * CHANNEL_BLOCK;
}

/* Tiles side by side along w: tiles w .. w + count - 1 of tile row (d, h), which are tiles `at` ..
 * of their batch. */
struct winograd_run {
  int n, d, h, w, at, count;
};

/* All runs of a batch. */
enum { WINOGRAD_MOST_BATCH = 192 };
struct winograd_runs {
  int count;
  struct winograd_run run[WINOGRAD_MOST_BATCH];
};

/* Those of tiles first .. end - 1 of all samples' tiles. */
static inline void winograd_find_runs(const struct winograd_grid *grid, int64_t first, int64_t end,
                                      struct winograd_runs *runs) {
  const int *tiles = grid->tiles;
  const int batch = (int)(end - first);
  struct winograd_run run = {.w = (int)(first % tiles[2])};
  run.h = (int)(first / tiles[2] % tiles[1]);
  run.d = (int)(first / tiles[2] / tiles[1] % tiles[0]);
  run.n = (int)(first / winograd_grid_tiles(grid));
  for (runs->count = 0; run.at < batch; run.at += run.count, run.w = 0) {
    int left = tiles[2] - run.w;
    run.count = batch - run.at < left ? batch - run.at : left;
    runs->run[runs->count++] = run;
    if (++run.h == tiles[1]) run.h = 0, run.d++;
    if (run.d == tiles[0]) run.d = 0, run.n++;
  }
}

/* Rows of a source under a run of tiles; outside the source they are rows of zeros. */
struct winograd_window {
  const float *rows[WINOGRAD_MOST_WINDOW][WINOGRAD_MOST_WINDOW]; /* [d][h] */
  const float *zeros[WINOGRAD_MOST_WINDOW][WINOGRAD_MOST_WINDOW];
  int column, columns; /* the first of the run; all of a row */
  int64_t pitch;       /* floats from column to column */
  int64_t below; /* floats to the rows that the run of the next tile row will be the first to read;
                    0: there are none */
};

#define WINOGRAD_INLINE static inline __attribute__((always_inline))

/* The point of WIDE kinds besides 0, 1, -1 and infinity, with its negative; and its square. */
#define WINOGRAD_POINT 1.5F
#define WINOGRAD_SQUARED 2.25F

/* One point of a window along one axis: the sum or difference of two voxels. */
WINOGRAD_INLINE simd winograd_terms(const simd x[], const enum winograd_kind kind,
                                    const int point) {
  static const struct terms {
    int plus, other, sign; /* x[plus] + sign x[other]; plus < 0: 0 */
  } all[][4] = {
      [WINOGRAD_ONE] = {{0, 0, 0}},
      [WINOGRAD_FULL] = {{0, 2, -1}, {1, 2, 1}, {2, 1, -1}, {1, 3, -1}},
      [WINOGRAD_UP] = {{0, 1, -1}, {1, 0, 0}, {1, 2, -1}},
      [WINOGRAD_DOWN] = {{0, 2, -1}, {1, 2, 1}, {3, 1, -1}},
      [WINOGRAD_PAIR] = {{0, 1, -1}, {1, 0, 0}, {1, 2, -1}},
      [WINOGRAD_LONE] = {{0, 1, -1}, {1, 0, 0}},
      [WINOGRAD_SPREAD] = {{0, 0, 0}, {0, 1, 1}, {0, 1, -1}, {-1, 1, -1}},
      [WINOGRAD_SPREAD_UP] = {{0, 0, 0}, {0, 1, 1}, {-1, 1, -1}},
  };
  const struct terms terms = all[kind][point];
  if (terms.plus < 0) return -x[terms.other];
  if (terms.sign == 0) return x[terms.plus];
  if (terms.sign > 0) return x[terms.plus] + x[terms.other];
  return x[terms.plus] - x[terms.other];
}

/* The points of a WIDE window: 0, 1, -1, 3/2, -3/2 and infinity. */
WINOGRAD_INLINE simd winograd_wide(const simd x[], const int point) {
  const simd even = x[4] - x[2], odd = x[3] - x[1];
  const simd even_of_one = x[4] - WINOGRAD_SQUARED * x[2],
             odd_of_one = x[3] - WINOGRAD_SQUARED * x[1];
  switch (point) {
    case 0:
      return even + WINOGRAD_SQUARED * (x[0] - x[2]);
    case 1:
      return even_of_one + odd_of_one;
    case 2:
      return even_of_one - odd_of_one;
    case 3:
      return even + WINOGRAD_POINT * odd;
    case 4:
      return even - WINOGRAD_POINT * odd;
    default:
      return (x[5] - x[3]) - WINOGRAD_SQUARED * odd;
  }
}

/* The same of a window read through an upsampling: (x0, x1, x1, x2, x2, x3). */
WINOGRAD_INLINE simd winograd_wide_up(const simd x[], const int point) {
  const simd middle = x[2] - x[1];
  switch (point) {
    case 0:
      return middle + WINOGRAD_SQUARED * (x[0] - x[1]);
    case 1:
      return x[2] - WINOGRAD_SQUARED * x[1];
    case 2:
      return middle;
    default:
      return (x[3] - x[2]) - WINOGRAD_SQUARED * middle;
  }
}

/* The points of a WIDE_PAIR's window: 1/2, -1/2, 3/2, -3/2 and infinity. */
WINOGRAD_INLINE simd winograd_wide_pair(const simd x[], const int point) {
  const simd odd_of_half = x[3] - 2.25F * x[1], even_of_half = x[2] - 2.25F * x[0];
  const simd odd = x[3] - 0.25F * x[1], even = x[2] - 0.25F * x[0];
  switch (point) {
    case 0:
      return odd_of_half + 0.5F * even_of_half;
    case 1:
      return odd_of_half - 0.5F * even_of_half;
    case 2:
      return odd + 1.5F * even;
    case 3:
      return odd - 1.5F * even;
    default:
      return (x[4] - 0.25F * x[2]) - 2.25F * even;
  }
}

/* What the gradients of 4 target voxels are to the products of value `at`: their polynomial there.
 */
WINOGRAD_INLINE simd winograd_spread_at(const simd x[], const float at) {
  if (at == 0) return x[0];
  if (at == INFINITY) return x[3];
  return (x[0] + at * at * x[2]) + at * (x[1] + at * at * x[3]);
}

/* The same for points of WIDE and WIDE_PAIR. */
WINOGRAD_INLINE simd winograd_spread_wide(const simd x[], const int point) {
  static const float at[] = {0, 1, -1, WINOGRAD_POINT, -WINOGRAD_POINT, INFINITY};
  return winograd_spread_at(x, at[point]);
}
WINOGRAD_INLINE simd winograd_spread_wide_pair(const simd x[], const int point) {
  static const float at[] = {0.5F, -0.5F, 1.5F, -1.5F, INFINITY};
  return winograd_spread_at(x, at[point]);
}

/* One point of a window along one axis. */
WINOGRAD_INLINE simd winograd_input(const simd x[], const enum winograd_kind kind,
                                    const int point) {
  const int but_second = point + (point >= 2);
  if (kind == WINOGRAD_WIDE) return winograd_wide(x, point);
  if (kind == WINOGRAD_WIDE_DOWN) return winograd_wide(x, but_second);
  if (kind == WINOGRAD_WIDE_UP) return winograd_wide_up(x, point);
  if (kind == WINOGRAD_SPREAD_WIDE) return winograd_spread_wide(x, point);
  if (kind == WINOGRAD_SPREAD_WIDE_UP) return winograd_spread_wide(x, but_second);
  if (kind == WINOGRAD_WIDE_PAIR || kind == WINOGRAD_WIDE_LONE) return winograd_wide_pair(x, point);
  if (kind == WINOGRAD_SPREAD_WIDE_PAIR) return winograd_spread_wide_pair(x, point);
  return winograd_terms(x, kind, point);
}

/* Points (pd, all ph) of the window's column `at`. */
WINOGRAD_INLINE void winograd_load_column(simd points[], const struct winograd_window *window,
                                          int at, int part, const int kd, const int kh,
                                          const int pd) {
  bool inside = at >= 0 && at < window->columns;
  const float *const(*rows)[WINOGRAD_MOST_WINDOW] = inside ? window->rows : window->zeros;
  int64_t offset = (inside ? (int64_t)at * window->pitch : 0) + part;
  simd h[WINOGRAD_MOST_WINDOW];
  SIMD_UNROLL
  for (int j = 0; j < winograd_window(kh); j++) {
    simd d[WINOGRAD_MOST_WINDOW];
    SIMD_UNROLL
    for (int i = 0; i < winograd_window(kd); i++) d[i] = simd_load(rows[i][j] + offset);
    h[j] = winograd_input(d, kd, pd);
  }
  SIMD_UNROLL
  for (int ph = 0; ph < winograd_entered(kh); ph++) points[ph] = winograd_input(h, kh, ph);
}

/* Asks for what the tile below will be the first to read of column `at`: rows of window slice `pd`,
 * so that all are asked for once all pd are computed. */
WINOGRAD_INLINE void winograd_prefetch(const struct winograd_window *window, int at, const int kd,
                                       const int kh, const int pd) {
  if (pd >= winograd_window(kd) || window->below == 0 || at < 0 || at >= window->columns) return;
  SIMD_UNROLL
  for (int j = winograd_window(kh) - winograd_step(kh); j < winograd_window(kh); j++)
    __builtin_prefetch(window->rows[pd][j] + window->below + (int64_t)at * window->pitch);
}

/* Points (pd, all ph, all pw) of a run; columns that neighbouring tiles share are kept. */
WINOGRAD_INLINE void winograd_enter_plane(float *v, size_t pitch,
                                          const struct winograd_window *window, int tiles, int part,
                                          const int kd, const int kh, const int kw, const int pd) {
  const int length = winograd_window(kw), step = winograd_step(kw), kept = length - step;
  const int ph_count = winograd_entered(kh), pw_count = winograd_entered(kw);
  simd column[WINOGRAD_MOST_WINDOW][WINOGRAD_MOST_WINDOW];
  SIMD_UNROLL
  for (int i = 0; i < kept; i++)
    winograd_load_column(column[i], window, window->column + i, part, kd, kh, pd);
  for (int t = 0; t < tiles; t++, v += CHANNEL_BLOCK) {
    SIMD_UNROLL
    for (int i = kept; i < length; i++) {
      winograd_load_column(column[i], window, window->column + t * step + i, part, kd, kh, pd);
      if (part == 0) winograd_prefetch(window, window->column + t * step + i, kd, kh, pd);
    }
    SIMD_UNROLL
    for (int ph = 0; ph < ph_count; ph++) {
      simd x[WINOGRAD_MOST_WINDOW];
      SIMD_UNROLL
      for (int i = 0; i < length; i++) x[i] = column[i][ph];
      SIMD_UNROLL
      for (int pw = 0; pw < pw_count; pw++)
        simd_store(v + pitch * (ph * pw_count + pw), winograd_input(x, kw, pw));
    }
    SIMD_UNROLL
    for (int i = 0; i < kept; i++) {
      SIMD_UNROLL
      for (int ph = 0; ph < ph_count; ph++) column[i][ph] = column[i + step][ph];
    }
  }
}

/* v[entered point][tile][16] of a run, from its first tile on. */
WINOGRAD_INLINE void winograd_enter_windows(float *v, size_t pitch,
                                            const struct winograd_window *window, int tiles,
                                            const int kd, const int kh, const int kw) {
  const size_t plane = pitch * (size_t)(winograd_entered(kh) * winograd_entered(kw));
  for (int part = 0; part < CHANNEL_BLOCK; part += SIMD_WIDTH) {
    SIMD_UNROLL
    for (int pd = 0; pd < winograd_entered(kd); pd++)
      winograd_enter_plane(v + plane * (size_t)pd + part, pitch, window, tiles, part, kd, kh, kw,
                           pd);
  }
}

/* v[entered point][tile][16] of one block of channels of a source. */
void SIMD_NAME(winograd_enter)(float *v, size_t pitch, const struct winograd_source *source,
                               int group, const struct winograd_runs *runs, const float *zeros);

/* Target voxels of a batch from their products m[returned point][tile][16]. */
void SIMD_NAME(winograd_leave)(const struct winograd_target *target,
                               const struct winograd_grid *grid, int block,
                               const struct winograd_runs *runs, const float *m, size_t pitch);
