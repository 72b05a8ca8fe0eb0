/* The learning rate by validation. */
#include "optim/plateau.h"
#include <math.h>
#include <stdbool.h>

static const double smallest_change = 1e-8; /* PyTorch's eps */

enum status plateau_start(struct plateau *plateau, const struct plateau_options *options) {
  REQUIRE(options->factor > 0 && options->factor < 1, STATUS_USAGE,
          "schedule plateau: expected a factor between 0 and 1, found %g", options->factor);
  REQUIRE(options->patience >= 0 && options->threshold >= 0, STATUS_USAGE,
          "schedule plateau: expected patience and threshold of at least 0, found %lld and %g",
          (long long)options->patience, options->threshold);
  *plateau = (struct plateau){.rate = options->rate, .best = -INFINITY};
  return STATUS_OK;
}

/* Of scores below 0 PyTorch's mode "min" on their negatives, of others its mode "max". */
static bool is_better(const struct plateau *plateau, double threshold, double score) {
  if (isinf(plateau->best)) return score > plateau->best;
  return score > plateau->best + threshold * fabs(plateau->best);
}

void plateau_judge(struct plateau *plateau, const struct plateau_options *options, double score) {
  bool better = is_better(plateau, options->threshold, score);
  plateau->not_better = better ? 0 : plateau->not_better + 1;
  if (better) plateau->best = score;
  if (plateau->not_better <= options->patience) return;
  plateau->not_better = 0;
  double lowered = fmax(plateau->rate * options->factor, options->minimum);
  if (plateau->rate - lowered > smallest_change) plateau->rate = lowered;
}
