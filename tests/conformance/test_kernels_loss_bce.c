/* loss_bce: kernels against each other for numbers of classes that fill bytes and blocks and that
 * do not, logits far from 0, and what it refuses. */
#include "conformance.h"
#include "kernels/loss_bce/loss_bce.h"

extern const struct op op_loss_bce;

static const struct loss_bce_arguments plain = {0}, weighted = {.positive_weight = 3.5},
                                       focal = {.gamma = 2},
                                       both = {.gamma = 0.5, .positive_weight = 0.25};

#define BCE(text, arguments_, ...)                                                 \
  {                                                                                \
    .label = text, .op = &op_loss_bce, .input_count = 2, .x = {__VA_ARGS__},       \
    .x_dtype = {[1] = DTYPE_U8}, .arguments = &(arguments_),                       \
    .argument_bytes = sizeof(struct loss_bce_arguments), .low = {-4, 0}, .high = { \
      4,                                                                           \
      255                                                                          \
    }                                                                              \
  }

static const struct op_case cases[] = {
    BCE("1 class", plain, {2, 1, 3, 4, 7}, {2, 1, 3, 4, 7}),
    BCE("3 classes, planar", weighted, {2, 3, 2, 3, 5}, {2, 1, 2, 3, 5}),
    BCE("8 classes", focal, {1, 8, 2, 3, 5}, {1, 1, 2, 3, 5}),
    BCE("16 classes", plain, {1, 16, 1, 5, 7}, {1, 2, 1, 5, 7}),
    BCE("21 classes", both, {2, 21, 1, 3, 5}, {2, 3, 1, 3, 5}),
    BCE("117 classes", plain, {1, 117, 1, 2, 5}, {1, 15, 1, 2, 5}),
    BCE("several blocks", weighted, {1, 4, 5, 17, 131}, {1, 1, 5, 17, 131}),
    BCE("several blocks of 16", plain, {1, 8, 3, 19, 21}, {1, 1, 3, 19, 21}),
    BCE("16 classes, several pieces", plain, {1, 16, 1, 17, 19}, {1, 2, 1, 17, 19}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* log(1 + e^-|z|) where e^-|z| is lost beside 1, and where it is 0: neither overflow nor loss. */
TEST(is_exact_far_from_0) {
  struct op_case test = BCE("far", plain, {1, 4, 1, 1, 1}, {1, 1, 1, 1, 1});
  double logits[] = {8, -30, 80, -500}, bits[] = {0x9}, dy[] = {4}; /* there, not, not, there */
  const struct trial trial = {
      .test = &test, .value = {logits, bits}, .count = {4, 1}, .dy = dy, .y_count = 1};
  double expected = (log1p(exp(-8.0)) + exp(-30.0) + 80 + 500) / 4;
  for (int k = 0; op_loss_bce.kernels[k]; k++) {
    struct attempt attempt = {
        .kernel = op_loss_bce.kernels[k], .threads = 1, .backward = true, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    const double *slope = outcome.gradient[0];
    CHECK(fabs(outcome.y[0] - expected) < 1e-6 * expected);
    CHECK(fabs(slope[0] + 1 / (1 + exp(8.0))) < 0.01 * exp(-8.0));
    CHECK(slope[2] == 1 && slope[3] == -1);
    outcome_free(&outcome);
  }
}

/* Losses that are tiny beside 1 are summed as what they are. */
TEST(keeps_small_losses) {
  struct op_case test = BCE("small", plain, {1, 1, 1, 1, 4}, {1, 1, 1, 1, 4});
  double logits[] = {-18, -18, 18, -18}, bits[] = {0, 0, 1, 0}, dy[] = {1};
  const struct trial trial = {
      .test = &test, .value = {logits, bits}, .count = {4, 4}, .dy = dy, .y_count = 1};
  for (int k = 0; op_loss_bce.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_loss_bce.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    CHECK_SAY(fabs(outcome.y[0] / log1p(exp(-18.0)) - 1) < 1e-5, " (%s: %g)", attempt.kernel->name,
              outcome.y[0]);
    outcome_free(&outcome);
  }
}

/* The product of many factors of 2 is no infinity. */
TEST(sums_many_logits_of_0) {
  enum { COUNT = 20000 };
  static double logits[COUNT], bits[COUNT], dy[] = {1};
  struct op_case test = BCE("zeros", plain, {1, 1, 1, 100, 200}, {1, 1, 1, 100, 200});
  const struct trial trial = {
      .test = &test, .value = {logits, bits}, .count = {COUNT, COUNT}, .dy = dy, .y_count = 1};
  for (int k = 0; op_loss_bce.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_loss_bce.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    CHECK(fabs(outcome.y[0] - log(2)) < 1e-6);
    outcome_free(&outcome);
  }
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  struct op_case bad = BCE("bad", plain, {1, 9, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected bits of 1x2x2x2x3, a byte for 8 of 9 classes, found 1x1x2x2x3");
  struct loss_bce_arguments arguments = {.gamma = -1};
  bad = (struct op_case)BCE("bad", arguments, {1, 8, 2, 2, 3}, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "must not be negative, are -1 and 0");
}

int main(void) {
  RUN(kernels_agree);
  RUN(is_exact_far_from_0);
  RUN(keeps_small_losses);
  RUN(sums_many_logits_of_0);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
