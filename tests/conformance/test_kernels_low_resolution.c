/* low_resolution against its reference; chosen lines; what stays as it is; what is refused. */
#include "conformance.h"
#include "kernels/low_resolution/low_resolution.h"

/* The first sample along all axes, the second along one, the third not at all. */
static void fill(int input, const struct shape *shape, double *values) {
  static const double zooms[3][3] = {{0.5, 0.71, 0.6}, {1, 1, 0.55}, {1, 1, 1}};
  for (int n = 0; input == 1 && n < shape->n; n++)
    memcpy(values + n * LOW_RESOLUTION_NUMBERS, zooms[n % 3], sizeof zooms[0]);
}

static void fill_few(int input, const struct shape *shape, double *values) {
  for (int n = 0; input == 1 && n < shape->n; n++)
    for (int k = 0; k < 3; k++) values[n * LOW_RESOLUTION_NUMBERS + k] = k == n ? 0.01 : 0.9;
}

#define CASE(text, which, n, ...)                                             \
  {                                                                           \
    .label = text, .op = &op_low_resolution, .input_count = 2, .fill = which, \
    .no_gradient = {true, true}, .x = {                                       \
      {n, __VA_ARGS__},                                                       \
      {n, LOW_RESOLUTION_NUMBERS, 1, 1, 1}                                    \
    }                                                                         \
  }

static const struct op_case cases[] = {
    CASE("of three kinds", fill, 3, 1, 5, 7, 19),
    CASE("3 channels, one point along an axis", fill_few, 2, 3, 6, 13, 9),
    CASE("blocks of channels", fill, 2, 19, 4, 3, 14),
    CASE("a slice", fill_few, 1, 1, 1, 9, 37),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

enum { LENGTH = 6 };

/* One line of 6 voxels along axis `axis`, under every kernel. */
static void check_line(int axis, double zoom, const double expected[LENGTH]) {
  struct op_case test = CASE("line", NULL, 1, 1, 1, 1, 1);
  int extent[3] = {1, 1, 1};
  extent[axis] = LENGTH;
  test.x[0] = (struct shape){1, 1, extent[0], extent[1], extent[2]};
  double line[LENGTH] = {10, 20, 40, 70, 110, 160}, numbers[LOW_RESOLUTION_NUMBERS] = {1, 1, 1};
  numbers[axis] = zoom;
  const struct trial trial = {.test = &test, .value = {line, numbers}, .y_count = LENGTH};
  for (int k = 0; op_low_resolution.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_low_resolution.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    for (int i = 0; i < LENGTH; i++)
      CHECK_SAY(fabs(outcome.y[i] - expected[i]) <= 2e-5, " (%s, axis %d, zoom %g, voxel %d: %g)",
                attempt.kernel->name, axis, zoom, i, outcome.y[i]);
    outcome_free(&outcome);
  }
}

TEST(lines_are_coarser) {
  for (int axis = 0; axis < 3; axis++) {
    check_line(axis, 1, (const double[]){10, 20, 40, 70, 110, 160});
    check_line(axis, 1.5, (const double[]){10, 20, 40, 70, 110, 160});
    check_line(axis, NAN, (const double[]){10, 20, 40, 70, 110, 160});
    /* points 1, 3 and 5 at 0.5, 2.5 and 4.5 of y */
    check_line(axis, 0.5, (const double[]){20, 32.5, 57.5, 92.5, 137.5, 160});
    check_line(axis, 0.4, (const double[]){20, 20, 50, 80, 110, 110});
    check_line(axis, 0.25, (const double[]){20, 20, 50, 80, 110, 110}); /* 1.5: 2 points */
    check_line(axis, 0.75, (const double[]){10, 25, 45, 65, 115, 160}); /* 4.5: 4 points */
    check_line(axis, 0.1, (const double[]){70, 70, 70, 70, 70, 70});
    check_line(axis, 0, (const double[]){70, 70, 70, 70, 70, 70});
  }
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  bad.no_gradient[0] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x[1].c = 3;
  conformance_refuses(&bad, "expected numbers of 3 x 16 x 1 x 1 x 1, found 3 x 3");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "found uint8");
  bad = cases[0];
  bad.x[0].w = 40000;
  conformance_refuses(&bad, "expected extents up to 32767, found 5x7x40000");
}

int main(void) {
  RUN(kernels_agree);
  RUN(lines_are_coarser);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
