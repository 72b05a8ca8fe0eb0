/* dropout against its reference; how much it drops, and what that depends on; what is refused. */
#include "conformance.h"
#include "kernels/dropout/dropout.h"

extern const struct op op_dropout;

static void fill(int input, const struct shape *shape, double *values) {
  for (int n = 0; input == 1 && n < shape->n; n++) {
    values[n * DROPOUT_KEY] = 1237 + n; /* float16 holds them */
    values[n * DROPOUT_KEY + 1] = 61440 - 32 * n;
  }
}

static const struct dropout_arguments half = {0.5F, 3}, few = {0.1F, 4000000000U}, none = {0, 1};

#define CASE(text, which, n, ...)                                                     \
  {                                                                                   \
    .label = text, .op = &op_dropout, .input_count = 2, .linear = true, .fill = fill, \
    .no_gradient = {false, true}, .x = {{n, __VA_ARGS__}, {n, DROPOUT_KEY, 1, 1, 1}}, \
    .arguments = &which, .argument_bytes = sizeof which                               \
  }

static const struct op_case cases[] = {
    CASE("3 channels", half, 2, 3, 3, 5, 7),
    CASE("more than one piece", few, 1, 2, 5, 9, 13),
    CASE("blocked with padding", half, 2, 21, 3, 4, 7),
    CASE("whole blocks", few, 2, 32, 3, 5, 7),
    CASE("groups of 4", half, 1, 12, 5, 3, 4),
    CASE("nothing is dropped", none, 1, 17, 2, 3, 5),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* Of ones, under the first kernel that this machine runs: which are dropped. */
enum { CHANNELS = 20, VOXELS = 10 * 20 * 30, COUNT = CHANNELS * VOXELS };
static struct outcome drop(float probability, unsigned number, double key) {
  const struct dropout_arguments arguments = {probability, number};
  const struct op_case test = {.label = "ones",
                               .op = &op_dropout,
                               .input_count = 2,
                               .x = {{1, CHANNELS, 10, 20, 30}, {1, DROPOUT_KEY, 1, 1, 1}},
                               .no_gradient = {true, true},
                               .arguments = &arguments,
                               .argument_bytes = sizeof arguments};
  double *ones = conformance_doubles(COUNT), keys[DROPOUT_KEY] = {key, 16777215};
  for (int i = 0; i < COUNT; i++) ones[i] = 1;
  const struct trial trial = {.test = &test, .value = {ones, keys}, .y_count = COUNT};
  struct attempt attempt = {.kernel = op_dropout.kernels[0], .threads = 1, .only = -1};
  for (int k = 0; !attempt_fits(&test, &attempt); k++) attempt.kernel = op_dropout.kernels[k + 1];
  struct outcome outcome = attempt_run(&trial, &attempt);
  free(ones);
  return outcome;
}

/* How often two outcomes keep together, less what chance gives them, in deviations. */
static double together(const double *a, const double *b, int count, double kept) {
  double both = 0, chance = kept * kept;
  for (int i = 0; i < count; i++) both += a[i] != 0 && b[i] != 0;
  return (both / count - chance) / sqrt(chance * (1 - chance) / count);
}

TEST(as_many_are_dropped_as_asked) {
  static const float probabilities[] = {0.05F, 0.5F, 0.9F};
  for (int i = 0; i < 3; i++) {
    double p = (double)probabilities[i], zeros = 0;
    struct outcome outcome = drop(probabilities[i], 1, 7);
    for (int k = 0; k < COUNT; k++) {
      zeros += outcome.y[k] == 0;
      CHECK(outcome.y[k] == 0 || fabs(outcome.y[k] * (1 - p) - 1) < 1e-6);
    }
    CHECK_SAY(fabs(zeros / COUNT - p) < 5 * sqrt(p * (1 - p) / COUNT), " (%g of %g)", zeros / COUNT,
              p);
    outcome_free(&outcome);
  }
}

TEST(elements_numbers_and_keys_drop_by_themselves) {
  struct outcome first = drop(0.5F, 1, 7), number = drop(0.5F, 2, 7), key = drop(0.5F, 1, 8);
  CHECK(fabs(together(first.y, number.y, COUNT, 0.5)) < 5);
  CHECK(fabs(together(first.y, key.y, COUNT, 0.5)) < 5);
  CHECK(fabs(together(first.y, first.y + 1, COUNT - 1, 0.5)) < 5);           /* voxels */
  CHECK(fabs(together(first.y, first.y + VOXELS, COUNT - VOXELS, 0.5)) < 5); /* channels */
  struct outcome again = drop(0.5F, 1, 7);
  CHECK(memcmp(first.y, again.y, COUNT * sizeof *first.y) == 0);
  outcome_free(&first);
  outcome_free(&number);
  outcome_free(&key);
  outcome_free(&again);
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  struct dropout_arguments arguments = {1, 1};
  bad.x[1].n = 1;
  conformance_refuses(&bad, "expected a key of 2 x 16 x 1 x 1 x 1, found 1 x 16");
  bad = cases[0];
  bad.no_gradient[1] = false;
  conformance_refuses(&bad, "the key of dropout has no gradient");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "found labels");
  bad = cases[0];
  bad.arguments = &arguments;
  conformance_refuses(&bad, "expected a probability from 0 to below 1, found 1");
  arguments.probability = NAN;
  conformance_refuses(&bad, "found nan");
}

int main(void) {
  RUN(kernels_agree);
  RUN(as_many_are_dropped_as_asked);
  RUN(elements_numbers_and_keys_drop_by_themselves);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
