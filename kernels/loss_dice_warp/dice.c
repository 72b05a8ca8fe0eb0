/* The Dice loss from the classes' volumes. */
#include "kernels/loss_dice_warp/dice.h"
#include <string.h>

static const struct loss_dice_warp_arguments *arguments_of(const struct node *node) {
  return (const void *)node->arguments;
}

static int first_class(const struct node *node) {
  return arguments_of(node)->include_background ? 0 : 1;
}

static double terms(const struct node *node) {
  return (double)node->x[0].shape.n * (arguments_of(node)->classes - first_class(node));
}

double dice_loss(const struct node *node, const double *sums) {
  const struct loss_dice_warp_arguments *arguments = arguments_of(node);
  double total = 0;
  for (int n = 0; n < node->x[0].shape.n; n++)
    for (int k = first_class(node); k < arguments->classes; k++) {
      const double *s = sums + ((int64_t)n * arguments->classes + k) * DICE_SUMS;
      total += 1 - (2 * s[DICE_OVERLAP] + arguments->smooth_numerator) /
                       (s[DICE_WARPED] + s[DICE_FIXED] + arguments->smooth_denominator);
    }
  return total / terms(node);
}

void dice_slopes(const struct node *node, const double *sums, double dy,
                 struct dice_slopes *slopes) {
  const struct loss_dice_warp_arguments *arguments = arguments_of(node);
  memset(slopes, 0, sizeof *slopes);
  for (int k = first_class(node); k < arguments->classes; k++) {
    const double *s = sums + k * DICE_SUMS;
    double below = s[DICE_WARPED] + s[DICE_FIXED] + arguments->smooth_denominator;
    double by_volume = (2 * s[DICE_OVERLAP] + arguments->smooth_numerator) / (below * below);
    slopes->of[0][k] = dy / terms(node) * by_volume;
    slopes->of[1][k] = dy / terms(node) * (by_volume - 2 / below);
  }
}
