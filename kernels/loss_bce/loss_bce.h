/* Binary cross entropy of a sigmoid over logits [n K d h w] against a truth of one bit per class
 * and voxel (kernels/common/bits.h): the mean over all classes and voxels of w (1 - p)^gamma (-log
 * p), p the probability of what is true, w positive_weight where the class is there and 1 where not
 * (PyTorch's pos_weight, one number). gamma above 0 is the focal loss (Lin et al., "Focal Loss for
 * Dense Object Detection", 2017). With s the logit, or -logit where the class is not there,
 * -log p = softplus(-s) and 1 - p = sigmoid(-s): no cancellation at any logit. */
#pragma once
#include "kernels/common/bits.h"

struct loss_bce_arguments {
  double gamma, positive_weight; /* positive_weight 0: 1 */
};

#ifdef __cplusplus
extern "C" {
#endif

static inline const struct loss_bce_arguments *loss_bce_arguments_of(const struct node *node) {
  return (const struct loss_bce_arguments *)(const void *)node->arguments;
}

/* What kernels compute with. */
struct loss_bce_terms {
  float gamma, positive_weight;
};
static inline struct loss_bce_terms loss_bce_terms_of(const struct node *node) {
  const struct loss_bce_arguments *a = loss_bce_arguments_of(node);
  struct loss_bce_terms terms;
  terms.gamma = (float)a->gamma;
  terms.positive_weight = a->positive_weight > 0 ? (float)a->positive_weight : 1;
  return terms;
}

/* How many logits the mean is taken of. */
static inline double loss_bce_count(const struct node *node) {
  struct shape s = node->x[0].shape;
  return (double)s.n * s.c * (double)shape_voxels(s);
}

#ifdef __cplusplus
}
#endif
