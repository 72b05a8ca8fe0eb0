/* add by the definition. */
#include "kernels/common/real.h"
#include "kernels/op.h"

static enum status add_forward(const struct node *node, const struct io *io,
                               struct stream *stream) {
  (void)stream;
  real *y = io->y;
  for (int64_t i = 0; i < tensor_elements(&node->y); i++) {
    real sum = ((const real *)io->x[0])[i];
    for (int k = 1; k < node->input_count; k++) sum += ((const real *)io->x[k])[i];
    y[i] = sum;
  }
  return STATUS_OK;
}

static enum status add_backward(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  const real *dy = io->dy;
  for (int k = 0; k < node->input_count; k++) {
    real *dx = io->dx[k];
    for (int64_t i = 0; dx && i < tensor_elements(&node->y); i++)
      dx[i] = io->dx_add[k] ? dx[i] + dy[i] : dy[i];
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(add_reference);
const struct kernel REAL_NAME(add_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = add_forward,
    .backward = add_backward,
};
