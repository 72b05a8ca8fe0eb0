/* loss_mse by the definition. */
#include "kernels/common/real.h"
#include "kernels/op.h"

static double logical_elements(const struct tensor *x) {
  return (double)x->shape.n * x->shape.c * (double)shape_voxels(x->shape);
}

static enum status loss_mse_forward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  const real *a = io->x[0], *b = io->x[1];
  double sum = 0;
  for (int64_t i = 0; i < tensor_elements(&node->x[0]); i++) {
    double difference = (double)a[i] - (double)b[i];
    sum += difference * difference;
  }
  *(double *)io->y = sum / logical_elements(&node->x[0]);
  return STATUS_OK;
}

static enum status loss_mse_backward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  double scale = 2 * *(const double *)io->dy / logical_elements(&node->x[0]);
  for (int input = 0; input < 2; input++) {
    const real *own = io->x[input], *other = io->x[1 - input];
    real *dx = io->dx[input];
    for (int64_t i = 0; dx && i < tensor_elements(&node->x[0]); i++) {
      real gradient = (real)(scale * ((double)own[i] - (double)other[i]));
      dx[i] = io->dx_add[input] ? dx[i] + gradient : gradient;
    }
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_mse_reference);
const struct kernel REAL_NAME(loss_mse_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = loss_mse_forward,
    .backward = loss_mse_backward,
};
