/* resize by the definition: eight weighted voxels for every output, any layouts. */
#include "kernels/common/real.h"
#include "kernels/resize/resize.h"

/* Adds the interpolation matrix, or with `transposed` its transpose, times `from` to `to`, for one
 * sample and channel. */
static void add_volume(const struct node *node, const real *from, real *to, int n, int c,
                       bool transposed) {
  const struct resize_arguments *a = (const void *)node->arguments;
  const struct shape *in = &node->x[0].shape, *out = &node->y.shape;
  for (int64_t i = 0; i < shape_voxels(*out); i++) {
    int o[3] = {(int)(i / out->w / out->h), (int)(i / out->w % out->h), (int)(i % out->w)};
    struct resize_source s[3] = {resize_source(a, in->d, out->d, o[0]),
                                 resize_source(a, in->h, out->h, o[1]),
                                 resize_source(a, in->w, out->w, o[2])};
    int64_t y = tensor_at(&node->y, n, c, o[0], o[1], o[2]);
    for (int corner = 0; corner < 8; corner++) {
      int at[3];
      double weight = a->multiply;
      for (int axis = 0; axis < 3; axis++) {
        bool high = corner >> axis & 1;
        at[axis] = high ? s[axis].high : s[axis].low;
        weight *= high ? s[axis].weight : 1 - s[axis].weight;
      }
      int64_t x = tensor_at(&node->x[0], n, c, at[0], at[1], at[2]);
      if (transposed)
        to[x] += (real)weight * from[y];
      else
        to[y] += (real)weight * from[x];
    }
  }
}

static void add_all(const struct node *node, const real *from, real *to, bool transposed) {
  for (int n = 0; n < node->y.shape.n; n++)
    for (int c = 0; c < node->y.shape.c; c++) add_volume(node, from, to, n, c, transposed);
}

static void fill_zero(real *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = 0;
}

static enum status resize_forward(const struct node *node, const struct io *io,
                                  struct stream *stream) {
  (void)stream;
  fill_zero(io->y, tensor_elements(&node->y));
  add_all(node, io->x[0], io->y, false);
  return STATUS_OK;
}

static enum status resize_backward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  if (!io->dx_add[0]) fill_zero(io->dx[0], tensor_elements(&node->x[0]));
  add_all(node, io->dy, io->dx[0], true);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(resize_reference);
const struct kernel REAL_NAME(resize_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = resize_forward,
    .backward = resize_backward,
};
