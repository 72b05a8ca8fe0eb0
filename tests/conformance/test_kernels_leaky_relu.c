/* leaky_relu against its reference, and the slopes it refuses. */
#include "conformance.h"
#include "kernels/leaky_relu/leaky_relu.h"

extern const struct op op_leaky_relu;

static void fill_away_from_zero(int input, const struct shape *shape, double *values) {
  (void)input;
  for (int64_t i = 0; i < logical_count(shape); i++) values[i] += values[i] < 0 ? -0.01 : 0.01;
}

static const struct leaky_relu_arguments usual = {0.2f}, steep = {1.5f}, none = {0};

static const struct op_case cases[] = {
    {.label = "planar",
     .op = &op_leaky_relu,
     .input_count = 1,
     .x = {{2, 3, 5, 4, 7}},
     .arguments = &usual,
     .argument_bytes = sizeof usual,
     .fill = fill_away_from_zero},
    {.label = "blocked with padding",
     .op = &op_leaky_relu,
     .input_count = 1,
     .x = {{1, 21, 3, 4, 5}},
     .arguments = &usual,
     .argument_bytes = sizeof usual,
     .fill = fill_away_from_zero},
    {.label = "slope above one, several chunks",
     .op = &op_leaky_relu,
     .input_count = 1,
     .x = {{1, 16, 11, 12, 13}},
     .arguments = &steep,
     .argument_bytes = sizeof steep,
     .fill = fill_away_from_zero},
    {.label = "ReLU",
     .op = &op_leaky_relu,
     .input_count = 1,
     .x = {{1, 17, 3, 2, 5}},
     .arguments = &none,
     .argument_bytes = sizeof none,
     .fill = fill_away_from_zero},
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(refuses_a_slope_that_loses_the_sign) {
  struct leaky_relu_arguments arguments = {-0.1F};
  struct op_case bad = cases[0];
  struct node node;
  bad.arguments = &arguments;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "a slope of at least 0");
}

int main(void) {
  RUN(kernels_agree);
  RUN(refuses_a_slope_that_loses_the_sign);
  return check_result();
}
