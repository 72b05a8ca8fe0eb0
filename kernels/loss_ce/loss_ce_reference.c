/* loss_ce by the definition, voxel by voxel. */
#include "kernels/common/logits_reference.h"
#include "kernels/loss_ce/loss_ce.h"

struct voxel {
  struct logits_corners at;
  double p[LOGITS_MOST_CLASSES], nll, rest, weight; /* rest: 1 - the label's probability */
  int n, label;
};

static struct voxel voxel_of(const struct node *node, const struct io *io, int n, int d, int h,
                             int w) {
  struct logits logits = logits_of(node);
  const struct loss_ce_arguments *a = loss_ce_arguments_of(node);
  const unsigned char *labels = io->x[1];
  struct voxel voxel = {.at = logits_corners_of(&logits, d, h, w), .n = n};
  voxel.label = labels[tensor_at(&node->x[1], n, 0, d, h, w)];
  if (voxel.label >= logits.classes) return voxel;
  voxel.weight = a->weighted ? a->weight[voxel.label] : 1;
  double sum = logits_probabilities(&node->x[0], io->x[0], n, &voxel.at, voxel.p);
  voxel.nll = sum - logits_read(&node->x[0], io->x[0], n, voxel.label, &voxel.at);
  for (int k = 0; k < logits.classes; k++) voxel.rest += k == voxel.label ? 0 : voxel.p[k];
  return voxel;
}

typedef void each_voxel(const struct node *node, const struct io *io, const struct voxel *voxel,
                        double *sums);

static void visit(const struct node *node, const struct io *io, each_voxel *each, double *sums) {
  struct shape s = node->x[1].shape;
  for (int n = 0; n < s.n; n++)
    for (int d = 0; d < s.d; d++)
      for (int h = 0; h < s.h; h++)
        for (int w = 0; w < s.w; w++) {
          struct voxel voxel = voxel_of(node, io, n, d, h, w);
          if (voxel.label < node->x[0].shape.c) each(node, io, &voxel, sums);
        }
}

static void add_loss(const struct node *node, const struct io *io, const struct voxel *voxel,
                     double *sums) {
  (void)io;
  double gamma = loss_ce_arguments_of(node)->gamma;
  sums[LOSS_CE_SUM] += voxel->weight * voxel->nll * (gamma > 0 ? pow(voxel->rest, gamma) : 1);
  sums[LOSS_CE_WEIGHT] += voxel->weight;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  double sums[LOSS_CE_SUMS] = {0};
  visit(node, io, add_loss, sums);
  double denominator = loss_ce_denominator(node, io, sums[LOSS_CE_WEIGHT]);
  *(double *)io->saved[0] = denominator;
  *(double *)io->y = loss_ce_of(sums[LOSS_CE_SUM], denominator);
  return STATUS_OK;
}

static void give_slopes(const struct node *node, const struct io *io, const struct voxel *voxel,
                        double *scale) {
  double gamma = loss_ce_arguments_of(node)->gamma, factor = *scale * voxel->weight;
  if (gamma > 0) {
    double rest = voxel->rest > 0 ? voxel->rest : 1e-300;
    factor *= pow(rest, gamma) * (1 + gamma * (1 - rest) * voxel->nll / rest);
  }
  for (int k = 0; k < node->x[0].shape.c; k++)
    logits_give(&node->x[0], io->dx[0], voxel->n, k, &voxel->at,
                factor * (voxel->p[k] - (k == voxel->label)));
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  double scale = loss_ce_of(*(const double *)io->dy, *(const double *)io->saved[0]);
  logits_clear(node, io);
  visit(node, io, give_slopes, &scale);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_ce_reference);
const struct kernel REAL_NAME(loss_ce_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = forward,
    .backward = backward,
};
