/* The sum of w[label] over a map of labels [n 1 d h w], uint8: [1 1 1 1 1], float32, float64 in a
 * float64 graph. It is what a call adds to the denominator that loss_ce takes of a whole batch;
 * labels from the number of classes on, 255 above all, add nothing. */
#pragma once
#include <assert.h>
#include "kernels/common/logits.h"

struct label_weight_arguments {
  int classes;
  bool weighted; /* false: all weights are 1 */
  float weight[LOGITS_MOST_CLASSES];
};
static_assert(sizeof(struct label_weight_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

#ifdef __cplusplus
extern "C" {
#endif

/* What each byte adds. */
struct label_weights {
  float of[256];
};
struct label_weights label_weights_of(const struct node *node);

#ifdef __cplusplus
}
#endif
