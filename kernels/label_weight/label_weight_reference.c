/* label_weight by the definition. */
#include "kernels/common/real.h"
#include "kernels/label_weight/label_weight.h"

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  const struct label_weights weights = label_weights_of(node);
  const unsigned char *labels = io->x[0];
  struct shape s = node->x[0].shape;
  int64_t step = tensor_voxel_stride(&node->x[0]);
  double sum = 0;
  for (int n = 0; n < s.n; n++)
    for (int64_t v = 0; v < shape_voxels(s); v++)
      sum += (double)weights.of[labels[tensor_at(&node->x[0], n, 0, 0, 0, 0) + v * step]];
  real *y = io->y;
  for (int c = 0; c < tensor_stored_channels(&node->y); c++) y[c] = c == 0 ? (real)sum : 0;
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(label_weight_reference);
const struct kernel REAL_NAME(label_weight_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .forward = forward,
};
