/* loss_lncc against PyTorch's numbers, its kernels against each other, and where images are flat.
 */
#include "kernels/loss_lncc/loss_lncc.h"
#include "loss_values.h"

extern const struct op op_loss_lncc;

static const struct loss_lncc_arguments window_1 = {1}, window_3 = {3}, window_5 = {5},
                                        window_9 = {9}, window_19 = {19}, window_63 = {63},
                                        usual = {0};

static void fill_unit(int input, const struct shape *shape, double *values) {
  loss_wave(input, shape, values, 0, 1);
}

#define SHAPE(...) \
  { __VA_ARGS__ }
#define CASE(name, window, ...)                                                            \
  {                                                                                        \
    .label = name, .op = &op_loss_lncc, .input_count = 2, .x = {__VA_ARGS__, __VA_ARGS__}, \
    .arguments = &window, .argument_bytes = sizeof window, .gradient_tolerance = 1e-5,     \
    .tolerance = 2e-6                                                                      \
  }

static const struct op_case cases[] = {
    CASE("window 3, odd sizes", window_3, SHAPE(2, 1, 5, 7, 9)),
    CASE("window 5, two channels", window_5, SHAPE(1, 2, 6, 5, 17)),
    CASE("the usual window, smaller volume", usual, SHAPE(1, 1, 3, 4, 5)),
    CASE("window 9, longer rows", window_9, SHAPE(1, 1, 4, 5, 21)),
    CASE("window 9, pieces of rows and of slices", window_9, SHAPE(1, 1, 2, 27, 29)),
    CASE("window 3, pieces of the depth", window_3, SHAPE(1, 1, 35, 3, 4)),
    CASE("window 19, larger than the depth", window_19, SHAPE(1, 1, 3, 5, 50)),
    CASE("window 63, larger than the volume", window_63, SHAPE(1, 1, 2, 3, 4)),
    CASE("window 1, without variance", window_1, SHAPE(1, 1, 2, 3, 4)),
    CASE("window 3, two strips of long rows", window_3, SHAPE(1, 1, 2, 18, 700)),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(gives_the_published_values) {
  struct op_case five = CASE("window 5", window_5, SHAPE(2, 1, 7, 6, 8));
  struct op_case nine = CASE("window 9", window_9, SHAPE(1, 1, 10, 9, 11));
  five.fill = nine.fill = fill_unit;
  check_loss(&five, -0.55505033653411018,
             (double[OP_MAX_INPUTS]){-0.0075021894490967488, 0.0022023516049192483});
  check_loss(&nine, -0.59702305359909347,
             (double[OP_MAX_INPUTS]){-0.0042015987758123145, 0.0021661139357320759});
}

/* Constant images: variances and covariances inside are differences of equal numbers. */
static void fill_flat(int input, const struct shape *shape, double *values) {
  int64_t i = 0;
  for (; i < logical_count(shape); i++) values[i] = input ? 0.3 + 0.01 * (double)(i % 7) : 0.7;
}

TEST(flat_images_give_exact_gradients) {
  struct op_case flat = CASE("flat against textured", window_3, SHAPE(1, 1, 7, 8, 9));
  flat.fill = fill_flat;
  flat.tolerance = 1e-5;
  conformance_run(&flat, 1);
}

/* Two constant images: only windows over the border have variances. */
static void fill_constant(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; i < logical_count(shape); i++) values[i] = input ? 0.25 : 0.5;
}

TEST(constant_images_have_finite_gradients) {
  struct op_case test = CASE("constant", window_3, SHAPE(1, 1, 6, 7, 8));
  test.fill = fill_constant;
  /* an optimum: the gradient is a small difference of slopes, which kernels store as float32 */
  test.gradient_tolerance = 1e-3;
  test.tolerance = 1e-2;
  conformance_run(&test, 1);
}

TEST(refuses_an_even_window) {
  struct loss_lncc_arguments even = {8};
  struct op_case bad = cases[0];
  struct node node;
  bad.arguments = &even;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "odd window, found 8");
}

int main(void) {
  RUN(kernels_agree);
  RUN(gives_the_published_values);
  RUN(flat_images_give_exact_gradients);
  RUN(constant_images_have_finite_gradients);
  RUN(refuses_an_even_window);
  return check_result();
}
