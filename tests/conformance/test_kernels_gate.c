/* gate against its reference: planar and blocked channels, odd sizes, gates that are far open and
 * far shut, and what it refuses. */
#include "conformance.h"

extern const struct op op_gate;

static const struct op_case cases[] = {
    {.label = "planar, 3 channels",
     .op = &op_gate,
     .input_count = 2,
     .x = {{2, 3, 5, 4, 7}, {2, 1, 5, 4, 7}}},
    {.label = "one channel",
     .op = &op_gate,
     .input_count = 2,
     .x = {{2, 1, 3, 1, 5}, {2, 1, 3, 1, 5}}},
    {.label = "32 channels, several chunks",
     .op = &op_gate,
     .input_count = 2,
     .x = {{2, 32, 5, 8, 9}, {2, 1, 5, 8, 9}}},
    {.label = "21 channels, gates far open and shut",
     .op = &op_gate,
     .input_count = 2,
     .x = {{1, 21, 3, 7, 5}, {1, 1, 3, 7, 5}},
     .low = {0, -12},
     .high = {0, 12}},
    {.label = "300 channels of a slice",
     .op = &op_gate,
     .input_count = 2,
     .x = {{1, 300, 1, 3, 2}, {1, 1, 1, 3, 2}}},
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  struct node node;
  bad.x[1].c = 3;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "1 channel");
  bad.x[1].c = 1;
  bad.x[1].w = 8;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "5x4x7 voxels, found");
  bad.input_count = 1;
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "two inputs");
}

int main(void) {
  RUN(kernels_agree);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
