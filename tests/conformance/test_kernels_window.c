/* window against its reference, the ends of windows, and what is refused. */
#include "conformance.h"
#include "kernels/window/window.h"

static const struct window_arguments one = {1, {-0.5F}, {0.75F}, 0, 1};
static const struct window_arguments three = {
    3, {-160, -1000, -100}, {240, 400, 1000}, -1, 1}; /* abdomen, lung, bone */
static const struct window_arguments six = {
    6, {-1, -0.5F, 0, 0.2F, -3, -1e6F}, {1, 0.5F, 1, 0.3F, 3, 1e6F}, 2, -3};
static const struct window_arguments all = {
    16,
    {-16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1},
    {16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1},
    0,
    255};

#define CASE(text, which, limit, ...)                                            \
  {                                                                              \
    .label = text, .op = &op_window, .input_count = 1, .no_gradient = {true},    \
    .x = {{__VA_ARGS__}}, .low = {-limit}, .high = {limit}, .arguments = &which, \
    .argument_bytes = sizeof which, .tolerance = 1e-6                            \
  }

static const struct op_case cases[] = {
    CASE("one window", one, 1, 2, 1, 3, 5, 7),
    CASE("three windows of computed tomography", three, 1500, 2, 1, 5, 3, 9),
    CASE("six windows, upside down", six, 2, 1, 1, 3, 7, 5),
    CASE("all windows, more than one piece", all, 20, 2, 1, 5, 29, 31),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* What each kernel gives at chosen values: below, both ends, the middle, above, no number. */
TEST(ends_and_what_is_no_number) {
  static const struct op_case test = CASE("ends", three, 1, 1, 1, 1, 1, 6);
  static const double share[18] = {0,
                                   0,
                                   0.5,
                                   1,
                                   1,
                                   0, /* abdomen */
                                   839 / 1400.0,
                                   840 / 1400.0,
                                   1040 / 1400.0,
                                   1240 / 1400.0,
                                   1,
                                   0,
                                   0,
                                   0,
                                   140 / 1100.0,
                                   340 / 1100.0,
                                   1,
                                   0};
  double x[6] = {-161, -160, 40, 240, INFINITY, NAN};
  const struct trial trial = {.test = &test, .value = {x}, .y_count = 18};
  for (int i = 0; op_window.kernels[i]; i++) {
    struct attempt attempt = {.kernel = op_window.kernels[i], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    for (int k = 0; k < 18; k++)
      CHECK_SAY(fabs(outcome.y[k] - (2 * share[k] - 1)) < 1e-6, " (%s, %d: %g)",
                attempt.kernel->name, k, outcome.y[k]);
    outcome_free(&outcome);
  }
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  struct window_arguments arguments = one;
  bad.no_gradient[0] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x[0].c = 2;
  conformance_refuses(&bad, "expected an image of 1 channel, found 2");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "found uint8");
  bad = cases[0];
  bad.arguments = &arguments;
  arguments.count = 17;
  conformance_refuses(&bad, "expected 1 to 16 windows, found 17");
  arguments = one;
  arguments.high[0] = arguments.low[0];
  conformance_refuses(&bad, "found -0.5 and -0.5 for window 0");
  arguments = one;
  arguments.to = INFINITY;
  conformance_refuses(&bad, "expected finite results");
}

int main(void) {
  RUN(kernels_agree);
  RUN(ends_and_what_is_no_number);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
