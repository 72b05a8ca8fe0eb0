/* loss_mse on vectors, in blocks of BLOCK elements with one float64 partial sum each. */
#include "kernels/common/fold.h"
#include "kernels/common/simd.h"
#include "kernels/op.h"

enum { BLOCK = 4096, SUMS = 4 };

static int block_count(int64_t elements) {
  return (int)((elements + BLOCK - 1) / BLOCK);
}

static int block_length(int64_t elements, int block) {
  int64_t left = elements - (int64_t)block * BLOCK;
  return left < BLOCK ? (int)left : BLOCK;
}

static double logical_elements(const struct tensor *x) {
  return (double)x->shape.n * x->shape.c * (double)shape_voxels(x->shape);
}

static double block_sum(const float *a, const float *b, int count) {
  simd sums[SUMS] = {{0}};
  double total = 0;
  int i = 0;
  for (; i + SUMS * SIMD_WIDTH <= count; i += SUMS * SIMD_WIDTH)
    for (int s = 0; s < SUMS; s++) {
      simd difference = simd_load(a + i + s * SIMD_WIDTH) - simd_load(b + i + s * SIMD_WIDTH);
      sums[s] += difference * difference;
    }
  for (; i < count; i++) total += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
  for (int s = 0; s < SUMS; s++)
    for (int lane = 0; lane < SIMD_WIDTH; lane++) total += sums[s][lane];
  return total;
}

static void block_write(float *dx, const float *own, const float *other, float scale, int count) {
  for (int i = 0; i < count; i++) dx[i] = scale * (own[i] - other[i]);
}

static void block_add(float *dx, const float *own, const float *other, float scale, int count) {
  for (int i = 0; i < count; i++) dx[i] += scale * (own[i] - other[i]);
}

static bool loss_mse_applies(const struct node *node) {
  (void)node;
  return simd_available();
}

static void loss_mse_prepare(struct node *node) {
  int blocks = block_count(tensor_elements(&node->x[0]));
  node->forward_workspace = (size_t)blocks * sizeof(double);
}

static enum status loss_mse_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  int64_t elements = tensor_elements(&node->x[0]);
  int blocks = block_count(elements);
  const float *a = io->x[0], *b = io->x[1];
  double *partial = io->workspace;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < blocks; i++) {
    int64_t at = (int64_t)i * BLOCK;
    partial[i] = block_sum(a + at, b + at, block_length(elements, i));
  }
  *(double *)io->y = fold_sum(partial, blocks) / logical_elements(&node->x[0]);
  return STATUS_OK;
}

static void backward_input(const struct node *node, const struct io *io, int input, float scale) {
  int64_t elements = tensor_elements(&node->x[0]);
  int blocks = block_count(elements);
  const float *own = io->x[input], *other = io->x[1 - input];
  float *dx = io->dx[input];
  void (*block)(float *, const float *, const float *, float, int) =
      io->dx_add[input] ? block_add : block_write;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < blocks; i++) {
    int64_t at = (int64_t)i * BLOCK;
    block(dx + at, own + at, other + at, scale, block_length(elements, i));
  }
}

static enum status loss_mse_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  float scale = (float)(2 * *(const double *)io->dy / logical_elements(&node->x[0]));
  for (int input = 0; input < 2; input++)
    if (io->dx[input]) backward_input(node, io, input, scale);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(loss_mse_simd);
const struct kernel SIMD_NAME(loss_mse_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = loss_mse_applies,
    .prepare = loss_mse_prepare,
    .forward = loss_mse_forward,
    .backward = loss_mse_backward,
};
