/* concat element by element, any layouts. */
#include "kernels/common/real.h"
#include "kernels/concat/concat.h"

static enum status concat_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  const struct shape *s = &node->y.shape;
  int64_t voxels = shape_voxels(*s);
  int step = node->y.layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  real *y = io->y;
  for (int64_t i = 0; i < tensor_elements(&node->y); i++) y[i] = 0;
  for (int input = 0; input < node->input_count; input++) {
    const struct tensor *x = &node->x[input];
    int from_step = x->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
    int first = concat_first_channel(node, input);
    for (int n = 0; n < s->n; n++)
      for (int c = 0; c < x->shape.c; c++) {
        real *to = y + tensor_at(&node->y, n, first + c, 0, 0, 0);
        const real *from = (const real *)io->x[input] + tensor_at(x, n, c, 0, 0, 0);
        for (int64_t v = 0; v < voxels; v++) to[v * step] = from[v * from_step];
      }
  }
  return STATUS_OK;
}

static void split_input(const struct node *node, const struct io *io, int input) {
  const struct tensor *x = &node->x[input];
  int step = node->y.layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  int to_step = x->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : 1;
  int first = concat_first_channel(node, input);
  real *dx = io->dx[input];
  for (int64_t i = 0; !io->dx_add[input] && i < tensor_elements(x); i++) dx[i] = 0;
  for (int n = 0; n < x->shape.n; n++)
    for (int c = 0; c < x->shape.c; c++) {
      const real *from = (const real *)io->dy + tensor_at(&node->y, n, first + c, 0, 0, 0);
      real *to = dx + tensor_at(x, n, c, 0, 0, 0);
      for (int64_t v = 0; v < shape_voxels(x->shape); v++) to[v * to_step] += from[v * step];
    }
}

static enum status concat_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  for (int input = 0; input < node->input_count; input++)
    if (io->dx[input]) split_input(node, io, input);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(concat_reference);
const struct kernel REAL_NAME(concat_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = concat_forward,
    .backward = concat_backward,
};
