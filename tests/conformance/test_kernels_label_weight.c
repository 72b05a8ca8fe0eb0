/* label_weight: kernels against each other, and what it refuses. */
#include "conformance.h"
#include "kernels/label_weight/label_weight.h"

extern const struct op op_label_weight;

static const struct label_weight_arguments plain = {.classes = 5},
                                           weighted = {.classes = 3,
                                                       .weighted = true,
                                                       .weight = {0.1F, 1, 2.5F}},
                                           many = {.classes = 32,
                                                   .weighted = true,
                                                   .weight = {0.3F, [7] = 2, [31] = 0.7F}};

/* Some labels are left out. */
static void fill(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape) && input == 0; i++)
    if (i % 11 == 3) values[i] = i % 2 ? LOGITS_IGNORED : 40;
}

#define CASE(text, arguments_, most, ...)                                                 \
  {                                                                                       \
    .label = text, .op = &op_label_weight, .input_count = 1, .x = {__VA_ARGS__},          \
    .x_dtype = {DTYPE_U8}, .arguments = &(arguments_),                                    \
    .argument_bytes = sizeof(struct label_weight_arguments), .high = {most}, .fill = fill \
  }

static const struct op_case cases[] = {
    CASE("5 classes", plain, 5, {2, 1, 3, 4, 7}),
    CASE("3 classes, weighted", weighted, 2, {1, 1, 2, 3, 5}),
    CASE("32 classes", many, 31, {2, 1, 5, 17, 13}),
    CASE("several blocks", many, 33, {1, 1, 5, 131, 211}),
    CASE("one voxel", weighted, 2, {1, 1, 1, 1, 1}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

static double sum_of(const struct op_case *test) {
  struct trial trial;
  if (!trial_open(&trial, test, 0)) return NAN;
  struct attempt attempt = reference_attempt(&trial, false);
  struct outcome outcome = attempt_run(&trial, &attempt);
  double sum = outcome.y[0];
  outcome_free(&outcome);
  trial_close(&trial);
  return sum;
}

static void fill_four(int input, const struct shape *shape, double *values) {
  static const double labels[] = {2, 255, 0, 3};
  for (int64_t i = 0; i < logical_count(shape) && input == 0; i++) values[i] = labels[i];
}

TEST(adds_the_weights_of_classes) {
  struct op_case test = CASE("four", weighted, 2, {1, 1, 1, 2, 2});
  test.fill = fill_four;
  CHECK(fabs(sum_of(&test) - ((double)0.1F + 2.5)) < 1e-15);
  test.arguments = &plain;
  CHECK(sum_of(&test) == 3);
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  struct label_weight_arguments arguments = {.classes = 33};
  struct op_case bad = CASE("bad", arguments, 2, {1, 1, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "expected 1 to 32 classes, found 33");
  bad = (struct op_case)CASE("bad", plain, 2, {1, 2, 2, 2, 3});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "uint8 labels with 1 channel");
}

int main(void) {
  RUN(kernels_agree);
  RUN(adds_the_weights_of_classes);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
