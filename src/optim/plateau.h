/* Lowering the learning rate when validation stops getting better: torch.optim.lr_scheduler's
 * ReduceLROnPlateau with relative threshold and no cooldown. Its state is a function of the scores
 * alone, and belongs in a checkpoint. */
#pragma once
#include <stdint.h>
#include "base/status.h"

struct plateau_options {
  double rate;      /* the learning rate at first */
  double factor;    /* by which it is lowered: above 0, below 1 */
  double threshold; /* relative: how much better than the best a score must be to count */
  double minimum;   /* the rate never goes below */
  int64_t patience; /* so many scores in a row that are not better are forgiven */
};

struct plateau {
  double rate;
  double best;        /* -infinity before the first score */
  int64_t not_better; /* scores in a row */
};

/* STATUS_USAGE for options out of range. */
CHECKED enum status plateau_start(struct plateau *plateau, const struct plateau_options *options);

/* Takes the next score, where higher is better; of an error take its negative. NaN is not better. A
 * change of the rate by 1e-8 or less is left out, as PyTorch does. */
void plateau_judge(struct plateau *plateau, const struct plateau_options *options, double score);
