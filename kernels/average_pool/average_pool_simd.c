/* average_pool on vectors. Voxels are cut into chunks of a fixed size with one float32 partial sum
 * for each of 16 columns: the channels of a block, or every 16th voxel of a planar channel. Partial
 * sums are added in order, in double. */
#include "kernels/common/simd.h"
#include "kernels/op.h"

enum { COLUMNS = CHANNEL_BLOCK, CHUNK = 256 /* rows of COLUMNS elements */ };

/* How a tensor is taken: planes of `elements` each, `rows` whole rows. */
struct cut {
  int64_t planes, elements, rows, chunks;
};

static struct cut cut_make(const struct tensor *x) {
  bool blocked = x->layout == LAYOUT_BLOCKED;
  struct cut cut;
  cut.planes = (int64_t)x->shape.n * tensor_stored_channels(x) / (blocked ? CHANNEL_BLOCK : 1);
  cut.elements = shape_voxels(x->shape) * (blocked ? CHANNEL_BLOCK : 1);
  cut.rows = cut.elements / COLUMNS;
  cut.chunks = (cut.rows + CHUNK - 1) / CHUNK;
  return cut;
}

static void sum_chunk(const float *x, int64_t rows, float *partial) {
  simd sum[SIMD_PER_BLOCK] = {{0}};
  for (int64_t r = 0; r < rows; r++, x += COLUMNS)
    SIMD_UNROLL for (int v = 0; v < SIMD_PER_BLOCK; v++) sum[v] += simd_load(x + v * SIMD_WIDTH);
  for (int v = 0; v < SIMD_PER_BLOCK; v++) simd_store(partial + v * SIMD_WIDTH, sum[v]);
}

/* Sums of the columns of a plane. */
static void fold(const struct cut *cut, const float *partial, double sum[COLUMNS]) {
  for (int c = 0; c < COLUMNS; c++) sum[c] = 0;
  for (int64_t k = 0; k < cut->chunks; k++)
    for (int c = 0; c < COLUMNS; c++) sum[c] += (double)partial[k * COLUMNS + c];
}

static double planar_sum(const struct cut *cut, const float *x, const double sum[COLUMNS]) {
  double total = 0;
  for (int c = 0; c < COLUMNS; c++) total += sum[c];
  for (int64_t i = cut->rows * COLUMNS; i < cut->elements; i++) total += (double)x[i];
  return total;
}

static enum status average_pool_forward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  const struct cut cut = cut_make(&node->x[0]);
  const float *x = io->x[0];
  float *partial = io->workspace, *y = io->y;
  double voxels = (double)shape_voxels(node->x[0].shape), sum[COLUMNS];
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < cut.planes * cut.chunks; i++) {
    int64_t first = i % cut.chunks * CHUNK, left = cut.rows - first;
    sum_chunk(x + i / cut.chunks * cut.elements + first * COLUMNS, left < CHUNK ? left : CHUNK,
              partial + i * COLUMNS);
  }
  for (int64_t plane = 0; plane < cut.planes; plane++) {
    fold(&cut, partial + plane * cut.chunks * COLUMNS, sum);
    for (int c = 0; c < COLUMNS && node->x[0].layout == LAYOUT_BLOCKED; c++)
      y[plane * COLUMNS + c] = (float)(sum[c] / voxels);
    if (node->x[0].layout == LAYOUT_PLANAR)
      y[plane] = (float)(planar_sum(&cut, x + plane * cut.elements, sum) / voxels);
  }
  return STATUS_OK;
}

/* dx is the same in all voxels. `gradient`: of the plane's columns. */
static void give_row(float *dx, const float gradient[COLUMNS], int count, bool add) {
  for (int c = 0; c < count; c++) dx[c] = add ? dx[c] + gradient[c] : gradient[c];
}

static enum status average_pool_backward(const struct node *node, const struct io *io,
                                         struct stream *stream) {
  (void)stream;
  const struct cut cut = cut_make(&node->x[0]);
  const float *dy = io->dy;
  float voxels = (float)shape_voxels(node->x[0].shape);
  bool blocked = node->x[0].layout == LAYOUT_BLOCKED;
  if (!io->dx[0]) return STATUS_OK;
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < cut.planes; plane++) {
    float *dx = (float *)io->dx[0] + plane * cut.elements, gradient[COLUMNS];
    for (int c = 0; c < COLUMNS; c++)
      gradient[c] = (blocked ? dy[plane * COLUMNS + c] : dy[plane]) / voxels;
    for (int64_t r = 0; r < cut.rows; r++)
      give_row(dx + r * COLUMNS, gradient, COLUMNS, io->dx_add[0]);
    give_row(dx + cut.rows * COLUMNS, gradient, (int)(cut.elements % COLUMNS), io->dx_add[0]);
  }
  return STATUS_OK;
}

static bool average_pool_applies(const struct node *node) {
  enum layout layout = node->x[0].layout;
  return simd_available() && layout == node->y.layout && layout != LAYOUT_LAST;
}

static void average_pool_prepare(struct node *node) {
  const struct cut cut = cut_make(&node->x[0]);
  node->forward_workspace = (size_t)(cut.planes * cut.chunks) * COLUMNS * sizeof(float);
}

extern const struct kernel SIMD_NAME(average_pool_simd);
const struct kernel SIMD_NAME(average_pool_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = average_pool_applies,
    .prepare = average_pool_prepare,
    .forward = average_pool_forward,
    .backward = average_pool_backward,
};
