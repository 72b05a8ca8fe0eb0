/* loss_bce by the definition. */
#include "kernels/common/bits_reference.h"
#include "kernels/loss_bce/loss_bce.h"

static double softplus(double x) {
  return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static void add_loss(const struct node *node, const struct io *io, int n, int c, int64_t at,
                     bool truth, double *sum) {
  (void)n;
  const real *x = io->x[0];
  const struct loss_bce_arguments *a = loss_bce_arguments_of(node);
  if (c >= node->x[0].shape.c) return;
  double s = truth ? x[at] : -x[at];
  double weight = truth ? (double)loss_bce_terms_of(node).positive_weight : 1;
  *sum += weight * exp(-a->gamma * softplus(s)) * softplus(-s);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  double sum = 0;
  bits_visit(node, io, add_loss, &sum);
  *(double *)io->y = sum / loss_bce_count(node);
  return STATUS_OK;
}

static void give_slope(const struct node *node, const struct io *io, int n, int c, int64_t at,
                       bool truth, double *scale) {
  (void)n;
  const real *x = io->x[0];
  double gamma = loss_bce_arguments_of(node)->gamma, s = truth ? x[at] : -x[at];
  double weight = truth ? (double)loss_bce_terms_of(node).positive_weight : 1;
  double p = 1 / (1 + exp(-s)), rest = 1 / (1 + exp(s));
  double slope = -exp(-gamma * softplus(s)) * (rest + gamma * p * softplus(-s));
  bits_give(node, io, c, at, *scale * weight * (truth ? slope : -slope));
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  double scale = *(const double *)io->dy / loss_bce_count(node);
  if (io->dx[0]) bits_visit(node, io, give_slope, &scale);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_bce_reference);
const struct kernel REAL_NAME(loss_bce_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = forward,
    .backward = backward,
};
