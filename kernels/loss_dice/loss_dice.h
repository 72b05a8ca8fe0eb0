/* The Dice loss of probabilities. With I the sum of p g, P that of p (squared: of p^2) and G that
 * of the truth g over the voxels of a sample, or of all samples of the call (batch), it is the mean
 * of 1 - (2 I + smooth_numerator) / (P + G + smooth_denominator) over samples (batch: one) and
 * classes: MONAI's DiceLoss (monai/losses/dice.py), whose defaults are 1e-5 for both and the
 * background included. nnU-Net's soft Dice is this loss less 1 with `batch` as configured, no
 * background and smooth_numerator = smooth_denominator = its smooth; it goes to -1 where this goes
 * to 0. Softmax: labels as loss_ce takes them, finer ones, too; what is left out there is left out
 * of all three sums. Sigmoid: bits as loss_bce takes them. */
#pragma once
#include "kernels/common/bits.h"
#include "kernels/common/dice.h"
#include "kernels/common/logits.h"

enum loss_dice_activation { LOSS_DICE_SOFTMAX, LOSS_DICE_SIGMOID };

struct loss_dice_arguments {
  enum loss_dice_activation activation;
  bool include_background; /* class 0 */
  bool batch, squared;
  double smooth_numerator, smooth_denominator;
};

#ifdef __cplusplus
extern "C" {
#endif

static inline const struct loss_dice_arguments *loss_dice_arguments_of(const struct node *node) {
  return (const struct loss_dice_arguments *)(const void *)node->arguments;
}

enum { LOSS_DICE_MOST_CLASSES = 2048 };

/* How the loss follows from the sums. saved[0] is [n K DICE_SUMS], float64. */
struct loss_dice_terms {
  int first, classes, samples; /* first: the first class that counts */
  bool batch, squared;
  double smooth_numerator, smooth_denominator, count; /* count: of what the mean is taken */
};
struct loss_dice_terms loss_dice_terms_of(const struct node *node);

/* The volumes of class k that sample n has its part in. */
static inline HOST_DEVICE void loss_dice_volumes(const struct loss_dice_terms *terms,
                                                 const double *sums, int n, int k,
                                                 double volumes[DICE_SUMS]) {
  int from = terms->batch ? 0 : n, to = terms->batch ? terms->samples : n + 1;
  for (int s = 0; s < DICE_SUMS; s++) {
    volumes[s] = 0;
    for (int i = from; i < to; i++)
      volumes[s] += sums[((int64_t)i * terms->classes + k) * DICE_SUMS + s];
  }
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
  slopes.overlap =
      (float)(dy / terms->count * dice_overlap_slope(volumes, terms->smooth_denominator));
  slopes.volume =
      (float)(dy / terms->count *
              dice_volume_slope(volumes, terms->smooth_numerator, terms->smooth_denominator));
  return slopes;
}

#ifdef __cplusplus
}
#endif
