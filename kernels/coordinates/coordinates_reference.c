/* coordinates on the CPU: one row after another, any layouts. It writes memory once, which is what
 * it takes, and is the CPU's only kernel. */
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/coordinates/coordinate.h"
#include "kernels/op.h"

static void fill_row(const struct tensor *tensor, real *y, int n, int d, int h) {
  const struct shape *s = &tensor->shape;
  int64_t stride = tensor_voxel_stride(tensor), row = tensor_at(tensor, n, 0, d, h, 0);
  int64_t channel = tensor_at(tensor, n, 1, d, h, 0) - row;
  real slice = (real)coordinate(d, s->d), line = (real)coordinate(h, s->h);
  for (int w = 0; w < s->w; w++) {
    real *to = y + row + w * stride;
    to[0] = slice;
    to[channel] = line;
    to[2 * channel] = (real)coordinate(w, s->w);
  }
}

static enum status coordinates_forward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  const struct tensor *y = &node->y;
  if (tensor_stored_channels(y) > y->shape.c) memset(io->y, 0, tensor_bytes(y));
#pragma omp parallel for schedule(static)
  for (int slice = 0; slice < y->shape.n * y->shape.d; slice++)
    for (int h = 0; h < y->shape.h; h++)
      fill_row(y, io->y, slice / y->shape.d, slice % y->shape.d, h);
  return STATUS_OK;
}

static enum status coordinates_backward(const struct node *node, const struct io *io,
                                        struct stream *stream) {
  (void)stream;
  if (io->dx[0] && !io->dx_add[0]) memset(io->dx[0], 0, tensor_bytes(&node->x[0]));
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(coordinates_reference);
const struct kernel REAL_NAME(coordinates_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = coordinates_forward,
    .backward = coordinates_backward,
};
