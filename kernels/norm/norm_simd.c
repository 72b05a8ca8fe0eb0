/* norm on vectors: the statistics, forward, and the kernel. */
#include <math.h>
#include "kernels/norm/moments.h"
#include "kernels/norm/norm_vectors.h"

/* --- moments --- */

/* Two passes over rows that are in the cache; meanwhile the next ones come. */
static inline __attribute__((always_inline)) void chunk_moments(const void *x, int rows, float *to,
                                                                enum dtype dtype, bool past) {
  simd sum[IN_FLIGHT] = {{0}}, square[IN_FLIGHT] = {{0}};
  int vectors = rows * SIMD_PER_BLOCK, whole = vectors / IN_FLIGHT * IN_FLIGHT;
  int64_t bytes = dtype == DTYPE_F32 ? 4 : 2;
  (void)past;
  for (int i = 0; i < whole; i += IN_FLIGHT)
    SIMD_UNROLL for (int k = 0; k < IN_FLIGHT; k++) sum[k] +=
        simd_get(dtype, x, (i + k) * SIMD_WIDTH);
  for (int k = 0; k < vectors - whole; k++) sum[k] += simd_get(dtype, x, (whole + k) * SIMD_WIDTH);
  fold_in_flight(sum);
  for (int v = 0; v < SIMD_PER_BLOCK; v++) sum[v] *= simd_all(1.0F / (float)rows);
  for (int i = 0; i < whole; i += IN_FLIGHT) SIMD_UNROLL for (int k = 0; k < IN_FLIGHT; k++) {
      simd apart = simd_get(dtype, x, (i + k) * SIMD_WIDTH) - sum[k % SIMD_PER_BLOCK];
      square[k] += apart * apart;
      __builtin_prefetch((const char *)x + (vectors + i + k) * SIMD_WIDTH * bytes);
    }
  for (int k = 0; k < vectors - whole; k++) {
    simd apart = simd_get(dtype, x, (whole + k) * SIMD_WIDTH) - sum[k % SIMD_PER_BLOCK];
    square[k] += apart * apart;
  }
  fold_in_flight(square);
  for (int v = 0; v < SIMD_PER_BLOCK; v++) {
    simd_store(to + v * SIMD_WIDTH, sum[v]);
    simd_store(to + ROW + v * SIMD_WIDTH, square[v]);
  }
}

static void measure_chunks(const struct cut *cut, const void *x, const struct band *band) {
  const struct rows rows = {.dtype = cut->node->x[0].dtype};
  size_t element = dtype_bytes(rows.dtype);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < planes_of(band) * cut->chunks; i++) {
    int64_t plane = plane_of(cut, band, i / cut->chunks), chunk = i % cut->chunks;
    struct piece piece = piece_of(cut, plane, chunk);
    const void *from = (const char *)x + (size_t)piece.first * element;
    NORM_CALL(chunk_moments, &rows, from, piece.elements / ROW, partial_of(cut, plane, chunk));
  }
}

/* The moments of the 16 columns of a plane, from its chunks. */
static void column_moments(const struct cut *cut, int64_t plane, double mean[ROW],
                           double squares[ROW]) {
  for (int c = 0; c < ROW; c++) mean[c] = squares[c] = 0;
  for (int64_t k = 0; k < cut->chunks; k++) {
    const float *from = partial_of(cut, plane, k);
    double share = (double)rows_of(cut, k) / (double)cut->rows;
    for (int c = 0; c < ROW; c++) mean[c] += (double)from[c] * share;
  }
  for (int64_t k = 0; k < cut->chunks; k++) {
    const float *from = partial_of(cut, plane, k);
    double count = rows_of(cut, k);
    for (int c = 0; c < ROW; c++) {
      double apart = (double)from[c] - mean[c];
      squares[c] += (double)from[ROW + c] + apart * apart * count;
    }
  }
}

/* Of a planar channel: its columns and the rest. */
static void planar_moments(const struct cut *cut, const void *x, int64_t plane,
                           const double mean[ROW], const double squares[ROW], double *total) {
  struct moments all = {0};
  float rest[ROW];
  read_piece(cut->node->x[0].dtype, x, piece_of(cut, plane, cut->chunks), rest);
  for (int c = 0; c < ROW && cut->rows > 0; c++)
    all = moments_join(all, moments_make((double)cut->rows, mean[c], squares[c]));
  for (int i = 0; i < cut->rest; i++) all = moments_join(all, moments_make(1, (double)rest[i], 0));
  total[0] = all.mean;
  total[1] = all.squares;
}

static void measure_planes(const struct cut *cut, const void *x, const struct band *band) {
  int per_sample = planes_of_sample(cut);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < planes_of(band); i++) {
    double mean[ROW], squares[ROW];
    int64_t plane = plane_of(cut, band, i);
    int n = (int)(plane / per_sample), first = (int)(plane % per_sample) * ROW;
    column_moments(cut, plane, mean, squares);
    if (!cut->blocked) planar_moments(cut, x, plane, mean, squares, cut->total + 2 * plane);
    for (int c = 0; cut->blocked && c < ROW && first + c < cut->channels; c++) {
      total_of(cut, n, first + c)[0] = mean[c];
      total_of(cut, n, first + c)[1] = squares[c];
    }
  }
}

/* --- statistics --- */

static void measure_group(const struct cut *cut, const struct io *io, int number) {
  float *mean = io->saved[NORM_MEAN], *deviation = io->saved[NORM_DEVIATION];
  struct group group = find_group(cut->node, number);
  struct moments all = {0};
  double voxels = (double)shape_voxels(cut->node->x[0].shape);
  for (int n = group.from; n < group.from + group.samples; n++)
    for (int c = group.first; c < group.first + group.count; c++) {
      const double *own = total_of(cut, n, c);
      all = moments_join(all, moments_make(voxels, own[0], own[1]));
    }
  mean[number] = (float)all.mean;
  deviation[number] =
      (float)(1 / sqrt(all.squares / all.count + norm_arguments_of(cut->node)->epsilon));
}

static void take_running(const struct cut *cut, const struct io *io) {
  const float *mean = norm_w(cut->node, io, NORM_RUNNING_MEAN);
  const float *variance = norm_w(cut->node, io, NORM_RUNNING_VARIANCE);
  for (int c = 0; c < cut->channels; c++) {
    ((float *)io->saved[NORM_MEAN])[c] = mean[c];
    ((float *)io->saved[NORM_DEVIATION])[c] =
        (float)(1 / sqrt((double)variance[c] + norm_arguments_of(cut->node)->epsilon));
  }
}

/* --- forward --- */

static inline __attribute__((always_inline)) void apply_rows(const struct cut *cut,
                                                             const struct lines *lines,
                                                             const struct rows *rows,
                                                             enum dtype dtype, bool past) {
  const void *x = rows->at[X], *residual = rows->at[RESIDUAL];
  const struct lines line = *lines;
  simd slope = simd_all(norm_arguments_of(cut->node)->slope);
  for (int r = 0; r < rows->count; r++) SIMD_UNROLL for (int v = 0; v < SIMD_PER_BLOCK; v++) {
      int64_t i = r * ROW + v * SIMD_WIDTH;
      simd z = (simd_get(dtype, x, i) - line.at[MEAN][v]) * line.at[SCALE][v] + line.at[SHIFT][v];
      if (residual) z += simd_get(dtype, residual, i);
      simd_put(dtype, rows->at[Y], i, above_or(z, z, z * slope), past);
    }
}

static void apply_piece(const struct cut *cut, const struct io *io, const struct lines *lines,
                        const struct rows *rows) {
  (void)io;
  NORM_CALL(apply_rows, rows, cut, lines, rows);
}

static enum status norm_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  struct cut cut;
  lay_out(node, io->workspace, &cut);
  bool running = norm_is_running(node);
  if (running) take_running(&cut, io);
  for (struct band band = {0}; next_band(&cut, 1, &band);) {
    if (!running) {
      measure_chunks(&cut, io->x[0], &band);
      measure_planes(&cut, io->x[0], &band);
      each_group(&cut, io, &band, measure_group);
    }
    set_lines(&cut, io, &band);
    each_piece(&cut, io, &band, 1U << Y, apply_piece);
  }
  return STATUS_OK;
}

static enum status norm_again(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct cut cut;
  lay_out(node, io->workspace, &cut);
  for (struct band band = {0}; next_band(&cut, 1, &band);) {
    set_lines(&cut, io, &band);
    each_piece(&cut, io, &band, 1U << Y, apply_piece);
  }
  return STATUS_OK;
}

static bool norm_applies(const struct node *node) {
  return simd_available() && node->y.layout == node->x[0].layout &&
         node->x[0].layout != LAYOUT_LAST;
}

static void norm_prepare(struct node *node) {
  struct cut cut;
  node->forward_workspace = node->backward_workspace = lay_out(node, NULL, &cut);
}

#define NORM_KERNEL(suffix, type)                      \
  extern const struct kernel SIMD_NAME(norm_##suffix); \
  const struct kernel SIMD_NAME(norm_##suffix) = {     \
      .name = SIMD_LABEL("simd"),                      \
      .device = DEVICE_CPU,                            \
      .dtype = type,                                   \
      .training = true,                                \
      .applies = norm_applies,                         \
      .prepare = norm_prepare,                         \
      .forward = norm_forward,                         \
      .backward = SIMD_NAME(norm_backward),            \
      .again = norm_again,                             \
  }

NORM_KERNEL(simd, DTYPE_F32);
NORM_KERNEL(bf16_simd, DTYPE_BF16);
NORM_KERNEL(f16_simd, DTYPE_F16);
