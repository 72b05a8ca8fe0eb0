/* Losses of inputs given by formula, against the numbers that tests/golden/loss_values.py prints.
 */
#pragma once
#include "conformance.h"

static void loss_wave(int input, const struct shape *shape, double *values, double low,
                      double high) {
  for (int64_t i = 0; i < logical_count(shape); i++) {
    double at = (double)i, turn = sin(0.37 * at + 0.002 * at * at + input);
    values[i] = low + (high - low) * (0.5 + 0.5 * turn);
  }
}

/* Runs the float64 reference; expects y, and for each input with a gradient the sum of gradient
 * times cos(0.23 i). */
static inline void check_loss(const struct op_case *test, double y,
                              const double slopes[OP_MAX_INPUTS]) {
  struct trial trial;
  if (!trial_open(&trial, test, 0)) return;
  struct attempt attempt = reference_attempt(&trial, true);
  struct outcome outcome = attempt_run(&trial, &attempt);
  CHECK_SAY(fabs(outcome.y[0] - y) <= 1e-12 * fabs(y), " (%s: %.17g, expected %.17g)", test->label,
            outcome.y[0], y);
  for (int i = 0; i < OP_MAX_INPUTS; i++) {
    double sum = 0;
    if (!outcome.gradient[i]) continue;
    for (int64_t k = 0; k < trial.count[i]; k++)
      sum += outcome.gradient[i][k] * cos(0.23 * (double)k) / trial.dy[0];
    CHECK_SAY(fabs(sum - slopes[i]) <= 1e-10 * fabs(slopes[i]),
              " (%s: slope by input %d: %.17g, expected %.17g)", test->label, i, sum, slopes[i]);
  }
  outcome_free(&outcome);
  trial_close(&trial);
}
