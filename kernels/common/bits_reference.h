/* What the references of losses of bits read. For _reference.c files. */
#pragma once
#include <math.h>
#include "kernels/common/bits.h"
#include "kernels/common/real.h"

/* Whether class c is there. */
static inline bool bits_truth(const struct node *node, const struct io *io, int n, int c, int d,
                              int h, int w) {
  const unsigned char *bits = io->x[1];
  return bits[tensor_at(&node->x[1], n, c / 8, d, h, w)] >> c % 8 & 1;
}

/* Calls `each` for all logits with their place in x[0]; c counts padding channels, too. */
typedef void bits_visit_each(const struct node *node, const struct io *io, int n, int c, int64_t at,
                             bool truth, double *values);
static inline void bits_visit(const struct node *node, const struct io *io, bits_visit_each *each,
                              double *values) {
  struct shape s = node->x[0].shape;
  for (int n = 0; n < s.n; n++)
    for (int c = 0; c < tensor_stored_channels(&node->x[0]); c++)
      for (int d = 0; d < s.d; d++)
        for (int h = 0; h < s.h; h++)
          for (int w = 0; w < s.w; w++)
            each(node, io, n, c, tensor_at(&node->x[0], n, c, d, h, w),
                 c < s.c && bits_truth(node, io, n, c, d, h, w), values);
}

/* Gives dx[0] its element; 0 for padding channels. */
static inline void bits_give(const struct node *node, const struct io *io, int c, int64_t at,
                             double slope) {
  real *to = (real *)io->dx[0] + at;
  double value = c < node->x[0].shape.c ? slope : 0;
  *to = (real)(io->dx_add[0] ? *to + value : value);
}
