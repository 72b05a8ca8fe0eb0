/* Normalisation: of every channel over the samples of a slot (batch), of groups of channels of each
 * sample (group), of every channel of each sample (instance), as PyTorch's layers of these names:
 * y = activation((x - mean) / sqrt(variance + epsilon) * weight + bias [+ residual]), biased
 * variance. */
#pragma once
#include "kernels/common/shared.h"
#include "kernels/op.h"

enum norm_kind { NORM_BATCH, NORM_GROUP, NORM_INSTANCE };

/* Inputs: x, and optionally a residual like x. */
struct norm_arguments {
  enum norm_kind kind;
  int groups;  /* of NORM_GROUP, which divide the channels */
  bool affine; /* has weight and bias, one of each per channel, 1 and 0 at first */
  double epsilon;
  float slope;  /* of the activation below 0: 1 none, 0 ReLU, between them LeakyReLU */
  bool running; /* of NORM_BATCH: normalise with the running statistics, as prediction does */
};

/* A node's parameters, in this order: the first two if it is affine, the others of NORM_BATCH. A
 * slot's backward writes as the gradient of the running statistics the mean and the unbiased
 * variance of x; with `running`, which leaves them as they are, the statistics themselves. */
enum norm_parameter { NORM_WEIGHT, NORM_BIAS, NORM_RUNNING_MEAN, NORM_RUNNING_VARIANCE };

/* What saved[i] holds: for every group (of every sample), float32. Planar, [1 groups 1 1 1]. */
enum { NORM_MEAN, NORM_DEVIATION /* 1 / sqrt(variance + epsilon) */ };

static inline const struct norm_arguments *norm_arguments_of(const struct node *node) {
  return (const struct norm_arguments *)node->arguments;
}

/* Whether statistics are taken from the parameters. */
static inline bool norm_is_running(const struct node *node) {
  const struct norm_arguments *arguments = norm_arguments_of(node);
  return arguments->kind == NORM_BATCH && arguments->running;
}

static inline bool norm_has_residual(const struct node *node) {
  return node->input_count == 2;
}

/* Whether the sign of what the activation got is that of y, which backward then reads: without a
 * residual x alone tells it. */
static inline bool norm_reads_y(const struct node *node) {
  return norm_has_residual(node) && norm_arguments_of(node)->slope != 1;
}

/* Which of the node's parameters it is, or -1. */
static inline int norm_parameter_index(const struct node *node, enum norm_parameter parameter) {
  const struct norm_arguments *arguments = norm_arguments_of(node);
  int index = (int)parameter;
  if (index < NORM_RUNNING_MEAN) return arguments->affine ? index : -1;
  if (arguments->kind != NORM_BATCH) return -1;
  return arguments->affine ? index : index - NORM_RUNNING_MEAN;
}

/* A parameter and its gradient in a call; NULL if the node does not have it. */
static inline const void *norm_w(const struct node *node, const struct io *io,
                                 enum norm_parameter parameter) {
  int index = norm_parameter_index(node, parameter);
  return index < 0 ? NULL : io->w[index];
}
static inline void *norm_dw(const struct node *node, const struct io *io,
                            enum norm_parameter parameter) {
  int index = norm_parameter_index(node, parameter);
  return index < 0 ? NULL : io->dw[index];
}

/* Groups that have statistics of their own, of all samples together. */
int norm_groups(const struct node *node);

/* The group of channel c of sample n. */
HOST_DEVICE static inline int norm_group_of(const struct norm_arguments *arguments, int channels,
                                            int n, int c) {
  if (arguments->kind == NORM_BATCH) return c;
  if (arguments->kind == NORM_INSTANCE) return n * channels + c;
  return n * arguments->groups + c / (channels / arguments->groups);
}

/* How many elements share a mean. */
int64_t norm_group_size(const struct node *node);

/* The unbiased variance of `size` elements from what is saved of them. */
HOST_DEVICE static inline double norm_unbiased(double deviation, double epsilon, double size) {
  double biased = 1 / (deviation * deviation) - epsilon;
  return biased > 0 ? biased * size / (size - 1) : 0;
}
