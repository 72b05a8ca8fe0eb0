/* norm's backward on vectors: first the sums over each channel, then what follows from them for
 * parameters and groups, then dx. */
#include "kernels/norm/norm_vectors.h"

/* What backward reads of a vector of elements. */
struct elements {
  simd apart, gradient; /* x - mean; dy in front of the activation */
};

static inline __attribute__((always_inline)) struct elements load_elements(
    enum dtype dtype, const struct lines *lines, const struct rows *rows, int64_t i, int v,
    simd slope) {
  struct elements found = {.apart = simd_get(dtype, rows->at[X], i) - lines->at[MEAN][v]};
  simd dy = simd_get(dtype, rows->at[DY], i);
  simd sign = found.apart * lines->at[SCALE][v] + lines->at[SHIFT][v];
  if (rows->at[Y]) sign = simd_get(dtype, rows->at[Y], i);
  found.gradient = above_or(sign, dy, dy * slope);
  return found;
}

/* --- sums --- */

/* Of the gradient, and of its products with x - mean. */
static inline __attribute__((always_inline)) void sum_rows(const struct cut *cut,
                                                           const struct lines *lines,
                                                           const struct rows *rows,
                                                           enum dtype dtype, bool past) {
  const struct lines line = *lines;
  simd slope = simd_all(norm_arguments_of(cut->node)->slope);
  simd sum[IN_FLIGHT] = {{0}}, along[IN_FLIGHT] = {{0}};
  int vectors = rows->count * SIMD_PER_BLOCK, whole = vectors / IN_FLIGHT * IN_FLIGHT;
  (void)past;
  for (int i = 0; i < whole; i += IN_FLIGHT) SIMD_UNROLL for (int k = 0; k < IN_FLIGHT; k++) {
      struct elements here =
          load_elements(dtype, &line, rows, (i + k) * SIMD_WIDTH, k % SIMD_PER_BLOCK, slope);
      sum[k] += here.gradient;
      along[k] += here.gradient * here.apart;
    }
  for (int k = 0; k < vectors - whole; k++) {
    struct elements here =
        load_elements(dtype, &line, rows, (whole + k) * SIMD_WIDTH, k % SIMD_PER_BLOCK, slope);
    sum[k] += here.gradient;
    along[k] += here.gradient * here.apart;
  }
  fold_in_flight(sum);
  fold_in_flight(along);
  for (int v = 0; v < SIMD_PER_BLOCK; v++) {
    simd_store(rows->partial + v * SIMD_WIDTH, sum[v]);
    simd_store(rows->partial + ROW + v * SIMD_WIDTH, along[v]);
  }
}

static void sum_piece(const struct cut *cut, const struct io *io, const struct lines *lines,
                      const struct rows *rows) {
  (void)io;
  NORM_CALL(sum_rows, rows, cut, lines, rows);
}

/* Into total: of every channel of every sample of a band, both sums. */
static void sum_planes(const struct cut *cut, const struct band *band) {
  int per_sample = planes_of_sample(cut);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < planes_of(band); i++) {
    int64_t plane = plane_of(cut, band, i);
    double sums[2 * ROW] = {0}, *total = cut->total + 2 * plane;
    int n = (int)(plane / per_sample), first = (int)(plane % per_sample) * ROW;
    for (int64_t k = 0; k < cut->pieces; k++)
      for (int c = 0; c < 2 * ROW; c++) sums[c] += (double)partial_of(cut, plane, k)[c];
    if (!cut->blocked) total[0] = total[1] = 0;
    for (int c = 0; c < ROW; c++) {
      if (cut->blocked && first + c >= cut->channels) break;
      if (cut->blocked) total = total_of(cut, n, first + c);
      total[0] = sums[c] + (cut->blocked ? 0 : total[0]);
      total[1] = sums[ROW + c] + (cut->blocked ? 0 : total[1]);
    }
  }
}

/* --- what follows from them --- */

static void give_parameters(const struct cut *cut, const struct io *io) {
  const float *deviation = io->saved[NORM_DEVIATION];
  float *dweight = norm_dw(cut->node, io, NORM_WEIGHT), *dbias = norm_dw(cut->node, io, NORM_BIAS);
  for (int c = 0; dweight && c < cut->channels; c++) {
    double weight = 0, bias = 0;
    for (int n = 0; n < cut->node->x[0].shape.n; n++) {
      weight += total_of(cut, n, c)[1] * (double)deviation[group_of(cut, n, c)];
      bias += total_of(cut, n, c)[0];
    }
    dweight[c] = (float)weight;
    dbias[c] = (float)bias;
  }
}

static void give_statistics(const struct cut *cut, const struct io *io) {
  const struct node *node = cut->node;
  const float *own = io->saved[NORM_MEAN], *deviation = io->saved[NORM_DEVIATION];
  const float *kept = norm_w(node, io, NORM_RUNNING_VARIANCE);
  float *mean = norm_dw(node, io, NORM_RUNNING_MEAN);
  float *variance = norm_dw(node, io, NORM_RUNNING_VARIANCE);
  double size = (double)norm_group_size(node), epsilon = norm_arguments_of(node)->epsilon;
  for (int c = 0; mean && c < cut->channels; c++) {
    mean[c] = own[c];
    variance[c] =
        norm_is_running(node) ? kept[c] : (float)norm_unbiased((double)deviation[c], epsilon, size);
  }
}

static void set_group_lines(const struct cut *cut, const struct io *io, int number) {
  struct group group = find_group(cut->node, number);
  double deviation = (double)((const float *)io->saved[NORM_DEVIATION])[number];
  double constant = 0, along = 0, size = (double)norm_group_size(cut->node);
  for (int n = group.from; n < group.from + group.samples; n++)
    for (int c = group.first; c < group.first + group.count; c++) {
      const double *own = total_of(cut, n, c);
      double weight = (double)weight_of(cut, io, NORM_WEIGHT, c, 1);
      constant -= weight * own[0] * deviation / size;
      along -= weight * own[1] * deviation * deviation * deviation / size;
    }
  for (int n = group.from; n < group.from + group.samples; n++)
    for (int c = group.first; c < group.first + group.count; c++) {
      *line_of(cut, n, c, CONSTANT) = (float)constant;
      *line_of(cut, n, c, ALONG) = (float)along;
    }
}

/* --- dx --- */

static inline __attribute__((always_inline)) void give(void *dx, int64_t i, simd value, bool add,
                                                       enum dtype dtype, bool past) {
  if (add) simd_put(dtype, dx, i, simd_get(dtype, dx, i) + value, false);
  if (!add) simd_put(dtype, dx, i, value, past);
}

static inline __attribute__((always_inline)) void give_rows(const struct cut *cut,
                                                            const struct io *io,
                                                            const struct lines *lines,
                                                            const struct rows *rows,
                                                            enum dtype dtype, bool past) {
  const struct lines line = *lines;
  simd slope = simd_all(norm_arguments_of(cut->node)->slope);
  void *dx = rows->at[DX], *dresidual = rows->at[DRESIDUAL];
  bool add = io->dx_add[0], residual_add = io->dx_add[1];
  for (int r = 0; r < rows->count; r++) SIMD_UNROLL for (int v = 0; v < SIMD_PER_BLOCK; v++) {
      int64_t i = r * ROW + v * SIMD_WIDTH;
      struct elements here = load_elements(dtype, &line, rows, i, v, slope);
      simd value =
          here.gradient * line.at[SCALE][v] + here.apart * line.at[ALONG][v] + line.at[CONSTANT][v];
      if (dx) give(dx, i, value, add, dtype, past);
      if (dresidual) give(dresidual, i, here.gradient, residual_add, dtype, past);
    }
}

static void give_piece(const struct cut *cut, const struct io *io, const struct lines *lines,
                       const struct rows *rows) {
  NORM_CALL(give_rows, rows, cut, io, lines, rows);
}

enum status SIMD_NAME(norm_backward)(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  struct cut cut;
  struct io read = *io;
  if (!norm_reads_y(node)) read.y = NULL;
  read.x[1] = NULL; /* it is not there any more */
  lay_out(node, io->workspace, &cut);
  for (struct band band = {0}; next_band(&cut, read.y ? 3 : 2, &band);) {
    set_lines(&cut, io, &band);
    each_piece(&cut, &read, &band, 0, sum_piece);
    sum_planes(&cut, &band);
    if (!norm_is_running(node)) each_group(&cut, io, &band, set_group_lines);
    if (io->dx[0] || io->dx[1])
      each_piece(&cut, &read, &band, 1U << DX | 1U << DRESIDUAL, give_piece);
  }
  give_parameters(&cut, io);
  give_statistics(&cut, io);
  return STATUS_OK;
}
