/* norm's backward on vectors: first the sums over each channel, then what follows from them for
 * parameters and groups, then dx. */
#include "kernels/norm/norm_vectors.h"

/* What backward reads of a vector of elements. */
struct elements {
  simd apart, gradient; /* x - mean; dy in front of the activation */
};

static inline struct elements load_elements(const struct lines *lines, const struct rows *rows,
                                            int64_t i, int v, simd slope) {
  struct elements found = {.apart = simd_load(rows->at[X] + i) - lines->at[MEAN][v]};
  simd dy = simd_load(rows->at[DY] + i);
  simd sign = found.apart * lines->at[SCALE][v] + lines->at[SHIFT][v];
  if (rows->at[Y]) sign = simd_load(rows->at[Y] + i);
  found.gradient = above_or(sign, dy, dy * slope);
  return found;
}

/* --- sums --- */

/* Of the gradient, and of its products with x - mean. */
static void sum_rows(const struct cut *cut, const struct io *io, const struct lines *lines,
                     const struct rows *rows) {
  (void)io;
  simd slope = simd_all(norm_arguments_of(cut->node)->slope);
  simd sum[IN_FLIGHT] = {{0}}, along[IN_FLIGHT] = {{0}};
  int vectors = rows->count * SIMD_PER_BLOCK;
  for (int i = 0; i < vectors; i += IN_FLIGHT)
    SIMD_UNROLL for (int k = 0; k < IN_FLIGHT; k++) if (i + k < vectors) {
      struct elements here =
          load_elements(lines, rows, (i + k) * SIMD_WIDTH, k % SIMD_PER_BLOCK, slope);
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

/* Into total: of every channel of every sample, both sums. */
static void sum_planes(const struct cut *cut) {
  int per_sample = (int)(cut->planes / cut->node->x[0].shape.n);
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < cut->planes; plane++) {
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

static inline void give(float *dx, simd value, bool add) {
  if (add) value += simd_load(dx);
  simd_store(dx, value);
}

static void give_rows(const struct cut *cut, const struct io *io, const struct lines *lines,
                      const struct rows *rows) {
  simd slope = simd_all(norm_arguments_of(cut->node)->slope);
  float *dx = rows->at[DX], *dresidual = rows->at[DRESIDUAL];
  for (int r = 0; r < rows->count; r++) SIMD_UNROLL for (int v = 0; v < SIMD_PER_BLOCK; v++) {
      int64_t i = r * ROW + v * SIMD_WIDTH;
      struct elements here = load_elements(lines, rows, i, v, slope);
      simd value = here.gradient * lines->at[SCALE][v] + here.apart * lines->at[ALONG][v] +
                   lines->at[CONSTANT][v];
      if (dx) give(dx + i, value, io->dx_add[0]);
      if (dresidual) give(dresidual + i, here.gradient, io->dx_add[1]);
    }
}

enum status SIMD_NAME(norm_backward)(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  struct cut cut;
  struct io read = *io;
  if (!norm_reads_y(node)) read.y = NULL;
  read.x[1] = NULL; /* it is not there any more */
  lay_out(node, io->workspace, &cut);
  set_lines(&cut, io);
  each_piece(&cut, &read, 0, sum_rows);
  sum_planes(&cut);
  give_parameters(&cut, io);
  give_statistics(&cut, io);
  if (!norm_is_running(node))
    for (int g = 0; g < norm_groups(node); g++) set_group_lines(&cut, io, g);
  if (io->dx[0] || io->dx[1]) each_piece(&cut, &read, 1U << DX | 1U << DRESIDUAL, give_rows);
  return STATUS_OK;
}
