/* window by the definition, any layouts. */
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/window/window.h"

static real value_of(const struct window_arguments *a, int k, real x) {
  real share = (x - (real)a->low[k]) / ((real)a->high[k] - (real)a->low[k]);
  share = share > 0 ? share : 0;
  share = share < 1 ? share : 1;
  return share * ((real)a->to - (real)a->from) + (real)a->from;
}

static enum status window_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct tensor *from = &node->x[0], *to = &node->y;
  const struct shape *s = &to->shape;
  memset(io->y, 0, tensor_bytes(to)); /* padding channels */
  for (int n = 0; n < s->n; n++)
    for (int k = 0; k < s->c; k++)
      for (int64_t i = 0; i < shape_voxels(*s); i++) {
        const real *x = (const real *)io->x[0] + tensor_at(from, n, 0, 0, 0, 0);
        real *y = (real *)io->y + tensor_at(to, n, k, 0, 0, 0);
        y[i * tensor_voxel_stride(to)] =
            value_of(window_arguments_of(node), k, x[i * tensor_voxel_stride(from)]);
      }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(window_reference);
const struct kernel REAL_NAME(window_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = false,
    .forward = window_forward,
};
