/* add in pieces that several threads share. */
#include <string.h>
#include "kernels/common/simd.h"
#include "kernels/op.h"

enum { CHUNK = 1 << 14 }; /* elements per piece of work */

static int64_t chunk_length(int64_t count, int64_t start) {
  return count - start < CHUNK ? count - start : CHUNK;
}

static void accumulate(const float *x, float *y, int64_t count) {
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static bool add_applies(const struct node *node) {
  (void)node;
  return simd_available();
}

static enum status add_forward(const struct node *node, const struct io *io,
                               struct stream *stream) {
  (void)stream;
  int64_t count = tensor_elements(&node->y);
  float *y = io->y;
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < count; start += CHUNK) {
    int64_t length = chunk_length(count, start);
    memcpy(y + start, (const float *)io->x[0] + start, sizeof(float) * (size_t)length);
    for (int k = 1; k < node->input_count; k++)
      accumulate((const float *)io->x[k] + start, y + start, length);
  }
  return STATUS_OK;
}

static void give(const float *dy, float *dx, bool add, int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t start = 0; start < count; start += CHUNK) {
    int64_t length = chunk_length(count, start);
    if (add) {
      accumulate(dy + start, dx + start, length);
    } else {
      memcpy(dx + start, dy + start, sizeof(float) * (size_t)length);
    }
  }
}

static enum status add_backward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  for (int k = 0; k < node->input_count; k++)
    if (io->dx[k]) give(io->dy, io->dx[k], io->dx_add[k], tensor_elements(&node->y));
  return STATUS_OK;
}

extern const struct kernel SIMD_NAME(add_simd);
const struct kernel SIMD_NAME(add_simd) = {
    .name = SIMD_LABEL("simd"),
    .device = DEVICE_CPU,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = add_applies,
    .forward = add_forward,
    .backward = add_backward,
};
