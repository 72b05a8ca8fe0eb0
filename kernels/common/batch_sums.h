/* Losses of a batch that is computed in several calls. Their third input, [1 N+1 1 1 1], holds N
 * sums over all calls and then how many calls there are; a loss reads its own sums from one of them
 * on. What it gives then is such that the mean over the calls of y, and that of the gradients, are
 * those of the whole batch. */
#pragma once
#include "kernels/op.h"

enum { BATCH_SUMS_INPUT = 2 };

#ifdef __cplusplus
extern "C" {
#endif

/* Checks the third input, if there is one, of `loss` (for messages), which reads `count` sums from
 * number `first` on. It is float32, or of the logits' type. */
CHECKED enum status batch_sums_check(const struct node *node, const char *loss, int first,
                                     int count);

static inline bool batch_sums_given(const struct node *node) {
  return node->input_count > BATCH_SUMS_INPUT;
}

/* The place of the number of calls. */
static inline int batch_sums_calls(const struct node *node) {
  return node->x[BATCH_SUMS_INPUT].shape.c - 1;
}

/* Number `at` of the third input, on the CPU. */
static inline double batch_sums_read(const struct node *node, const struct io *io, int at) {
  const void *sums = io->x[BATCH_SUMS_INPUT];
  bool wide = node->x[BATCH_SUMS_INPUT].dtype == DTYPE_F64;
  return wide ? ((const double *)sums)[at] : (double)((const float *)sums)[at];
}

#ifdef __cplusplus
}
#endif
