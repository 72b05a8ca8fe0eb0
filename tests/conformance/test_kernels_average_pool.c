/* average_pool against its reference; its type. */
#include "conformance.h"

extern const struct op op_average_pool;

#define CASE(text, ...)                                                                         \
  {                                                                                             \
    .label = text, .op = &op_average_pool, .input_count = 1, .linear = true, .tolerance = 2e-6, \
    .x = {                                                                                      \
      {__VA_ARGS__}                                                                             \
    }                                                                                           \
  }

static const struct op_case cases[] = {
    CASE("one voxel", 2, 5, 1, 1, 1),
    CASE("planar, odd sizes", 2, 3, 3, 5, 7),
    CASE("one channel, several chunks", 1, 1, 17, 19, 33),
    CASE("blocks, several chunks", 2, 18, 7, 9, 11),
    CASE("128 channels", 1, 128, 2, 3, 5),
    CASE("8 channels, several ranges", 1, 8, 13, 17, 40),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(is_float32_and_refuses_labels) {
  struct op_case test = cases[0];
  struct node node;
  CHECK_OK(conformance_node(&test, DTYPE_BF16, LAYOUTS_DEVICE, -1, &node));
  CHECK(node.y.dtype == DTYPE_F32 && node.dtype == DTYPE_BF16);
  CHECK(node.backward_reads == READS_NOTHING);
  test.x_dtype[0] = DTYPE_U8;
  CHECK_FAILS(conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "found labels");
}

int main(void) {
  RUN(kernels_agree);
  RUN(is_float32_and_refuses_labels);
  return check_result();
}
