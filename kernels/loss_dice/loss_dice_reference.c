/* loss_dice by the definition. */
#include "kernels/loss_dice/loss_dice.h"
#include <math.h>
#include "kernels/common/bits_reference.h"
#include "kernels/common/logits_reference.h"

static bool is_softmax(const struct node *node) {
  return loss_dice_arguments_of(node)->activation == LOSS_DICE_SOFTMAX;
}

/* Volumes of samples that are not saved are needed for a moment only. */
static double *sums_of(const struct node *node, const struct io *io) {
  return node->saved_count ? io->saved[0] : io->workspace;
}

static double *sums_at(const struct node *node, const struct io *io, int n, int k) {
  return sums_of(node, io) + ((int64_t)n * node->x[0].shape.c + k) * DICE_SUMS;
}

static void add_voxel(const struct node *node, const struct io *io, int n, int k, double p,
                      bool truth) {
  double *sums = sums_at(node, io, n, k);
  sums[DICE_OVERLAP] += truth ? p : 0;
  sums[DICE_PREDICTED] += loss_dice_arguments_of(node)->squared ? p * p : p;
  sums[DICE_TRUE] += truth;
}

/* The slope of the loss, times dy, by the probability of class k. */
static double slope_at(const struct node *node, const struct io *io, int n, int k, double p,
                       bool truth) {
  struct loss_dice_terms terms = loss_dice_terms_of(node);
  double volumes[DICE_SUMS], scale = *(const double *)io->dy / terms.count;
  if (k < terms.first) return 0;
  scale *= loss_dice_calls(&terms, io->saved[0]);
  loss_dice_volumes(&terms, io->saved[0], n, k, volumes);
  return scale * ((truth ? dice_overlap_slope(volumes, terms.smooth_denominator) : 0) +
                  dice_volume_slope(volumes, terms.smooth_numerator, terms.smooth_denominator) *
                      (terms.squared ? 2 * p : 1));
}

/* --- sigmoid --- */

static void add_sigmoid(const struct node *node, const struct io *io, int n, int c, int64_t at,
                        bool truth, double *unused) {
  (void)unused;
  const real *x = io->x[0];
  if (c < node->x[0].shape.c) add_voxel(node, io, n, c, 1 / (1 + exp(-(double)x[at])), truth);
}

static void give_sigmoid(const struct node *node, const struct io *io, int n, int c, int64_t at,
                         bool truth, double *unused) {
  (void)unused;
  double x = ((const real *)io->x[0])[at], p = 1 / (1 + exp(-x)), rest = 1 / (1 + exp(x));
  bits_give(node, io, c, at,
            c < node->x[0].shape.c ? p * rest * slope_at(node, io, n, c, p, truth) : 0);
}

/* --- softmax --- */

/* A voxel of the labels: adds to the sums, or gives slopes. */
static void visit_voxel(const struct node *node, const struct io *io, int n, const int at[3],
                        bool backward) {
  struct logits logits = logits_of(node);
  struct logits_corners corners = logits_corners_of(&logits, at[0], at[1], at[2]);
  const unsigned char *labels = io->x[1];
  int label = labels[tensor_at(&node->x[1], n, 0, at[0], at[1], at[2])];
  double p[LOGITS_MOST_CLASSES], slope[LOGITS_MOST_CLASSES], mean = 0;
  if (label >= logits.classes) return;
  logits_probabilities(&node->x[0], io->x[0], n, &corners, p);
  for (int k = 0; k < logits.classes && !backward; k++) add_voxel(node, io, n, k, p[k], k == label);
  for (int k = 0; k < logits.classes && backward; k++)
    mean += p[k] * (slope[k] = slope_at(node, io, n, k, p[k], k == label));
  for (int k = 0; k < logits.classes && backward; k++)
    logits_give(&node->x[0], io->dx[0], n, k, &corners, p[k] * (slope[k] - mean));
}

static void visit_voxels(const struct node *node, const struct io *io, bool backward) {
  struct shape s = node->x[1].shape;
  for (int n = 0; n < s.n; n++)
    for (int d = 0; d < s.d; d++)
      for (int h = 0; h < s.h; h++)
        for (int w = 0; w < s.w; w++) visit_voxel(node, io, n, (const int[]){d, h, w}, backward);
}

/* --- the kernels --- */

static size_t volume_bytes(const struct node *node) {
  return sizeof(double) * DICE_SUMS * (size_t)node->x[0].shape.n * (size_t)node->x[0].shape.c;
}

static void measure(const struct node *node, const struct io *io) {
  memset(sums_of(node, io), 0, volume_bytes(node));
  if (is_softmax(node))
    visit_voxels(node, io, false);
  else
    bits_visit(node, io, add_sigmoid, NULL);
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  struct loss_dice_terms terms = loss_dice_terms_of(node);
  double loss = 0;
  if (terms.given)
    loss_dice_take(node, io);
  else
    measure(node, io);
  for (int n = 0; n < terms.samples; n++)
    for (int k = 0; k < terms.classes; k++) loss += loss_dice_part(&terms, io->saved[0], n, k);
  *(double *)io->y = loss;
  return STATUS_OK;
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  (void)stream;
  if (!io->dx[0]) return STATUS_OK;
  if (is_softmax(node)) {
    logits_clear(node, io);
    visit_voxels(node, io, true);
  } else {
    bits_visit(node, io, give_sigmoid, NULL);
  }
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(loss_dice_reference);
const struct kernel REAL_NAME(loss_dice_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .forward = forward,
    .backward = backward,
};

static void prepare_volumes(struct node *node) {
  node->forward_workspace = volume_bytes(node);
}

static enum status give_volumes(const struct node *node, const struct io *io,
                                struct stream *stream) {
  (void)stream;
  measure(node, io);
  loss_dice_give(node, io, io->workspace);
  return STATUS_OK;
}

extern const struct kernel REAL_NAME(dice_volumes_reference);
const struct kernel REAL_NAME(dice_volumes_reference) = {
    .name = "reference",
    .device = DEVICE_CPU,
    .dtype = REAL_DTYPE,
    .training = true,
    .prepare = prepare_volumes,
    .forward = give_volumes,
    .backward = dice_volumes_backward,
};
