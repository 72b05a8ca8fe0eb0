/* leaky_relu on vectors: for a slope up to 1 the larger of x and slope*x. */
#include "kernels/common/simd.h"
#include "kernels/leaky_relu/leaky_relu.h"

enum { CHUNK = 1 << 14 }; /* elements per piece of work */

static int smaller(int64_t a, int64_t b) {
  return (int)(a < b ? a : b);
}

static void chunk_forward(const float *x, float *y, int count, float slope) {
  for (int i = 0; i < count; i++) y[i] = x[i] > 0 ? x[i] : x[i] * slope;
}

static void chunk_backward(const float *y, const float *dy, float *dx, int count, float slope) {
  for (int i = 0; i < count; i++) dx[i] = dy[i] * (y[i] > 0 ? 1 : slope);
}

static void chunk_backward_add(const float *y, const float *dy, float *dx, int count, float slope) {
  for (int i = 0; i < count; i++) dx[i] += dy[i] * (y[i] > 0 ? 1 : slope);
}

static bool leaky_relu_applies(const struct node *node) {
  (void)node;
  return simd_available();
}

static enum status leaky_relu_forward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  float slope = ((const struct leaky_relu_arguments *)(const void *)node->arguments)->slope;
  int64_t count = tensor_elements(&node->y);
  const float *x = io->x[0];
  float *y = io->y;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += CHUNK)
    chunk_forward(x + i, y + i, smaller(count - i, CHUNK), slope);
  return STATUS_OK;
}

static enum status leaky_relu_backward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  float slope = ((const struct leaky_relu_arguments *)(const void *)node->arguments)->slope;
  int64_t count = tensor_elements(&node->y);
  const float *y = io->y, *dy = io->dy;
  float *dx = io->dx[0];
  void (*chunk)(const float *, const float *, float *, int, float) =
      io->dx_add[0] ? chunk_backward_add : chunk_backward;
  if (!dx) return STATUS_OK;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += CHUNK)
    chunk(y + i, dy + i, dx + i, smaller(count - i, CHUNK), slope);
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(leaky_relu_simd);
const struct kernel SIMD_NAME(leaky_relu_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = leaky_relu_applies,
    .forward = leaky_relu_forward,
    .backward = leaky_relu_backward,
};
