/* The Dice loss of probabilities. With I the sum of p g, P that of p (squared: of p^2) and G that
 * of the truth g over the voxels of a sample, or of all samples of the call (batch), it is the mean
 * of 1 - (2 I + smooth_numerator) / (P + G + smooth_denominator) over samples (batch: one) and
 * classes: MONAI's DiceLoss (monai/losses/dice.py), whose defaults are 1e-5 for both and the
 * background included. nnU-Net's soft Dice is this loss less 1 with `batch` as configured, no
 * background and smooth_numerator = smooth_denominator = its smooth; it goes to -1 where this goes
 * to 0. Softmax: labels as loss_ce takes them, finer ones, too; what is left out there is left out
 * of all three sums. Sigmoid: bits as loss_bce takes them.
 *
 * With `batch` there may be a third input (kernels/common/batch_sums.h): I, P and G of class 0,
 * then of class 1, and so on, over all calls. Then y is the loss of the whole batch in every call.
 * The operator dice_volumes (dice_volumes.c), with the same arguments, gives what a call adds to
 * them: [1 3K 1 1 1], float32, float64 in a float64 graph. */
#pragma once
#include "kernels/common/batch_sums.h"
#include "kernels/common/bits.h"
#include "kernels/common/dice.h"
#include "kernels/common/logits.h"

enum loss_dice_activation { LOSS_DICE_SOFTMAX, LOSS_DICE_SIGMOID };

struct loss_dice_arguments {
  enum loss_dice_activation activation;
  bool include_background; /* class 0 */
  bool batch, squared;
  double smooth_numerator, smooth_denominator;
  int sum; /* with a third input: the place of I of class 0 there */
};

#ifdef __cplusplus
extern "C" {
#endif

static inline const struct loss_dice_arguments *loss_dice_arguments_of(const struct node *node) {
  return (const struct loss_dice_arguments *)(const void *)node->arguments;
}

enum { LOSS_DICE_MOST_CLASSES = 2048 };

/* The inputs and arguments of a node of either operator. */
CHECKED enum status loss_dice_check(const struct node *node);

/* Of every kernel of dice_volumes: refuses to differentiate. */
CHECKED enum status dice_volumes_backward(const struct node *node, const struct io *io,
                                          struct stream *stream);

/* How the loss follows from the sums. saved[0] is [n K DICE_SUMS], float64; of a given batch
 * [K DICE_SUMS], and behind it the number of calls. */
struct loss_dice_terms {
  int first, classes, samples; /* first: the first class that counts */
  bool batch, given, squared;
  double smooth_numerator, smooth_denominator, count; /* count: of what the mean is taken */
};
struct loss_dice_terms loss_dice_terms_of(const struct node *node);

/* The volumes of class k that sample n has its part in. */
static inline HOST_DEVICE void loss_dice_volumes(const struct loss_dice_terms *terms,
                                                 const double *sums, int n, int k,
                                                 double volumes[DICE_SUMS]) {
  int rows = terms->given ? 1 : terms->samples;
  int from = terms->batch ? 0 : n, to = terms->batch ? rows : n + 1;
  for (int s = 0; s < DICE_SUMS; s++) {
    volumes[s] = 0;
    for (int i = from; i < to; i++)
      volumes[s] += sums[((int64_t)i * terms->classes + k) * DICE_SUMS + s];
  }
}

/* How many calls the batch is computed in. */
static inline HOST_DEVICE double loss_dice_calls(const struct loss_dice_terms *terms,
                                                 const double *sums) {
  return terms->given ? sums[terms->classes * DICE_SUMS] : 1;
}

/* What class k of sample n adds to the loss; of a batch, sample 0 stands for all. */
static inline HOST_DEVICE double loss_dice_part(const struct loss_dice_terms *terms,
                                                const double *sums, int n, int k) {
  double volumes[DICE_SUMS];
  if (k < terms->first || (terms->batch && n > 0)) return 0;
  loss_dice_volumes(terms, sums, n, k, volumes);
  return dice_class_loss(volumes, terms->smooth_numerator, terms->smooth_denominator) /
         terms->count;
}

/* The slopes of the loss by I and by P, times dy. */
struct loss_dice_slopes {
  float overlap, volume;
};
static inline HOST_DEVICE struct loss_dice_slopes loss_dice_slopes_of(
    const struct loss_dice_terms *terms, const double *sums, double dy, int n, int k) {
  struct loss_dice_slopes slopes = {0, 0};
  double volumes[DICE_SUMS];
  if (k < terms->first) return slopes;
  loss_dice_volumes(terms, sums, n, k, volumes);
  double scale = dy / terms->count * loss_dice_calls(terms, sums);
  slopes.overlap = (float)(scale * dice_overlap_slope(volumes, terms->smooth_denominator));
  slopes.volume = (float)(scale * dice_volume_slope(volumes, terms->smooth_numerator,
                                                    terms->smooth_denominator));
  return slopes;
}

/* saved[0] of a given batch, on the CPU. */
static inline void loss_dice_take(const struct node *node, const struct io *io) {
  int first = loss_dice_arguments_of(node)->sum, own = node->x[0].shape.c * DICE_SUMS;
  double *sums = (double *)io->saved[0];
  for (int s = 0; s < own; s++) sums[s] = batch_sums_read(node, io, first + s);
  sums[own] = batch_sums_read(node, io, batch_sums_calls(node));
}

/* What dice_volumes makes of the sums [n K DICE_SUMS] of all samples, on the CPU. */
static inline void loss_dice_give(const struct node *node, const struct io *io,
                                  const double *sums) {
  int own = node->x[0].shape.c * DICE_SUMS;
  for (int s = 0; s < tensor_stored_channels(&node->y); s++) {
    double sum = 0;
    for (int n = 0; n < node->x[0].shape.n && s < own; n++) sum += sums[n * own + s];
    if (node->y.dtype == DTYPE_F64)
      ((double *)io->y)[s] = sum;
    else
      ((float *)io->y)[s] = (float)sum;
  }
}

#ifdef __cplusplus
}
#endif
