/* The learning rate by validation against PyTorch's ReduceLROnPlateau
 * (tests/golden/optim_values.py). */
#include "check.h"
#include "optim/plateau.h"

static const struct plateau_options options = {
    .rate = 0.5, .factor = 0.3, .threshold = 1e-4, .minimum = 0.02, .patience = 1};

static void check_rates(const double *scores, const double *rates, int count, double best) {
  struct plateau plateau;
  CHECK_OK(plateau_start(&plateau, &options));
  for (int i = 0; i < count; i++) {
    plateau_judge(&plateau, &options, scores[i]);
    CHECK_NEAR(plateau.rate, rates[i], 1e-15);
  }
  CHECK(plateau.best == best);
}

TEST(scores_above_0_are_judged_as_pytorchs_mode_max) {
  static const double scores[] = {0.5, 0.50004, 0.5001, 0.50006, 0.7, 0.6, NAN, 0.1,
                                  0.1, 0.1,     0.1,    0.1,     0.1, 0.8, 0.8, 0.8};
  static const double rates[] = {0.5,   0.5,   0.5,  0.5,  0.5,  0.5,  0.15, 0.15,
                                 0.045, 0.045, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02};
  check_rates(scores, rates, 16, 0.8);
}

TEST(negated_errors_are_judged_as_pytorchs_mode_min) {
  static const double scores[] = {-10, -9.9995, -9.998, -9.997, -9.9971, -9.9972, -9.9973, -8};
  static const double rates[] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.15, 0.15, 0.15};
  check_rates(scores, rates, 8, -8);
}

TEST(a_score_that_never_exists_lowers_the_rate) {
  struct plateau plateau;
  CHECK_OK(plateau_start(&plateau, &options));
  for (int i = 0; i < 2; i++) plateau_judge(&plateau, &options, NAN);
  CHECK_NEAR(plateau.rate, 0.15, 1e-15);
  CHECK(isinf(plateau.best) && plateau.not_better == 0);
}

TEST(wrong_options_are_refused) {
  struct plateau plateau;
  struct plateau_options wrong = options;
  wrong.factor = 1;
  CHECK_FAILS(plateau_start(&plateau, &wrong), "a factor between 0 and 1, found 1");
  wrong = options;
  wrong.patience = -1;
  CHECK_FAILS(plateau_start(&plateau, &wrong), "at least 0, found -1");
}

int main(void) {
  RUN(scores_above_0_are_judged_as_pytorchs_mode_max);
  RUN(negated_errors_are_judged_as_pytorchs_mode_min);
  RUN(a_score_that_never_exists_lowers_the_rate);
  RUN(wrong_options_are_refused);
  return check_result();
}
