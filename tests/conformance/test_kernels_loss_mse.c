/* loss_mse against PyTorch's numbers and its kernels against each other. */
#include "loss_values.h"

extern const struct op op_loss_mse;

#define CASE(name, ...)                                                                    \
  {                                                                                        \
    .label = name, .op = &op_loss_mse, .input_count = 2, .x = { __VA_ARGS__, __VA_ARGS__ } \
  }
#define SHAPE(...) \
  { __VA_ARGS__ }

static const struct op_case cases[] = {
    CASE("one voxel", SHAPE(1, 1, 1, 1, 1)),
    CASE("odd sizes", SHAPE(2, 3, 3, 5, 7)),
    CASE("more than 4 channels", SHAPE(1, 21, 2, 3, 4)),
    CASE("several blocks", SHAPE(1, 1, 17, 19, 33)),
    CASE("whole blocks", SHAPE(2, 1, 16, 16, 32)),
};

static void fill(int input, const struct shape *shape, double *values) {
  loss_wave(input, shape, values, -1, 1);
}

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(gives_the_published_values) {
  struct op_case test = CASE("formula", SHAPE(2, 2, 3, 4, 5));
  test.fill = fill;
  check_loss(&test, 0.45749591057414135,
             (double[OP_MAX_INPUTS]){0.0090824118616404034, -0.0090824118616404034});
}

TEST(refuses_unequal_shapes) {
  struct op_case bad = cases[1];
  struct node node;
  bad.x[1].w++;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "2x3x3x5x7 and 2x3x3x5x8");
  bad = cases[1];
  bad.x_dtype[1] = DTYPE_U8;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "float32 and uint8");
}

int main(void) {
  RUN(kernels_agree);
  RUN(gives_the_published_values);
  RUN(refuses_unequal_shapes);
  return check_result();
}
