/* resize against its reference, PyTorch's rules on small rows, and what it refuses. */
#include "conformance.h"
#include "kernels/resize/resize.h"

extern const struct op op_resize;

#define RESIZE(text, arguments_, ...)                                                      \
  {                                                                                        \
    .label = text, .op = &op_resize, .input_count = 1, .x = {__VA_ARGS__}, .linear = true, \
    .arguments = &(const struct resize_arguments)arguments_,                               \
    .argument_bytes = sizeof(struct resize_arguments)                                      \
  }
#define SET(...) \
  { __VA_ARGS__ }

static const struct op_case cases[] = {
    RESIZE("nearest double", SET(RESIZE_NEAREST, {6, 8, 10}, false, 1), {1, 21, 3, 4, 5}),
    RESIZE("nearest, any size", SET(RESIZE_NEAREST, {5, 3, 11}, false, 1), {2, 3, 3, 7, 4}),
    RESIZE("half, aligned", SET(RESIZE_TRILINEAR, {4, 5, 6}, true, 0.5), {2, 3, 8, 10, 12}),
    RESIZE("double, aligned", SET(RESIZE_TRILINEAR, {8, 10, 7}, true, 2), {1, 3, 4, 5, 3}),
    RESIZE("double, half pixel", SET(RESIZE_TRILINEAR, {8, 10, 6}, false, 1), {1, 18, 4, 5, 3}),
    RESIZE("third, half pixel", SET(RESIZE_TRILINEAR, {2, 3, 5}, false, -1), {1, 1, 7, 9, 13}),
    RESIZE("extents of one", SET(RESIZE_TRILINEAR, {1, 4, 1}, true, 1), {1, 2, 4, 1, 1}),
    RESIZE("double, 16 channels", SET(RESIZE_TRILINEAR, {5, 8, 6}, true, 2), {2, 16, 3, 4, 3}),
    RESIZE("nearest, 4 channels", SET(RESIZE_NEAREST, {7, 5, 6}, false, 1), {1, 4, 3, 2, 5}),
    RESIZE("deep", SET(RESIZE_TRILINEAR, {41, 3, 4}, false, 1), {1, 1, 21, 2, 3}),
    RESIZE("flattened", SET(RESIZE_TRILINEAR, {2, 3, 4}, true, 1), {1, 2, 30, 3, 7}),
    RESIZE("long, aligned", SET(RESIZE_TRILINEAR, {3, 4, 22}, true, 1), {1, 2, 3, 3, 4}),
    RESIZE("long, half pixel", SET(RESIZE_TRILINEAR, {2, 13, 3}, false, 1), {1, 8, 2, 2, 3}),
    RESIZE("long, nearest", SET(RESIZE_NEAREST, {1, 13, 3}, false, 1), {1, 1, 1, 2, 3}),
    RESIZE("same size", SET(RESIZE_TRILINEAR, {3, 4, 5}, true, 1), {1, 17, 3, 4, 5}),
    RESIZE("wide, double, aligned", SET(RESIZE_TRILINEAR, {3, 21, 101}, true, 2),
           {1, 2, 2, 11, 51}),
    RESIZE("wide, half, aligned", SET(RESIZE_TRILINEAR, {2, 11, 51}, true, 0.5),
           {1, 2, 3, 21, 101}),
    RESIZE("wide, double, nearest", SET(RESIZE_NEAREST, {1, 20, 66}, false, 1), {1, 1, 1, 10, 33}),
    RESIZE("wide, half pixel", SET(RESIZE_TRILINEAR, {2, 17, 50}, false, 1), {1, 1, 2, 9, 35}),
    RESIZE("twenty times as deep", SET(RESIZE_TRILINEAR, {40, 2, 3}, true, 1), {1, 1, 2, 2, 3}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

static void check_row(struct resize_arguments arguments, int input, const double *expected) {
  for (int o = 0; o < arguments.size[2]; o++) {
    struct resize_source s = resize_source(&arguments, input, arguments.size[2], o);
    CHECK_NEAR(s.low * (1 - s.weight) + s.high * s.weight, expected[o], 1e-12);
    CHECK(s.low >= 0 && s.high < input);
  }
}

/* torch.nn.functional.interpolate of the row 0 1 2 ... */
TEST(positions_are_those_of_pytorch) {
  check_row((struct resize_arguments){RESIZE_NEAREST, {1, 1, 5}, false, 1}, 3,
            (const double[]){0, 0, 1, 1, 2});
  check_row((struct resize_arguments){RESIZE_TRILINEAR, {1, 1, 5}, true, 1}, 3,
            (const double[]){0, 0.5, 1, 1.5, 2});
  check_row((struct resize_arguments){RESIZE_TRILINEAR, {1, 1, 6}, false, 1}, 3,
            (const double[]){0, 0.25, 0.75, 1.25, 1.75, 2});
  check_row((struct resize_arguments){RESIZE_TRILINEAR, {1, 1, 2}, false, 1}, 5,
            (const double[]){0.75, 3.25});
  check_row((struct resize_arguments){RESIZE_TRILINEAR, {1, 1, 1}, true, 1}, 4,
            (const double[]){0});
}

static struct node resize_node(struct resize_arguments arguments, enum status *status) {
  struct op_case test = {.label = "one",
                         .op = &op_resize,
                         .input_count = 1,
                         .x = {{1, 16, 3, 4, 5}},
                         .arguments = &arguments,
                         .argument_bytes = sizeof arguments};
  struct node node;
  *status = conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, &node);
  return node;
}

TEST(tells_an_exact_doubling) {
  enum status status;
  struct node node =
      resize_node((struct resize_arguments){RESIZE_NEAREST, {6, 8, 10}, 0, 1}, &status);
  CHECK(resize_is_nearest_double(&node));
  node = resize_node((struct resize_arguments){RESIZE_NEAREST, {6, 8, 9}, 0, 1}, &status);
  CHECK(!resize_is_nearest_double(&node));
  node = resize_node((struct resize_arguments){RESIZE_TRILINEAR, {6, 8, 10}, 0, 1}, &status);
  CHECK(!resize_is_nearest_double(&node));
  node = resize_node((struct resize_arguments){RESIZE_NEAREST, {6, 8, 10}, 0, 2}, &status);
  CHECK(!resize_is_nearest_double(&node));
}

TEST(refuses_empty_grids_and_factors) {
  enum status status;
  resize_node((struct resize_arguments){RESIZE_NEAREST, {6, 0, 10}, 0, 1}, &status);
  CHECK(status == STATUS_USAGE && strstr(status_message(), "on axis 1, found 0"));
  resize_node((struct resize_arguments){RESIZE_NEAREST, {6, 8, 10}, 0, 0}, &status);
  CHECK(status == STATUS_USAGE && strstr(status_message(), "factor other than 0"));
}

int main(void) {
  RUN(kernels_agree);
  RUN(positions_are_those_of_pytorch);
  RUN(tells_an_exact_doubling);
  RUN(refuses_empty_grids_and_factors);
  return check_result();
}
