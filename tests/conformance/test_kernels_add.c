/* add against its reference, and the inputs it refuses. */
#include "conformance.h"

extern const struct op op_add;

static const struct op_case cases[] = {
    {.label = "two planar",
     .op = &op_add,
     .input_count = 2,
     .x = {{2, 3, 5, 4, 7}, {2, 3, 5, 4, 7}},
     .linear = true},
    {.label = "three blocked, several chunks",
     .op = &op_add,
     .input_count = 3,
     .x = {{1, 21, 11, 12, 9}, {1, 21, 11, 12, 9}, {1, 21, 11, 12, 9}},
     .linear = true},
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(refuses_different_shapes) {
  struct op_case bad = cases[0];
  struct node node;
  bad.x[1].w = 8;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "differs in shape");
}

int main(void) {
  RUN(kernels_agree);
  RUN(refuses_different_shapes);
  return check_result();
}
