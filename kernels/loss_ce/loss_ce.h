/* Cross entropy of a softmax over logits [n K d h w] against labels uint8 [n 1 D H W]:
 *   L = sum_i w[label_i] (1 - p_i)^gamma (-log p_i) / denominator,
 * p_i the probability of the label of voxel i. The denominator is the sum of w[label_i] over the
 * call, which for gamma 0 is PyTorch's weighted mean; or, by a third input
 * (kernels/common/batch_sums.h) that holds this sum over a whole batch, its part for a call, so
 * that the mean over the calls is the loss of the batch; the operator label_weight gives what a
 * call adds to it. Where the denominator is 0, nothing counts and the loss is 0.
 * kernels/common/logits.h says what labels may be: whoever makes them sees to it that they are
 * below K or 255; others are left out like 255. gamma above 0 is the focal loss (Lin et al., "Focal
 * Loss for Dense Object Detection", 2017). */
#pragma once
#include <assert.h>
#include "kernels/common/batch_sums.h"
#include "kernels/common/logits.h"

struct loss_ce_arguments {
  double gamma;
  int sum;       /* with a third input: the place of the denominator there */
  bool weighted; /* false: all weights are 1 */
  float weight[LOGITS_MOST_CLASSES];
};
static_assert(sizeof(struct loss_ce_arguments) <= OP_ARGUMENT_BYTES, "must fit a node");

#ifdef __cplusplus
extern "C" {
#endif

static inline const struct loss_ce_arguments *loss_ce_arguments_of(const struct node *node) {
  return (const struct loss_ce_arguments *)(const void *)node->arguments;
}

/* What kernels compute with: arguments in float32, weights of all classes filled in. saved[0] is
 * the denominator, float64. */
struct loss_ce_terms {
  float gamma, weight[LOGITS_MOST_CLASSES];
};
struct loss_ce_terms loss_ce_terms_of(const struct node *node);

/* The terms of a loss: the sums that make it. */
enum { LOSS_CE_SUM, LOSS_CE_WEIGHT, LOSS_CE_SUMS };

/* The loss. */
static inline HOST_DEVICE double loss_ce_of(double sum, double denominator) {
  return denominator > 0 ? sum / denominator : 0;
}

/* The denominator, on the CPU. own: the sum over the call. */
static inline double loss_ce_denominator(const struct node *node, const struct io *io, double own) {
  if (!batch_sums_given(node)) return own;
  return batch_sums_read(node, io, loss_ce_arguments_of(node)->sum) /
         batch_sums_read(node, io, batch_sums_calls(node));
}

#ifdef __cplusplus
}
#endif
