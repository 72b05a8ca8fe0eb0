/* leaky_relu by the definition. */
#include "kernels/common/real.h"
#include "kernels/leaky_relu/leaky_relu.h"

static enum status leaky_relu_forward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  const struct leaky_relu_arguments *arguments = (const void *)node->arguments;
  const real *x = io->x[0];
  real *y = io->y;
  for (int64_t i = 0; i < tensor_elements(&node->y); i++)
    y[i] = x[i] > 0 ? x[i] : x[i] * (real)arguments->slope;
  return STATUS_OK;
}

static enum status leaky_relu_backward(const struct node *node, const struct io *io,
                                       struct stream *stream) {
  (void)stream;
  const struct leaky_relu_arguments *arguments = (const void *)node->arguments;
  const real *y = io->y, *dy = io->dy;
  real *dx = io->dx[0];
  for (int64_t i = 0; dx && i < tensor_elements(&node->y); i++) {
    real gradient = y[i] > 0 ? dy[i] : dy[i] * (real)arguments->slope;
    dx[i] = io->dx_add[0] ? dx[i] + gradient : gradient;
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(leaky_relu_reference);
const struct kernel REAL_NAME(leaky_relu_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = leaky_relu_forward,
    .backward = leaky_relu_backward,
};
