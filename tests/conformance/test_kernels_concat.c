/* concat against its reference: blocks, parts of blocks, planar and blocked inputs together. */
#include "conformance.h"
#include "kernels/concat/concat.h"

extern const struct op op_concat;

#define CONCAT(text, count, ...) \
  { .label = text, .op = &op_concat, .input_count = count, .x = {__VA_ARGS__}, .linear = true }

static const struct op_case cases[] = {
    CONCAT("planar", 2, {1, 1, 5, 6, 7}, {1, 1, 5, 6, 7}),
    CONCAT("planar to blocked", 3, {2, 3, 4, 3, 5}, {2, 1, 4, 3, 5}, {2, 4, 4, 3, 5}),
    CONCAT("whole blocks", 2, {1, 32, 7, 6, 8}, {1, 16, 7, 6, 8}),
    CONCAT("parts of blocks", 3, {1, 21, 3, 4, 5}, {1, 16, 3, 4, 5}, {1, 7, 3, 4, 5}),
    CONCAT("whole block after a part", 3, {2, 16, 3, 4, 5}, {2, 5, 3, 4, 5}, {2, 11, 3, 4, 5}),
    CONCAT("planar between blocks", 3, {1, 16, 3, 4, 5}, {1, 3, 3, 4, 5}, {1, 18, 3, 4, 5}),
    CONCAT("six inputs", 6, {1, 1, 2, 2, 3}, {1, 2, 2, 2, 3}, {1, 3, 2, 2, 3}, {1, 4, 2, 2, 3},
           {1, 5, 2, 2, 3}, {1, 6, 2, 2, 3}),
    CONCAT("one input", 1, {1, 5, 2, 3, 4}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(refuses_inputs_that_differ) {
  struct node node;
  struct op_case bad = CONCAT("bad", 2, {1, 1, 5, 6, 7}, {1, 1, 5, 6, 8});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "input 1 has 1 samples of 5x6x8 voxels, input 0 has 1 of 5x6x7");
  struct op_case mixed = CONCAT("mixed", 2, {1, 1, 5, 6, 7}, {1, 1, 5, 6, 7});
  mixed.x_dtype[1] = DTYPE_U8;
  CHECK_FAILS(conformance_node(&mixed, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "input 1 is of uint8, input 0 of float32");
}

int main(void) {
  RUN(kernels_agree);
  RUN(refuses_inputs_that_differ);
  return check_result();
}
