/* loss_lncc by separable box sums, one slice at a time. For each row of a slice the products of the
 * images are added over the window's slices, then over its rows (kept in a ring), then along the
 * row; what is done with the sums of a row is the sweep's business. All sums are float64: the
 * variances are small differences of them. Backward is two such sweeps: the first stores the slopes
 * of every window, the second adds them over all windows that hold a voxel. */
#include <string.h>
#include "kernels/common/fold.h"
#include "kernels/common/simd_cells.h"
#include "kernels/loss_lncc/loss_lncc.h"

enum { MOST_SLOTS = 64, MOMENTS = 5, SLOPES = 3, DOUBLES = SIMD_WIDTH / 2 };

/* One channel of one sample. */
struct sweep {
  int window, fields; /* fields: how many quantities are summed */
  struct shape shape;
  int pitch, padded; /* doubles of a row with its margins; of a row of sums */
  double per_voxel;  /* 1 over the voxels of a window */
  const float *own, *other;
  float *slopes; /* SLOPES volumes */
  float *dx;
  bool add;
  double scale;
  /* Adds up the rows (first, h) to (last, h) of every field: to `rows`, one every `pitch`. */
  void (*gather)(const struct sweep *sweep, int first, int last, int h, double *rows);
  /* Takes the window sums of row (d, h), one field every `padded`. */
  void (*finish)(const struct sweep *sweep, int d, int h, const double *sums, double *energy);
};

/* The memory of one thread's work, carved from a slot of the workspace. */
struct slot {
  double *ring;   /* [window][fields][pitch] */
  double *column; /* [fields][pitch] */
  double *sums;   /* [fields][padded] */
  double *energy; /* [padded] */
};

static int round_up(int count, int multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

static void sweep_size(struct sweep *sweep, const struct node *node) {
  sweep->window = ((const struct loss_lncc_arguments *)(const void *)node->arguments)->window;
  sweep->shape = node->x[0].shape;
  sweep->padded = round_up(sweep->shape.w, DOUBLES);
  sweep->pitch = round_up(sweep->padded + sweep->window - 1, DOUBLES);
  sweep->per_voxel = 1 / ((double)sweep->window * sweep->window * sweep->window);
}

static size_t slot_doubles(const struct sweep *sweep) {
  size_t rows = (size_t)sweep->pitch * MOMENTS;
  return rows * (size_t)(sweep->window + 1) + (size_t)sweep->padded * (MOMENTS + 1);
}

static struct slot slot_at(const struct sweep *sweep, double *memory, int index) {
  size_t rows = (size_t)sweep->pitch * MOMENTS;
  struct slot slot = {.ring = memory + slot_doubles(sweep) * (size_t)index};
  slot.column = slot.ring + rows * (size_t)sweep->window;
  slot.sums = slot.column + rows;
  slot.energy = slot.sums + (size_t)sweep->padded * MOMENTS;
  return slot;
}

static int slot_count(const struct sweep *sweep) {
  return sweep->shape.d < MOST_SLOTS ? sweep->shape.d : MOST_SLOTS;
}

static int64_t row_at(const struct shape *shape, int d, int h) {
  return ((int64_t)d * shape->h + h) * shape->w;
}

static int larger(int a, int b) {
  return a > b ? a : b;
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

/* --- the sums of a slice --- */

static void load_row(const struct sweep *sweep, const struct slot *slot, int d, int h) {
  size_t pitch = (size_t)sweep->pitch, doubles = (size_t)sweep->fields * pitch;
  double *rows = slot->ring + (size_t)(h % sweep->window) * doubles;
  int r = sweep->window / 2;
  size_t behind = (size_t)(r + sweep->padded);
  for (int f = 0; f < sweep->fields; f++) {
    double *row = rows + (size_t)f * pitch;
    memset(row, 0, (size_t)r * sizeof *row);
    memset(row + behind, 0, (pitch - behind) * sizeof *row);
  }
  sweep->gather(sweep, larger(d - r, 0), smaller(d + r, sweep->shape.d - 1), h, rows + r);
}

enum { ABREAST = 4 };

/* to[i] = the sum of `count` rows from `from` on, one every `stride`, of `vectors` vectors. */
static inline __attribute__((always_inline)) void add_vectors(const double *from, size_t stride,
                                                              int count, int vectors, bool add,
                                                              double *to) {
  simd_half sum[ABREAST];
  SIMD_UNROLL
  for (int v = 0; v < vectors; v++)
    sum[v] = add ? *(const simd_half *)(to + v * DOUBLES) : (simd_half){0};
  for (int k = 0; k < count; k++, from += stride) SIMD_UNROLL
  for (int v = 0; v < vectors; v++) sum[v] += *(const simd_half *)(from + v * DOUBLES);
  SIMD_UNROLL
  for (int v = 0; v < vectors; v++) *(simd_half *)(to + v * DOUBLES) = sum[v];
}

/* doubles: of whole vectors. */
static void add_up(const double *from, size_t stride, int count, size_t doubles, bool add,
                   double *to) {
  size_t i = 0;
  for (; i + ABREAST * DOUBLES <= doubles; i += ABREAST * DOUBLES)
    add_vectors(from + i, stride, count, ABREAST, add, to + i);
  for (; i < doubles; i += DOUBLES) add_vectors(from + i, stride, count, 1, add, to + i);
}

static void add_rows(const struct sweep *sweep, const struct slot *slot, int h) {
  const size_t doubles = (size_t)sweep->fields * (size_t)sweep->pitch;
  const int r = sweep->window / 2, first = larger(h - r, 0);
  const int count = smaller(h + r, sweep->shape.h - 1) - first + 1;
  /* the ring's rows to its end, then those from its beginning */
  const int place = first % sweep->window, whole = smaller(count, sweep->window - place);
  add_up(slot->ring + (size_t)place * doubles, doubles, whole, doubles, false, slot->column);
  if (count > whole) add_up(slot->ring, doubles, count - whole, doubles, true, slot->column);
}

static void add_along_row(const struct sweep *sweep, const double *column, double *sums) {
  add_up(column, 1, sweep->window, (size_t)sweep->padded, false, sums);
}

static void finish_row(const struct sweep *sweep, const struct slot *slot, int d, int h) {
  add_rows(sweep, slot, h);
  for (int f = 0; f < sweep->fields; f++)
    add_along_row(sweep, slot->column + (size_t)f * (size_t)sweep->pitch,
                  slot->sums + (size_t)f * (size_t)sweep->padded);
  sweep->finish(sweep, d, h, slot->sums, slot->energy);
}

/* Returns the slice's energy: what `finish` added. */
static double sweep_slice(const struct sweep *sweep, const struct slot *slot, int d) {
  int r = sweep->window / 2;
  double sum = 0;
  memset(slot->energy, 0, (size_t)sweep->padded * sizeof *slot->energy);
  for (int h = 0; h < sweep->shape.h + r; h++) {
    if (h < sweep->shape.h) load_row(sweep, slot, d, h);
    if (h >= r) finish_row(sweep, slot, d, h - r);
  }
  for (int w = 0; w < sweep->shape.w; w++) sum += slot->energy[w];
  return sum;
}

/* energy: one float64 per slice, or NULL. */
static void sweep_run(const struct sweep *sweep, double *memory, double *energy) {
  int slots = slot_count(sweep), slices = sweep->shape.d;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slots; i++) {
    struct slot slot = slot_at(sweep, memory, i);
    int first = (int)((int64_t)slices * i / slots), end = (int)((int64_t)slices * (i + 1) / slots);
    for (int d = first; d < end; d++) {
      double sum = sweep_slice(sweep, &slot, d);
      if (energy) energy[d] = sum;
    }
  }
}

/* --- what is summed, and what becomes of the sums --- */

/* The first `count` columns, the others are 0. */
static inline void widen(const float *from, int count, simd_half to[2]) {
  const simd value = simd_load_lanes(from, simd_lanes_until(count));
#if defined SIMD_ISA_AVX512
  to[0] = (simd_half)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)value));
  to[1] = (simd_half)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)value, 1));
#else
  simd_half_float half[2];
  memcpy(half, &value, sizeof half);
  for (int k = 0; k < 2; k++) to[k] = __builtin_convertvector(half[k], simd_half);
#endif
}

static inline void store_both(const struct sweep *sweep, int w, const simd_half sum[2],
                              double *to) {
  *(simd_half *)(to + w) = sum[0];
  if (w + DOUBLES < sweep->padded) *(simd_half *)(to + w + DOUBLES) = sum[1];
}

/* Whole lines of the images at a time: the same place of many slices is in one set of a cache, out
 * of which each line drives the next. */
static void gather_products(const struct sweep *sweep, int first, int last, int h, double *rows) {
  const int64_t slice = (int64_t)sweep->shape.h * sweep->shape.w;
  for (int w = 0; w < sweep->shape.w; w += SIMD_WIDTH) {
    simd_half sum[MOMENTS][2] = {{{0}}};
    for (int d = first; d <= last; d++) {
      const int64_t at = d * slice + (int64_t)h * sweep->shape.w + w;
      simd_half x[2], y[2];
      widen(sweep->own + at, sweep->shape.w - w, x);
      widen(sweep->other + at, sweep->shape.w - w, y);
      SIMD_UNROLL
      for (int k = 0; k < 2; k++) {
        sum[0][k] += x[k];
        sum[1][k] += y[k];
        sum[2][k] += x[k] * x[k];
        sum[3][k] += y[k] * y[k];
        sum[4][k] += x[k] * y[k];
      }
    }
    SIMD_UNROLL
    for (int f = 0; f < MOMENTS; f++) store_both(sweep, w, sum[f], rows + f * sweep->pitch);
  }
}

static inline struct loss_lncc_moments moments_at(const struct sweep *sweep, const double *sums,
                                                  int w) {
  int p = sweep->padded;
  return loss_lncc_moments(sums[w], sums[p + w], sums[2 * p + w], sums[3 * p + w], sums[4 * p + w],
                           sweep->per_voxel);
}

static void finish_correlation(const struct sweep *sweep, int d, int h, const double *sums,
                               double *restrict energy) {
  (void)d;
  (void)h;
  for (int w = 0; w < sweep->shape.w; w++) {
    struct loss_lncc_moments m = moments_at(sweep, sums, w);
    energy[w] += m.cross * m.cross / m.denominator;
  }
}

static void finish_slopes(const struct sweep *sweep, int d, int h, const double *sums,
                          double *energy) {
  (void)energy;
  int64_t voxels = shape_voxels(sweep->shape);
  float *restrict row = sweep->slopes + row_at(&sweep->shape, d, h);
  for (int w = 0; w < sweep->shape.w; w++) {
    struct loss_lncc_moments m = moments_at(sweep, sums, w);
    struct loss_lncc_slopes slopes = loss_lncc_slopes(m, m.cross / m.denominator);
    row[w] = (float)slopes.own_other;
    row[voxels + w] = (float)slopes.own_own;
    row[2 * voxels + w] = (float)slopes.constant;
  }
}

static void gather_slopes(const struct sweep *sweep, int first, int last, int h, double *rows) {
  const int64_t slice = (int64_t)sweep->shape.h * sweep->shape.w;
  for (int f = 0; f < SLOPES; f++) {
    const float *from = sweep->slopes + f * shape_voxels(sweep->shape) + h * sweep->shape.w;
    for (int w = 0; w < sweep->shape.w; w += SIMD_WIDTH) {
      simd_half sum[2] = {{0}};
      for (int d = first; d <= last; d++) {
        simd_half x[2];
        widen(from + d * slice + w, sweep->shape.w - w, x);
        for (int k = 0; k < 2; k++) sum[k] += x[k];
      }
      store_both(sweep, w, sum, rows + f * sweep->pitch);
    }
  }
}

static void finish_gradient(const struct sweep *sweep, int d, int h, const double *sums,
                            double *energy) {
  (void)energy;
  int64_t row = row_at(&sweep->shape, d, h);
  const float *own = sweep->own + row, *other = sweep->other + row;
  float *restrict dx = sweep->dx + row;
  int p = sweep->padded;
  for (int w = 0; w < sweep->shape.w; w++) {
    double slope = sums[w] * other[w] + 2 * sums[p + w] * own[w] + sums[2 * p + w];
    dx[w] = (sweep->add ? dx[w] : 0) + (float)(sweep->scale * slope);
  }
}

/* --- the kernel --- */

static bool loss_lncc_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR;
}

static int volume_count(const struct node *node) {
  return node->x[0].shape.n * node->x[0].shape.c;
}

static void loss_lncc_prepare(struct node *node) {
  struct sweep sweep;
  sweep_size(&sweep, node);
  size_t slots = slot_doubles(&sweep) * (size_t)slot_count(&sweep) * sizeof(double);
  size_t voxels = (size_t)shape_voxels(sweep.shape);
  node->forward_workspace =
      slots + (size_t)volume_count(node) * (size_t)sweep.shape.d * sizeof(double);
  node->backward_workspace = slots + SLOPES * voxels * sizeof(float);
}

static enum status loss_lncc_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  struct sweep sweep = {.fields = MOMENTS, .gather = gather_products, .finish = finish_correlation};
  sweep_size(&sweep, node);
  int64_t voxels = shape_voxels(sweep.shape);
  int volumes = volume_count(node), slices = sweep.shape.d;
  double *partial = io->workspace, *memory = partial + (int64_t)volumes * slices;
  for (int v = 0; v < volumes; v++) {
    sweep.own = (const float *)io->x[0] + v * voxels;
    sweep.other = (const float *)io->x[1] + v * voxels;
    sweep_run(&sweep, memory, partial + (int64_t)v * slices);
  }
  double count = (double)volumes * (double)voxels;
  *(double *)io->y = -fold_sum(partial, (int64_t)volumes * slices) / count;
  return STATUS_OK;
}

static void backward_volume(struct sweep *sweep, double *memory) {
  sweep->fields = MOMENTS;
  sweep->gather = gather_products;
  sweep->finish = finish_slopes;
  sweep_run(sweep, memory, NULL);
  sweep->fields = SLOPES;
  sweep->gather = gather_slopes;
  sweep->finish = finish_gradient;
  sweep_run(sweep, memory, NULL);
}

static enum status loss_lncc_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  struct sweep sweep;
  sweep_size(&sweep, node);
  int64_t voxels = shape_voxels(sweep.shape);
  double *memory = io->workspace, count = (double)volume_count(node) * (double)voxels;
  sweep.scale = -*(const double *)io->dy / count;
  sweep.slopes = (float *)(memory + slot_doubles(&sweep) * (size_t)slot_count(&sweep));
  for (int input = 0; input < 2; input++)
    for (int v = 0; io->dx[input] && v < volume_count(node); v++) {
      sweep.own = (const float *)io->x[input] + v * voxels;
      sweep.other = (const float *)io->x[1 - input] + v * voxels;
      sweep.dx = (float *)io->dx[input] + v * voxels;
      sweep.add = io->dx_add[input];
      backward_volume(&sweep, memory);
    }
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_lncc_box);
const struct kernel SIMD_NAME(loss_lncc_box) = {
    .name = SIMD_LABEL("box"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_lncc_applies,
    .prepare = loss_lncc_prepare,
    .forward = loss_lncc_forward,
    .backward = loss_lncc_backward,
};
