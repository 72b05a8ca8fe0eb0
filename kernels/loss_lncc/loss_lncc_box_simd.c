/* loss_lncc by box sums. Along the slices and the rows windows slide: what enters is added, what
 * leaves is subtracted; along a row sums of 1, 2, 4 and 8 voxels are added up. What is summed, and
 * what is done with the sums over a window, is the sweep's business. All sums are float64: the
 * variances are small differences of them. Backward is two sweeps: the first stores the slopes
 * of every window, the second adds them over all windows that hold a voxel.
 *
 * A volume is swept in pieces, which depend on its shape only, each from sums of its own: no error
 * goes further than a piece, and threads share nothing. */
#include <string.h>
#include "kernels/common/fold.h"
#include "kernels/loss_lncc/loss_lncc.h"
#include "kernels/loss_lncc/loss_lncc_row_simd.h"

enum {
  MOST_SLOTS = 32,
  MOMENTS = 5,
  SLOPES = 3,
  PIECE_SLICES = 16,
  LEAST_ROWS = 16,         /* of a piece */
  PIECE_BYTES = 512 << 10, /* of sums, which a second-level cache holds */
};

/* One channel of one sample. */
struct sweep {
  int window, radius;
  struct shape shape;
  int padded, pitch;  /* doubles of a row; of a row with its margins */
  int blocks, strips; /* pieces along d and h */
  double per_voxel;   /* 1 over the voxels of a window */
  const float *own, *other;
  float *slopes; /* [d][h][SLOPES][w] */
  float *dx;
  bool add;
  double scale;
};

struct piece {
  int slice, slice_end, row, row_end;
  /* Of all fields, [pitch / DOUBLES][fields][DOUBLES]: */
  double *nothing; /* zeros */
  double *column;  /* sums over the window's slices and rows */
  double *sums;    /* over its slices, of all rows */
  double *spread;  /* those of the column as [fields][pitch] */
  double *energy;  /* [padded] */
};

/* What one sweep adds up, and what becomes of it. */
struct work {
  int fields, sources, pitch; /* pitch: from row to row of a source, in rows of the volume */
  /* Where row (d, h) of each source is. */
  void (*find)(const struct sweep *sweep, int d, int h, const float **source);
  /* The values of these columns. */
  void (*load)(const float *const *source, struct columns at, simd_half *value);
  /* Takes the sums over the windows around columns of a row, voxel number `row` and on. */
  void (*finish)(const struct sweep *sweep, int64_t row, struct columns at, const simd_half *sum,
                 double *energy);
};

/* One row of a slice: what enters and leaves its sums over slices, and the sums over rows. */
struct slide {
  const float *enter[SLOPES], *leave[SLOPES]; /* rows of the sources */
  double *row, *column;
  const double *gone; /* the row that leaves the column */
  int64_t first;      /* the first voxel of the windows of which this is the last row */
  double *energy;
};

static int round_up(int count, int multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

static int larger(int a, int b) {
  return a > b ? a : b;
}

static int smaller(int a, int b) {
  return a < b ? a : b;
}

static int pieces_along(int extent, int most) {
  return (extent + most - 1) / most;
}

static void sweep_size(struct sweep *sweep, const struct node *node) {
  sweep->window = ((const struct loss_lncc_arguments *)(const void *)node->arguments)->window;
  sweep->radius = sweep->window / 2;
  sweep->shape = node->x[0].shape;
  sweep->padded = round_up(sweep->shape.w, DOUBLES);
  sweep->pitch = round_up(sweep->padded + sweep->window - 1, DOUBLES);
  sweep->per_voxel = 1 / ((double)sweep->window * sweep->window * sweep->window);
  const int rows = PIECE_BYTES / (MOMENTS * (int)sizeof(double) * sweep->pitch);
  sweep->blocks = pieces_along(sweep->shape.d, PIECE_SLICES);
  sweep->strips = pieces_along(sweep->shape.h, larger(rows - 2 * sweep->radius, LEAST_ROWS));
}

static int piece_count(const struct sweep *sweep) {
  return sweep->blocks * sweep->strips;
}

static int slot_count(const struct sweep *sweep) {
  return smaller(piece_count(sweep), MOST_SLOTS);
}

static size_t sum_rows(const struct sweep *sweep) {
  return (size_t)(sweep->shape.h / sweep->strips + 1 + 2 * sweep->radius);
}

/* Of one slot: the memory of one thread's piece. */
static size_t slot_doubles(const struct sweep *sweep) {
  return (size_t)sweep->pitch * MOMENTS * (sum_rows(sweep) + 3) + (size_t)sweep->padded;
}

static struct piece piece_make(const struct sweep *sweep, int index, double *memory) {
  const int block = index / sweep->strips, strip = index % sweep->strips;
  const size_t row = (size_t)sweep->pitch * MOMENTS;
  struct piece piece = {
      .slice = (int)((int64_t)sweep->shape.d * block / sweep->blocks),
      .slice_end = (int)((int64_t)sweep->shape.d * (block + 1) / sweep->blocks),
      .row = (int)((int64_t)sweep->shape.h * strip / sweep->strips),
      .row_end = (int)((int64_t)sweep->shape.h * (strip + 1) / sweep->strips),
      .nothing = memory,
      .column = memory + row,
      .spread = memory + 2 * row,
      .sums = memory + 3 * row,
      .energy = memory + (sum_rows(sweep) + 3) * row,
  };
  memset(piece.nothing, 0, row * sizeof(double));
  memset(piece.energy, 0, (size_t)sweep->padded * sizeof(double));
  return piece;
}

static int64_t row_at(const struct sweep *sweep, int d, int h) {
  return ((int64_t)d * sweep->shape.h + h) * sweep->shape.w;
}

/* --- sums over slices and rows --- */

/* What enters the sums of a piece's first slice before its last does. */
LNCC_INLINE void begin_row(const struct sweep *sweep, const struct work *work, int d, int h,
                           double *row) {
  const int64_t slice = (int64_t)sweep->shape.h * sweep->shape.w * work->pitch;
  const int from = larger(d - sweep->radius, 0);
  const int count = smaller(d + sweep->radius, sweep->shape.d) - from;
  const float *source[SLOPES], *at[SLOPES];
  work->find(sweep, from, h, source);
  for (int i = 0; i < sweep->pitch; i += DOUBLES) {
    const struct columns columns = columns_at(i - sweep->radius, sweep->shape.w);
    simd_half sum[MOMENTS] = {{0}}, value[MOMENTS];
    for (int k = 0; k < count; k++) {
      for (int f = 0; f < work->sources; f++) at[f] = source[f] + k * slice;
      work->load(at, columns, value);
      SIMD_UNROLL
      for (int f = 0; f < work->fields; f++) sum[f] += value[f];
    }
    SIMD_UNROLL
    for (int f = 0; f < work->fields; f++)
      *(simd_half *)(row + i * work->fields + f * DOUBLES) = sum[f];
  }
}

/* The sums over slices and rows of vector `i` of a row. */
LNCC_INLINE void slide_vector(const struct sweep *sweep, const struct work *work,
                              const struct slide *slide, int i) {
  const struct columns at = columns_at(i * DOUBLES - sweep->radius, sweep->shape.w);
  const int place = i * work->fields * DOUBLES;
  simd_half *row = (simd_half *)(slide->row + place);
  simd_half *column = (simd_half *)(slide->column + place);
  const simd_half *gone = (const simd_half *)(slide->gone + place);
  simd_half enter[MOMENTS], leave[MOMENTS];
  work->load(slide->enter, at, enter);
  work->load(slide->leave, at, leave);
  SIMD_UNROLL
  for (int f = 0; f < work->fields; f++) {
    const simd_half sum = row[f] + enter[f] - leave[f];
    row[f] = sum;
    column[f] += sum - gone[f];
  }
}

/* --- sums along a row --- */

LNCC_INLINE void finish_vector(const struct sweep *sweep, const struct work *work,
                               const struct slide *slide, int w, const simd_half *sum) {
  const int width = sweep->shape.w;
  if (w + DOUBLES <= width)
    work->finish(sweep, slide->first, (struct columns){w, ALL_DOUBLES}, sum, slide->energy + w);
  else
    work->finish(sweep, slide->first, columns_at(w, width), sum, slide->energy + w);
}

/* From the end of a row to its beginning; meanwhile the next row of sums is fetched. */
LNCC_INLINE void finish_usual(const struct sweep *sweep, const struct work *work,
                              const struct slide *slide) {
  struct neighbours along[MOMENTS] = {{.one = {{0}}}};
  simd_half sum[MOMENTS];
  const int vectors = sweep->pitch / DOUBLES, vector = work->fields * DOUBLES;
  for (int i = vectors - 1; i >= 0; i--) {
    const simd_half *column = (const simd_half *)(slide->column + i * vector);
    SIMD_UNROLL
    for (int f = 0; f < work->fields; f++) {
      __builtin_prefetch(slide->row + (vectors + i) * vector + f * DOUBLES);
      sum[f] = window_before(&along[f], column[f]);
    }
    if (i * DOUBLES < sweep->padded) finish_vector(sweep, work, slide, i * DOUBLES, sum);
  }
}

/* spread: [fields][pitch]. */
LNCC_INLINE void finish_any(const struct sweep *sweep, const struct work *work,
                            const struct slide *slide, double *spread) {
  for (int i = 0; i < sweep->pitch; i += DOUBLES)
    for (int f = 0; f < work->fields; f++)
      *(simd_half *)(spread + f * sweep->pitch + i) =
          *(const simd_half *)(slide->column + i * work->fields + f * DOUBLES);
  for (int w = 0; w < sweep->padded; w += DOUBLES) {
    simd_half sum[MOMENTS] = {{0}};
    for (int k = 0; k < sweep->window; k++) SIMD_UNROLL
    for (int f = 0; f < work->fields; f++)
      sum[f] += *(const simd_half *)(spread + f * sweep->pitch + w + k);
    finish_vector(sweep, work, slide, w, sum);
  }
}

/* --- pieces --- */

/* Row (d, h); `begin`: the first of those summed. Rows below the volume are zeros. */
LNCC_INLINE struct slide slide_make(const struct sweep *sweep, const struct work *work,
                                    const struct piece *piece, int d, int h, int begin) {
  const size_t pitch = (size_t)(work->fields * sweep->pitch);
  const int enters = d + sweep->radius, leaves = d - sweep->radius - 1;
  double *row = piece->sums + pitch * (size_t)(h - begin);
  const bool within = h < sweep->shape.h;
  struct slide slide = {
      .row = within ? row : piece->nothing,
      .column = piece->column,
      .gone = h - sweep->window < begin ? piece->nothing : row - pitch * (size_t)sweep->window,
      .first = row_at(sweep, d, h - sweep->radius),
      .energy = piece->energy,
  };
  for (int f = 0; f < work->sources; f++)
    slide.enter[f] = slide.leave[f] = (const float *)(const void *)piece->nothing;
  if (within && enters < sweep->shape.d) work->find(sweep, enters, h, slide.enter);
  if (within && leaves >= 0 && d > piece->slice) work->find(sweep, leaves, h, slide.leave);
  return slide;
}

LNCC_INLINE void sweep_slice(const struct sweep *sweep, const struct work *work,
                             const struct piece *piece, int d) {
  const int begin = larger(piece->row - sweep->radius, 0);
  memset(piece->column, 0, (size_t)(work->fields * sweep->pitch) * sizeof(double));
  for (int h = begin; h < piece->row_end + sweep->radius; h++) {
    const struct slide slide = slide_make(sweep, work, piece, d, h, begin);
    if (d == piece->slice && h < sweep->shape.h) begin_row(sweep, work, d, h, slide.row);
    for (int i = 0; i < sweep->pitch / DOUBLES; i++) slide_vector(sweep, work, &slide, i);
    if (h - sweep->radius < piece->row) continue;
    if (sweep->window == USUAL_WINDOW)
      finish_usual(sweep, work, &slide);
    else
      finish_any(sweep, work, &slide, piece->spread);
  }
}

/* Returns the piece's energy: what `finish` added. */
LNCC_INLINE double sweep_piece(const struct sweep *sweep, const struct work *work, int index,
                               double *memory) {
  const struct sweep own = *sweep; /* in registers: no vector that is stored may lie in it */
  const struct piece piece = piece_make(&own, index, memory);
  double sum = 0;
  for (int d = piece.slice; d < piece.slice_end; d++) sweep_slice(&own, work, &piece, d);
  for (int w = 0; w < own.shape.w; w++) sum += piece.energy[w];
  return sum;
}

/* energy: one float64 per piece, or NULL. */
static void sweep_run(const struct sweep *sweep, double (*run)(const struct sweep *, int, double *),
                      double *memory, double *energy) {
  const int slots = slot_count(sweep), pieces = piece_count(sweep);
#pragma omp parallel for schedule(static)
  for (int i = 0; i < slots; i++) {
    double *own = memory + slot_doubles(sweep) * (size_t)i;
    for (int p = pieces * i / slots; p < pieces * (i + 1) / slots; p++) {
      double sum = run(sweep, p, own);
      if (energy) energy[p] = sum;
    }
  }
}

/* --- what is summed, and what becomes of the sums --- */

LNCC_INLINE void find_images(const struct sweep *sweep, int d, int h, const float **source) {
  source[0] = sweep->own + row_at(sweep, d, h);
  source[1] = sweep->other + row_at(sweep, d, h);
}

LNCC_INLINE void load_products(const float *const *source, struct columns at, simd_half *value) {
  const simd_half x = row_load(source[0], at), y = row_load(source[1], at);
  value[0] = x;
  value[1] = y;
  value[2] = x * x;
  value[3] = y * y;
  value[4] = x * y;
}

/* loss_lncc_moments of a vector. */
struct moments {
  simd_half own_mean, other_mean, cross, own_variance, other_variance, denominator;
};

LNCC_INLINE simd_half not_below_0(simd_half value) {
#if defined SIMD_ISA_AVX512
  return (simd_half)_mm512_max_pd((__m512d)value, _mm512_setzero_pd());
#else
  for (int i = 0; i < DOUBLES; i++) value[i] = value[i] > 0 ? value[i] : 0;
  return value;
#endif
}

LNCC_INLINE struct moments moments_of(const simd_half *sum, double per_voxel) {
  struct moments m = {.own_mean = sum[0] * per_voxel, .other_mean = sum[1] * per_voxel};
  m.own_variance = not_below_0(sum[2] - sum[0] * m.own_mean);
  m.other_variance = not_below_0(sum[3] - sum[1] * m.other_mean);
  m.cross = sum[4] - sum[0] * m.other_mean;
  m.denominator = m.own_variance * m.other_variance + LOSS_LNCC_EPSILON;
  return m;
}

LNCC_INLINE void finish_correlation(const struct sweep *sweep, int64_t row, struct columns at,
                                    const simd_half *sum, double *energy) {
  (void)row, (void)at;
  const struct moments m = moments_of(sum, sweep->per_voxel);
  *(simd_half *)energy += m.cross * m.cross / m.denominator;
}

static double correlate(const struct sweep *sweep, int piece, double *memory) {
  const struct work work = {MOMENTS, 2, 1, find_images, load_products, finish_correlation};
  return sweep_piece(sweep, &work, piece, memory);
}

/* loss_lncc_slopes of a vector, -2 own_own in the place of own_own. The next row's are fetched. */
LNCC_INLINE void finish_slopes(const struct sweep *sweep, int64_t row, struct columns at,
                               const simd_half *sum, double *energy) {
  (void)energy;
  const struct moments m = moments_of(sum, sweep->per_voxel);
  const simd_half ratio = m.cross / m.denominator, own_other = ratio + ratio;
  const simd_half own_own = own_other * ratio * m.other_variance;
  const int width = sweep->shape.w;
  float *slopes = sweep->slopes + SLOPES * row;
  const float *next = slopes + SLOPES * (width + at.w);
  row_store(slopes, at, own_other);
  row_store(slopes + width, at, own_own);
  row_store(slopes + 2 * width, at, own_own * m.own_mean - own_other * m.other_mean);
  __builtin_prefetch(next, 1);
  __builtin_prefetch(next + SIMD_WIDTH, 1);
}

static double store_slopes(const struct sweep *sweep, int piece, double *memory) {
  const struct work work = {MOMENTS, 2, 1, find_images, load_products, finish_slopes};
  return sweep_piece(sweep, &work, piece, memory);
}

LNCC_INLINE void find_slopes(const struct sweep *sweep, int d, int h, const float **source) {
  for (int f = 0; f < SLOPES; f++)
    source[f] = sweep->slopes + SLOPES * row_at(sweep, d, h) + f * sweep->shape.w;
}

LNCC_INLINE void load_slopes(const float *const *source, struct columns at, simd_half *value) {
  SIMD_UNROLL
  for (int f = 0; f < SLOPES; f++) value[f] = row_load(source[f], at);
}

LNCC_INLINE void finish_gradient(const struct sweep *sweep, int64_t row, struct columns at,
                                 const simd_half *sum, double *energy) {
  (void)energy;
  const simd_half own = row_load(sweep->own + row, at), other = row_load(sweep->other + row, at);
  simd_half slope = sweep->scale * (sum[0] * other - sum[1] * own + sum[2]);
  if (sweep->add) slope += row_load(sweep->dx + row, at);
  row_store(sweep->dx + row, at, slope);
  __builtin_prefetch(sweep->dx + row + sweep->shape.w + at.w, 1);
}

static double add_slopes(const struct sweep *sweep, int piece, double *memory) {
  const struct work work = {SLOPES, SLOPES, SLOPES, find_slopes, load_slopes, finish_gradient};
  return sweep_piece(sweep, &work, piece, memory);
}

/* --- the kernel --- */

static bool loss_lncc_applies(const struct node *node) {
  return simd_available() && node->x[0].layout == LAYOUT_PLANAR &&
         node->x[1].layout == LAYOUT_PLANAR;
}

static int volume_count(const struct node *node) {
  return node->x[0].shape.n * node->x[0].shape.c;
}

/* Doubles of the energies of all pieces, of whole vectors. */
static size_t energy_doubles(const struct node *node, const struct sweep *sweep) {
  return (size_t)round_up(volume_count(node) * piece_count(sweep), DOUBLES);
}

static void loss_lncc_prepare(struct node *node) {
  struct sweep sweep;
  sweep_size(&sweep, node);
  size_t slots = slot_doubles(&sweep) * (size_t)slot_count(&sweep) * sizeof(double);
  size_t voxels = (size_t)shape_voxels(sweep.shape);
  node->forward_workspace = slots + energy_doubles(node, &sweep) * sizeof(double);
  node->backward_workspace = slots + SLOPES * voxels * sizeof(float);
}

static enum status loss_lncc_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  struct sweep sweep = {0};
  sweep_size(&sweep, node);
  int64_t voxels = shape_voxels(sweep.shape);
  int volumes = volume_count(node), pieces = piece_count(&sweep);
  double *partial = io->workspace, *memory = partial + energy_doubles(node, &sweep);
  for (int v = 0; v < volumes; v++) {
    sweep.own = (const float *)io->x[0] + v * voxels;
    sweep.other = (const float *)io->x[1] + v * voxels;
    sweep_run(&sweep, correlate, memory, partial + (int64_t)v * pieces);
  }
  double count = (double)volumes * (double)voxels;
  *(double *)io->y = -fold_sum(partial, (int64_t)volumes * pieces) / count;
  return STATUS_OK;
}

static enum status loss_lncc_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  struct sweep sweep = {0};
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
      sweep_run(&sweep, store_slopes, memory, NULL);
      sweep_run(&sweep, add_slopes, memory, NULL);
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
