/* norm against its reference: of every kind, with and without parameters and activation, at sizes
 * that fill no block; residuals; running statistics; values far from zero; what it refuses. */
#include "conformance.h"
#include "kernels/norm/norm.h"

extern const struct op op_norm;

/* With two inputs the second is a residual. */
#define NORM(text, arguments_, count, fill_, ...)                                         \
  {                                                                                       \
    .label = text, .op = &op_norm, .input_count = count, .x = {__VA_ARGS__, __VA_ARGS__}, \
    .arguments = &(const struct norm_arguments)arguments_,                                \
    .argument_bytes = sizeof(struct norm_arguments), .fill = fill_, .tolerance = 4e-6     \
  }
#define SET(...) \
  { __VA_ARGS__ }

#define BATCH(affine, slope) SET(NORM_BATCH, 0, affine, 1e-5, slope, false)
#define RUNNING(affine, slope) SET(NORM_BATCH, 0, affine, 1e-5, slope, true)
#define GROUP(groups, affine, slope) SET(NORM_GROUP, groups, affine, 1e-5, slope, false)
#define INSTANCE(affine, slope) SET(NORM_INSTANCE, 0, affine, 1e-5, slope, false)

/* Activations only where few elements make it unlikely that differences step over the kink. */
static const struct op_case cases[] = {
    NORM("instance", INSTANCE(true, 1), 1, NULL, {2, 16, 3, 5, 7}),
    NORM("instance, planar, leaky", INSTANCE(true, 0.1F), 1, NULL, {2, 3, 3, 5, 7}),
    NORM("instance, no parameters", INSTANCE(false, 1), 1, NULL, {1, 21, 2, 5, 3}),
    NORM("instance, several chunks", INSTANCE(true, 1), 1, NULL, {1, 17, 1, 19, 29}),
    NORM("instance, planar, several chunks", INSTANCE(true, 0), 1, NULL, {1, 1, 9, 33, 31}),
    NORM("instance, several ranges", INSTANCE(true, 1), 1, NULL, {1, 16, 5, 19, 29}),
    NORM("instance, residual", INSTANCE(true, 0), 2, NULL, {2, 16, 2, 3, 5}),
    NORM("instance, planar, residual", INSTANCE(false, 0.2F), 2, NULL, {2, 3, 3, 5, 3}),
    NORM("group", GROUP(2, true, 0), 1, NULL, {2, 18, 3, 2, 5}),
    NORM("group, all channels", GROUP(1, true, 0.2F), 1, NULL, {2, 40, 1, 3, 4}),
    NORM("group, planar", GROUP(2, true, 1), 1, NULL, {3, 4, 2, 3, 7}),
    NORM("group, residual", GROUP(3, true, 0.1F), 2, NULL, {2, 21, 1, 3, 5}),
    NORM("batch", BATCH(true, 0), 1, NULL, {3, 24, 3, 2, 4}),
    NORM("batch, planar", BATCH(true, 0.2F), 1, NULL, {3, 2, 3, 5, 4}),
    NORM("batch, one voxel", BATCH(true, 1), 1, NULL, {5, 17, 1, 1, 1}),
    NORM("batch, no parameters", BATCH(false, 1), 1, NULL, {2, 33, 1, 4, 3}),
    NORM("batch, residual", BATCH(true, 0), 2, NULL, {2, 19, 2, 2, 3}),
    NORM("batch, residual, no activation", BATCH(false, 1), 2, NULL, {2, 8, 1, 2, 3}),
    NORM("running", RUNNING(true, 0), 1, NULL, {2, 21, 2, 3, 4}),
    NORM("running, planar, no parameters", RUNNING(false, 0.2F), 1, NULL, {2, 2, 2, 3, 7}),
    NORM("running, residual", RUNNING(true, 0.1F), 2, NULL, {1, 24, 2, 1, 3}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* Channel c is around 300 (c + 1) with a deviation of 1: no kernel may lose the deviation. */
static void fill_far(int input, const struct shape *shape, double *values) {
  int64_t voxels = shape_voxels(*shape);
  for (int64_t i = 0; input == 0 && i < logical_count(shape); i++)
    values[i] = 300 * (double)(i / voxels % shape->c + 1) + 2 * values[i];
}

TEST(deviations_far_from_zero_are_found) {
  struct op_case test = NORM("far from zero", INSTANCE(true, 1), 1, fill_far, {1, 5, 3, 17, 23});
  struct trial trial;
  CHECK(trial_open(&trial, &test, 0));
  struct attempt attempt = reference_attempt(&trial, false);
  struct outcome reference = attempt_run(&trial, &attempt);
  for (int k = 0; op_norm.kernels[k]; k++) {
    attempt = (struct attempt){.kernel = op_norm.kernels[k], .threads = 1, .only = -1};
    if (op_norm.kernels[k]->dtype != DTYPE_F32 || !attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    double error = 0;
    for (int64_t i = 0; i < trial.y_count; i++)
      error = fmax(error, fabs(outcome.y[i] - reference.y[i]));
    CHECK_SAY(error < 1e-3, " (%s: %g)", op_norm.kernels[k]->name, error);
    outcome_free(&outcome);
  }
  outcome_free(&reference);
  trial_close(&trial);
}

/* What PyTorch averages: the mean and the unbiased variance, also where the variance is 0. */
static void fill_four(int input, const struct shape *shape, double *values) {
  static const double four[] = {0, 2, 4, 6};
  for (int64_t i = 0; input == 0 && i < logical_count(shape); i++)
    values[i] = i / 2 % 2 ? -1 : four[i / 4 * 2 + i % 2];
}

TEST(slots_measure_what_pytorch_averages) {
  struct op_case test = NORM("statistics", BATCH(true, 1), 1, fill_four, {2, 2, 1, 1, 2});
  struct trial trial;
  CHECK(trial_open(&trial, &test, 0));
  struct attempt attempt = reference_attempt(&trial, true);
  struct outcome outcome = attempt_run(&trial, &attempt);
  const double *mean = outcome.gradient[OP_MAX_INPUTS + NORM_RUNNING_MEAN];
  const double *variance = outcome.gradient[OP_MAX_INPUTS + NORM_RUNNING_VARIANCE];
  CHECK_NEAR(mean[0], 3, 1e-12);
  CHECK_NEAR(mean[1], -1, 1e-12);
  CHECK_NEAR(variance[0], 20.0 / 3, 1e-9);
  CHECK_NEAR(variance[1], 0, 1e-12);
  outcome_free(&outcome);
  trial_close(&trial);
}

TEST(parameters_are_called_as_in_pytorch) {
  struct op_case test = NORM("names", BATCH(true, 1), 1, NULL, {2, 5, 1, 1, 2});
  struct node node;
  CHECK_OK(conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, &node));
  static const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
  CHECK(node.parameter_count == 4);
  for (int i = 0; i < 4; i++) {
    CHECK(!strcmp(node.parameter[i].suffix, names[i]) && node.parameter[i].statistic == (i > 1));
    CHECK(node.parameter[i].scale == (i % 3 == 0) && node.parameter[i].extent[0] == 5);
  }
}

static void check_refusal(struct norm_arguments arguments, int inputs, struct shape x,
                          struct shape residual, const char *part) {
  struct op_case bad = {.label = "bad",
                        .op = &op_norm,
                        .input_count = inputs,
                        .x = {x, residual},
                        .arguments = &arguments,
                        .argument_bytes = sizeof arguments};
  struct node node;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), part);
}

TEST(refuses_what_cannot_be_normalised) {
  const struct shape x = {1, 6, 2, 2, 2}, voxel = {1, 6, 1, 1, 1};
  check_refusal((struct norm_arguments)GROUP(4, true, 1), 1, x, x, "divides 6 channels, found 4");
  check_refusal((struct norm_arguments)GROUP(0, true, 1), 1, x, x, "divides 6 channels, found 0");
  check_refusal((struct norm_arguments)INSTANCE(true, 1), 1, voxel, x, "more than 1 value");
  check_refusal((struct norm_arguments)BATCH(true, -1), 1, x, x, "a slope of at least 0");
  check_refusal((struct norm_arguments){NORM_BATCH, 0, true, 0, 1, false}, 1, x, x,
                "an epsilon above 0");
  check_refusal((struct norm_arguments){NORM_INSTANCE, 0, true, 1e-5, 1, true}, 1, x, x,
                "only a batch norm has running");
  check_refusal((struct norm_arguments)BATCH(true, 1), 2, x, voxel, "the residual differs");
  check_refusal((struct norm_arguments)BATCH(true, 1), 3, x, x, "found 3 inputs");
}

int main(void) {
  RUN(kernels_agree);
  RUN(deviations_far_from_zero_are_found);
  RUN(slots_measure_what_pytorch_averages);
  RUN(parameters_are_called_as_in_pytorch);
  RUN(refuses_what_cannot_be_normalised);
  return check_result();
}
