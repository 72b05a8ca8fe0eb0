/* The Dice loss from the classes' volumes. */
#include "kernels/loss_dice_warp/dice.h"
#include <string.h>

static const struct loss_dice_warp_arguments *arguments_of(const struct node *node) {
  return (const void *)node->arguments;
}

int dice_first_class(const struct node *node) {
  return arguments_of(node)->include_background ? 0 : 1;
}

double dice_terms(const struct node *node) {
  return (double)node->x[0].shape.n * (arguments_of(node)->classes - dice_first_class(node));
}

double dice_loss(const struct node *node, const double *sums) {
  const struct loss_dice_warp_arguments *arguments = arguments_of(node);
  double total = 0;
  for (int n = 0; n < node->x[0].shape.n; n++)
    for (int k = dice_first_class(node); k < arguments->classes; k++)
      total += dice_class_loss(sums + ((int64_t)n * arguments->classes + k) * DICE_SUMS,
                               arguments->smooth_numerator, arguments->smooth_denominator);
  return total / dice_terms(node);
}

void dice_slopes(const struct node *node, const double *sums, double dy,
                 struct dice_slopes *slopes) {
  const struct loss_dice_warp_arguments *arguments = arguments_of(node);
  double scale = dy / dice_terms(node);
  memset(slopes, 0, sizeof *slopes);
  for (int k = dice_first_class(node); k < arguments->classes; k++) {
    const double *s = sums + k * DICE_SUMS;
    double by_volume =
        dice_volume_slope(s, arguments->smooth_numerator, arguments->smooth_denominator);
    slopes->of[0][k] = scale * by_volume;
    slopes->of[1][k] = scale * (by_volume + dice_overlap_slope(s, arguments->smooth_denominator));
  }
}
