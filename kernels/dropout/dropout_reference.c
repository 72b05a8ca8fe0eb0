/* dropout by the definition: one element at a time, any layouts. */
#include <string.h>
#include "kernels/common/real.h"
#include "kernels/dropout/mask.h"

/* to = mask(from), or to + mask(from). x, y and their gradients have one layout. */
static void apply(const struct node *node, const real *rows, const real *from, real *to, bool add) {
  const struct dropout_mask mask = dropout_mask_make(node);
  const struct tensor *x = &node->x[0];
  for (int n = 0; n < x->shape.n; n++) {
    const real *row = rows + tensor_at(&node->x[1], n, 0, 0, 0, 0);
    const uint32_t key[2] = {(uint32_t)row[0], (uint32_t)row[1]};
    for (int c = 0; c < tensor_stored_channels(x); c++)
      for (int64_t voxel = 0; voxel < shape_voxels(x->shape); voxel++) {
        int64_t at = tensor_at(x, n, c, 0, 0, 0) + voxel * tensor_voxel_stride(x);
        uint32_t word[4];
        dropout_words(&mask, key, (uint32_t)voxel, (uint32_t)c / 4, word);
        real value = word[c % 4] < mask.threshold ? 0 : from[at] * (real)mask.scale;
        to[at] = add ? to[at] + value : value;
      }
  }
}

static enum status dropout_forward(const struct node *node, const struct io *io,
                                   struct stream *stream) {
  (void)stream;
  memcpy(io->saved[0], io->x[1], tensor_bytes(&node->saved[0]));
  apply(node, io->saved[0], io->x[0], io->y, false);
  return STATUS_OK;
}

static enum status dropout_backward(const struct node *node, const struct io *io,
                                    struct stream *stream) {
  (void)stream;
  if (io->dx[0]) apply(node, io->saved[0], io->dy, io->dx[0], io->dx_add[0]);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(dropout_reference);
const struct kernel REAL_NAME(dropout_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
