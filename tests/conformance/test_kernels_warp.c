/* warp against its reference, against grid_sample's rules at the edges, and with displacements that
 * are no numbers. */
#include "conformance.h"
#include "kernels/warp/warp.h"

extern const struct op op_warp;

static const struct warp_arguments zeros = {WARP_ZEROS, WARP_LINEAR},
                                   border = {WARP_BORDER, WARP_LINEAR},
                                   zeros_nearest = {WARP_ZEROS, WARP_NEAREST},
                                   border_nearest = {WARP_BORDER, WARP_NEAREST};

/* Displacements up to `reach` voxels, away from the planes where cells and roundings change. */
static void fill_field(int input, const struct shape *shape, double *values, double reach) {
  for (int64_t i = 0; input == 1 && i < logical_count(shape); i++) {
    double scaled = values[i] * reach, whole = floor(scaled), part = scaled - whole;
    values[i] = whole + (part < 0.5 ? 0.05 + 0.8 * part : 0.15 + 0.8 * part);
  }
}

static void fill_near(int input, const struct shape *shape, double *values) {
  fill_field(input, shape, values, 1.5);
}

static void fill_far(int input, const struct shape *shape, double *values) {
  fill_field(input, shape, values, 12);
}

#define WARP(text, warp, values, ...)                                                          \
  {                                                                                            \
    .label = text, .op = &op_warp, .input_count = 2, .x = {__VA_ARGS__}, .arguments = &(warp), \
    .argument_bytes = sizeof(warp), .fill = values, .tolerance = 1e-6                          \
  }

static const struct op_case cases[] = {
    WARP("zeros", zeros, fill_near, {2, 1, 6, 7, 9}, {2, 3, 6, 7, 9}),
    WARP("zeros, long rows", zeros, fill_near, {1, 2, 3, 4, 70}, {1, 3, 3, 4, 70}),
    WARP("zeros, many slabs", zeros, fill_near, {1, 1, 23, 5, 4}, {1, 3, 23, 5, 4}),
    WARP("zeros, mostly outside", zeros, fill_far, {1, 3, 7, 5, 6}, {1, 3, 7, 5, 6}),
    WARP("zeros, blocked", zeros, fill_near, {1, 21, 6, 5, 7}, {1, 3, 6, 5, 7}),
    WARP("zeros, one slice", zeros, fill_near, {1, 1, 1, 5, 6}, {1, 3, 1, 5, 6}),
    WARP("border", border, fill_near, {2, 2, 6, 7, 9}, {2, 3, 6, 7, 9}),
    WARP("border, mostly outside", border, fill_far, {1, 1, 9, 5, 6}, {1, 3, 9, 5, 6}),
    WARP("border, blocked", border, fill_far, {2, 18, 9, 5, 6}, {2, 3, 9, 5, 6}),
    WARP("zeros, nearest", zeros_nearest, fill_near, {1, 2, 6, 7, 9}, {1, 3, 6, 7, 9}),
    WARP("zeros, nearest, blocked", zeros_nearest, fill_near, {1, 6, 6, 7, 9}, {1, 3, 6, 7, 9}),
    WARP("border, nearest", border_nearest, fill_far, {1, 1, 6, 7, 9}, {1, 3, 6, 7, 9}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(adjoint_in_the_image) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct op_case test = cases[i];
    test.linear = true;
    test.no_gradient[1] = true;
    conformance_run(&test, 1);
  }
}

/* A row of 4 voxels with values 1 2 4 8 moved by u along w, through every CPU float kernel. */
static void check_row(struct warp_arguments arguments, const float u[4], const float expected[4]) {
  struct op_case test = {.label = "row",
                         .op = &op_warp,
                         .input_count = 2,
                         .x = {{1, 1, 1, 1, 4}, {1, 3, 1, 1, 4}},
                         .arguments = &arguments,
                         .argument_bytes = sizeof arguments};
  for (int k = 0; op_warp.kernels[k]; k++) {
    const struct kernel *kernel = op_warp.kernels[k];
    const float image[4] = {1, 2, 4, 8};
    float field[12] = {0}, y[4], dy[4] = {1, 1, 1, 1}, dimage[4], dfield[12];
    struct node node;
    struct io io = {.x = {image, field}, .y = y, .dy = dy, .dx = {dimage, dfield}};
    memcpy(field + 8, u, 4 * sizeof *u);
    CHECK_OK(conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, &node));
    if (kernel->dtype != DTYPE_F32 || (kernel->applies && !kernel->applies(&node))) continue;
    CHECK_OK(kernel->forward(&node, &io, NULL));
    for (int i = 0; i < 4; i++)
      CHECK_SAY(y[i] == expected[i], " (%s: voxel %d: %g, expected %g)", kernel->name, i, y[i],
                expected[i]);
    CHECK_OK(kernel->backward(&node, &io, NULL));
    for (int i = 0; i < 12; i++) CHECK(isfinite(dfield[i]));
    for (int i = 0; i < 4; i++) CHECK(isfinite(dimage[i]));
  }
}

TEST(edges_are_those_of_grid_sample) {
  check_row(zeros, (const float[]){-0.5f, 0.5f, 1, 0.5f}, (const float[]){0.5f, 3, 8, 4});
  check_row(border, (const float[]){-0.5f, -3, 0, 0.5f}, (const float[]){1, 1, 4, 8});
  check_row(zeros, (const float[]){-1, -2, 2, 1}, (const float[]){0, 0, 0, 0});
  /* half to even: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4 (outside) */
  check_row(zeros_nearest, (const float[]){0.5f, 0.5f, 0.5f, 0.5f}, (const float[]){1, 4, 4, 0});
  check_row(zeros_nearest, (const float[]){-0.5f, -0.5f, -0.5f, -0.5f},
            (const float[]){1, 1, 4, 4});
  check_row(border_nearest, (const float[]){-9, 0.5f, 0.5f, 0.5f}, (const float[]){1, 4, 4, 8});
}

TEST(survives_displacements_that_are_no_numbers) {
  check_row(zeros, (const float[]){NAN, INFINITY, -INFINITY, 3e38f}, (const float[]){0, 0, 0, 0});
  check_row(border, (const float[]){NAN, INFINITY, -INFINITY, 3e38f}, (const float[]){1, 8, 1, 8});
  check_row(zeros_nearest, (const float[]){NAN, INFINITY, -INFINITY, 3e38f},
            (const float[]){0, 0, 0, 0});
}

TEST(refuses_inputs_that_do_not_fit) {
  struct node node;
  struct op_case bad = WARP("bad", zeros, NULL, {1, 1, 4, 5, 6}, {1, 2, 4, 5, 6});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "3 channels, found 2");
  struct op_case other = WARP("other", zeros, NULL, {1, 1, 4, 5, 6}, {1, 3, 4, 5, 7});
  CHECK_FAILS(conformance_node(&other, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "found 1 of 4x5x7");
}

int main(void) {
  RUN(kernels_agree);
  RUN(adjoint_in_the_image);
  RUN(edges_are_those_of_grid_sample);
  RUN(survives_displacements_that_are_no_numbers);
  RUN(refuses_inputs_that_do_not_fit);
  return check_result();
}
