/* gate by the definition, any layouts. */
#include <math.h>
#include "kernels/common/real.h"
#include "kernels/op.h"

/* Where channel c of a voxel, counted over all samples, is. */
static int64_t voxel_of(const struct tensor *tensor, int64_t voxel, int c) {
  struct shape s = tensor->shape;
  int64_t row = voxel / s.w, plane = row / s.h;
  return tensor_at(tensor, (int)(plane / s.d), c, (int)(plane % s.d), (int)(row % s.h),
                   (int)(voxel % s.w));
}

static real sigmoid(real q) {
  return 1 / (1 + (real)exp((double)-q));
}

static enum status gate_forward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  const struct tensor *x = &node->x[0];
  int64_t voxels = x->shape.n * shape_voxels(x->shape);
#pragma omp parallel for schedule(static)
  for (int64_t v = 0; v < voxels; v++) {
    real open = sigmoid(((const real *)io->x[1])[voxel_of(&node->x[1], v, 0)]);
    for (int c = 0; c < tensor_stored_channels(x); c++) {
      int64_t at = voxel_of(x, v, c);
      ((real *)io->y)[at] = ((const real *)io->x[0])[at] * open;
    }
  }
  return STATUS_OK;
}

static void give(real *dx, real value, bool add) {
  *dx = add ? *dx + value : value;
}

static enum status gate_backward(const struct node *node, const struct io *io,
                                 struct stream *stream) {
  (void)stream;
  const struct tensor *x = &node->x[0];
  const real *values = io->x[0], *dy = io->dy;
  int64_t voxels = x->shape.n * shape_voxels(x->shape);
#pragma omp parallel for schedule(static)
  for (int64_t v = 0; v < voxels; v++) {
    real open = sigmoid(((const real *)io->x[1])[voxel_of(&node->x[1], v, 0)]), sum = 0;
    for (int c = 0; c < tensor_stored_channels(x); c++) {
      int64_t at = voxel_of(x, v, c);
      sum += dy[at] * values[at];
      if (io->dx[0]) give((real *)io->dx[0] + at, dy[at] * open, io->dx_add[0]);
    }
    for (int c = 0; io->dx[1] && c < tensor_stored_channels(&node->x[1]); c++)
      give((real *)io->dx[1] + voxel_of(&node->x[1], v, c), c == 0 ? sum * open * (1 - open) : 0,
           io->dx_add[1]);
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(gate_reference);
const struct kernel REAL_NAME(gate_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = gate_forward,
    .backward = gate_backward,
};
