/* coordinates against its reference, and its first values. */
#include "conformance.h"

extern const struct op op_coordinates;

#define CASE(text, ...)                                                                            \
  {                                                                                                \
    .label = text, .op = &op_coordinates, .input_count = 1, .linear = true, .x = { {__VA_ARGS__} } \
  }

static const struct op_case cases[] = {
    CASE("of an image", 2, 1, 5, 3, 7),
    CASE("of 18 channels", 1, 18, 3, 9, 2),
    CASE("one voxel along two axes", 1, 2, 1, 4, 1),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(runs_from_minus_1_to_1) {
  static const double along[3] = {-1, 0, 1}, across[2] = {-1, 1};
  struct trial trial;
  static const struct op_case test = CASE("values", 1, 1, 3, 2, 1);
  if (!trial_open(&trial, &test, 0)) return;
  struct attempt attempt = reference_attempt(&trial, false);
  struct outcome outcome = attempt_run(&trial, &attempt);
  for (int i = 0; i < 6; i++) {
    CHECK(outcome.y[i] == along[i / 2]);
    CHECK(outcome.y[6 + i] == across[i % 2]);
    CHECK(outcome.y[12 + i] == 0);
  }
  outcome_free(&outcome);
  trial_close(&trial);
}

TEST(refuses_labels) {
  struct op_case bad = cases[0];
  struct node node;
  bad.x_dtype[0] = DTYPE_U8;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "found labels");
}

int main(void) {
  RUN(kernels_agree);
  RUN(runs_from_minus_1_to_1);
  RUN(refuses_labels);
  return check_result();
}
