/* Learning rates against PyTorch's schedulers (tests/golden/optim_values.py), the warm-up, and what
 * is refused. */
#include "check.h"
#include "optim/schedule.h"

enum { STEPS = 8 };

static const double cosine[STEPS + 1] = {
    0.5, 0.484775906502257, 0.441421356237309, 0.376536686473018,
    0.3, 0.223463313526982, 0.158578643762691, 0.115224093497743,
    0.1};
static const double poly[STEPS + 1] = {0.5,
                                       0.443381177128604,
                                       0.385944753361785,
                                       0.327538246709049,
                                       0.267943365634073,
                                       0.206822672329138,
                                       0.143587294374629,
                                       0.0769465258340573,
                                       0};

static void check_curve(const char *kind, const double *expected, int64_t warmup) {
  struct schedule schedule;
  struct schedule_options options = {.kind = kind,
                                     .rate = 0.5,
                                     .minimum = 0.1,
                                     .power = 0.9,
                                     .steps = STEPS + warmup,
                                     .warmup = warmup};
  CHECK_OK(schedule_make(&schedule, &options));
  for (int64_t s = 0; s < warmup; s++)
    CHECK_NEAR(schedule_rate(&schedule, s), 0.5 * (double)(s + 1) / (double)warmup, 1e-15);
  for (int s = 0; s <= STEPS; s++)
    CHECK_NEAR(schedule_rate(&schedule, s + warmup), expected[s], 1e-14);
  CHECK_NEAR(schedule_rate(&schedule, 100), expected[STEPS], 1e-14);
}

TEST(curves_are_those_of_pytorch) {
  check_curve("cosine", cosine, 0);
  check_curve("poly", poly, 0);
}

TEST(a_warm_up_comes_before_the_curve) {
  static const double constant[STEPS + 1] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
  check_curve("cosine", cosine, 5);
  check_curve("poly", poly, 3);
  check_curve("constant", constant, 4);
  check_curve("constant", constant, 0);
}

TEST(wrong_options_are_refused) {
  struct schedule schedule;
  struct schedule_options options = {.kind = "cosin", .rate = 1, .steps = 10};
  CHECK_FAILS(schedule_make(&schedule, &options), "did you mean \"cosine\"");
  options.kind = "cosine";
  options.warmup = 10;
  CHECK_FAILS(schedule_make(&schedule, &options), "0 to 9 steps (the run has 10), found 10");
  options.steps = 0;
  CHECK_FAILS(schedule_make(&schedule, &options), "at least 1 step, found 0");
}

int main(void) {
  RUN(curves_are_those_of_pytorch);
  RUN(a_warm_up_comes_before_the_curve);
  RUN(wrong_options_are_refused);
  return check_result();
}
