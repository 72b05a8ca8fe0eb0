/* What follows from the volumes of the classes: the loss, and its slopes by overlap and volume.
 * saved[0] holds the DICE_SUMS sums per sample and class, [n classes 3], float64. */
#pragma once
#include "kernels/common/dice.h"
#include "kernels/loss_dice_warp/loss_dice_warp.h"

enum {
  DICE_LABELS = 256,
  DICE_OUTSIDE = 256, /* the label of a corner outside the volume */
  DICE_TABLE = 257,
};

/* What a warped voxel of a label adds to the loss: by whether the fixed label is the same. Zero for
 * labels of no class. */
struct dice_slopes {
  double of[2][DICE_TABLE];
};

/* The first class that counts, and how many terms the mean is taken of. */
int dice_first_class(const struct node *node);
double dice_terms(const struct node *node);

double dice_loss(const struct node *node, const double *sums);
/* `sums` of one sample; the slopes are times dy. */
void dice_slopes(const struct node *node, const double *sums, double dy,
                 struct dice_slopes *slopes);
