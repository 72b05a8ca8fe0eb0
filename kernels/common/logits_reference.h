/* What the references of losses of logits read: an interpolated logit, and its adjoint. For
 * _reference.c files. */
#pragma once
#include <math.h>
#include <string.h>
#include "kernels/common/logits.h"
#include "kernels/common/real.h"

/* Where the logits of a voxel of the labels are, and with which weights. */
struct logits_corners {
  int d[8], h[8], w[8];
  double weight[8];
};

static inline struct logits_corners logits_corners_of(const struct logits *logits, int d, int h,
                                                      int w) {
  const int at[] = {d, h, w};
  struct logits_tap tap[3];
  struct logits_corners corners;
  for (int i = 0; i < 3; i++) tap[i] = logits_tap_of(at[i], logits->factor[i], logits->coarse[i]);
  for (int i = 0; i < 8; i++) {
    corners.d[i] = i & 4 ? tap[0].high : tap[0].low;
    corners.h[i] = i & 2 ? tap[1].high : tap[1].low;
    corners.w[i] = i & 1 ? tap[2].high : tap[2].low;
    corners.weight[i] = (double)(i & 4 ? tap[0].high_weight : tap[0].low_weight) *
                        (double)(i & 2 ? tap[1].high_weight : tap[1].low_weight) *
                        (double)(i & 1 ? tap[2].high_weight : tap[2].low_weight);
  }
  return corners;
}

static inline double logits_read(const struct tensor *tensor, const real *x, int n, int k,
                                 const struct logits_corners *at) {
  double sum = 0;
  for (int i = 0; i < 8; i++)
    sum += at->weight[i] * x[tensor_at(tensor, n, k, at->d[i], at->h[i], at->w[i])];
  return sum;
}

static inline void logits_give(const struct tensor *tensor, real *dx, int n, int k,
                               const struct logits_corners *at, double slope) {
  for (int i = 0; i < 8; i++)
    dx[tensor_at(tensor, n, k, at->d[i], at->h[i], at->w[i])] += (real)(at->weight[i] * slope);
}

/* The probabilities of a voxel; returns log of the sum of e^logit. */
static inline double logits_probabilities(const struct tensor *tensor, const real *x, int n,
                                          const struct logits_corners *at,
                                          double p[LOGITS_MOST_CLASSES]) {
  double largest = -1e300, sum = 0;
  for (int k = 0; k < tensor->shape.c; k++) {
    p[k] = logits_read(tensor, x, n, k, at);
    largest = p[k] > largest ? p[k] : largest;
  }
  for (int k = 0; k < tensor->shape.c; k++) sum += p[k] = exp(p[k] - largest);
  for (int k = 0; k < tensor->shape.c; k++) p[k] /= sum;
  return largest + log(sum);
}

/* A gradient that is to be added up: zeros, unless it is added to what is there. */
static inline void logits_clear(const struct node *node, const struct io *io) {
  if (!io->dx_add[0]) memset(io->dx[0], 0, tensor_bytes(&node->x[0]));
}
