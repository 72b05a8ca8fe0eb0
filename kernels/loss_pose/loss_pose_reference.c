/* loss_pose on the CPU, one sample after another, any layouts. */
#include "kernels/common/real.h"
#include "kernels/loss_pose/pose_gradient.h"

static void load(const struct tensor *tensor, const void *memory, int n, double *values) {
  for (int c = 0; c < tensor->shape.c; c++)
    values[c] = (double)((const real *)memory)[tensor_at(tensor, n, c, 0, 0, 0)];
}

static struct pose_sample load_sample(const struct node *node, const struct io *io, int n) {
  double value[POSE_MATRIX], target[POSE_TARGET];
  load(&node->x[0], io->x[0], n, value);
  load(&node->x[1], io->x[1], n, target);
  return pose_sample_make(loss_pose_arguments_of(node), node->x[0].shape.c, value, target);
}

static enum status loss_pose_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  (void)stream;
  double sum = 0;
  for (int n = 0; n < node->x[0].shape.n; n++) {
    const struct pose_sample sample = load_sample(node, io, n);
    sum += pose_loss_find(loss_pose_arguments_of(node), &sample, NULL);
  }
  *(double *)io->y = sum / node->x[0].shape.n;
  return STATUS_OK;
}

static enum status loss_pose_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  (void)stream;
  const struct tensor *x = &node->x[0];
  double scale = *(const double *)io->dy / x->shape.n;
  for (int n = 0; n < x->shape.n && io->dx[0]; n++) {
    const struct pose_sample sample = load_sample(node, io, n);
    double slope[CHANNEL_BLOCK] = {0}; /* padding channels, too */
    pose_loss_find(loss_pose_arguments_of(node), &sample, slope);
    for (int c = 0; c < tensor_stored_channels(x); c++) {
      real *dx = (real *)io->dx[0] + tensor_at(x, n, c, 0, 0, 0);
      *dx = (real)(scale * slope[c] + (io->dx_add[0] ? (double)*dx : 0));
    }
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_pose_reference);
const struct kernel REAL_NAME(loss_pose_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = loss_pose_forward,
    .backward = loss_pose_backward,
};
