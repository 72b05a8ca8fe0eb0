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

/* Less than a voxel, the same way: neighbours fall next to each other. */
static void fill_aside(int input, const struct shape *shape, double *values) {
  for (int64_t i = 0; input == 1 && i < logical_count(shape); i++)
    values[i] = 0.5 + 0.4 * values[i];
}

/* All to one point between eight voxels. */
static void fill_point(int input, const struct shape *s, double *values) {
  for (int64_t i = 0; input == 1 && i < logical_count(s); i++) {
    int64_t voxel = i % shape_voxels(*s), axis = i / shape_voxels(*s) % 3;
    int64_t at[3] = {voxel / s->w / s->h, voxel / s->w % s->h, voxel % s->w};
    values[i] = 1.3 + 0.2 * (double)axis - (double)at[axis];
  }
}

/* Every third one further away than any image reaches, the others near. */
static void fill_outside(int input, const struct shape *shape, double *values) {
  fill_near(input, shape, values);
  for (int64_t i = 0; input == 1 && i < logical_count(shape); i += 3) values[i] *= 1e9;
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
    WARP("zeros, all to one point", zeros, fill_point, {2, 1, 5, 6, 20}, {2, 3, 5, 6, 20}),
    WARP("zeros, 8 channels to one point", zeros, fill_point, {1, 8, 3, 4, 5}, {1, 3, 3, 4, 5}),
    WARP("zeros, far outside", zeros, fill_outside, {2, 2, 4, 5, 6}, {2, 3, 4, 5, 6}),
    WARP("border, far outside", border, fill_outside, {1, 4, 4, 5, 6}, {1, 3, 4, 5, 6}),
    WARP("border, 16 channels", border, fill_near, {2, 16, 3, 5, 4}, {2, 3, 3, 5, 4}),
    WARP("zeros, all aside", zeros, fill_aside, {1, 2, 4, 5, 53}, {1, 3, 4, 5, 53}),
    WARP("zeros, long rows, mostly outside", zeros, fill_far, {1, 2, 5, 6, 40}, {1, 3, 5, 6, 40}),
    WARP("zeros, long rows, far outside", zeros, fill_outside, {1, 1, 3, 4, 50}, {1, 3, 3, 4, 50}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

TEST(adjoint_in_the_image) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i += 3) {
    struct op_case test = cases[i];
    test.linear = true;
    test.no_gradient[1] = true;
    conformance_run(&test, 1);
  }
}

/* Calls every float kernel with a row of 4 voxels of values 1 2 4 8 that is moved by u along w. */
static void each_row(struct warp_arguments arguments, const float u[4], const float dy[4],
                     void (*check)(const struct kernel *, const struct outcome *, const float *),
                     const float *expected) {
  struct op_case test = {.label = "row",
                         .op = &op_warp,
                         .input_count = 2,
                         .x = {{1, 1, 1, 1, 4}, {1, 3, 1, 1, 4}},
                         .arguments = &arguments,
                         .argument_bytes = sizeof arguments};
  struct trial trial;
  if (!trial_open(&trial, &test, 0)) return;
  for (int i = 0; i < 4; i++) {
    trial.value[0][i] = 1 << i;
    trial.value[1][i] = trial.value[1][4 + i] = 0;
    trial.value[1][8 + i] = u[i];
    trial.dy[i] = dy[i];
  }
  for (int k = 0; op_warp.kernels[k]; k++) {
    struct attempt attempt = {
        .kernel = op_warp.kernels[k], .threads = 1, .backward = true, .only = -1};
    if (attempt.kernel->dtype != DTYPE_F32 || !attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    check(attempt.kernel, &outcome, expected);
    outcome_free(&outcome);
  }
  trial_close(&trial);
}

static void check_values(const struct kernel *kernel, const struct outcome *outcome,
                         const float *expected) {
  for (int i = 0; i < 4; i++)
    CHECK_SAY(outcome->y[i] == (double)expected[i], " (%s: voxel %d: %g, expected %g)",
              kernel->name, i, outcome->y[i], (double)expected[i]);
  for (int i = 0; i < 12; i++) CHECK(isfinite(outcome->gradient[1][i]));
  for (int i = 0; i < 4; i++) CHECK(isfinite(outcome->gradient[0][i]));
}

static void check_row(struct warp_arguments arguments, const float u[4], const float expected[4]) {
  each_row(arguments, u, (const float[]){1, 1, 1, 1}, check_values, expected);
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

static void check_shown(const struct kernel *kernel, const struct outcome *outcome,
                        const float *expected) {
  (void)expected;
  CHECK_SAY(!isfinite(outcome->gradient[0][1]), " (%s: hid the gradient)", kernel->name);
  CHECK_SAY(!isfinite(outcome->gradient[1][9]), " (%s: hid the gradient)", kernel->name);
}

TEST(shows_gradients_that_are_no_numbers) {
  const float u[4] = {0.25f, 0.25f, 0.25f, 0.25f};
  each_row(zeros, u, (const float[]){1, NAN, 1, 1}, check_shown, NULL);
  each_row(zeros, u, (const float[]){1, INFINITY, 1, 1}, check_shown, NULL);
}

/* Gradients at the ends of float's range neither overflow nor vanish on their way. */
static void check_scaled(const struct kernel *kernel, const struct outcome *outcome,
                         const float *expected) {
  for (int i = 0; i < 4; i++)
    CHECK_SAY(fabs(outcome->gradient[0][i] / (double)expected[i] - 1) < 1e-6,
              " (%s: voxel %d: %g, expected %g)", kernel->name, i, outcome->gradient[0][i],
              (double)expected[i]);
}

TEST(adds_gradients_of_any_size) {
  const float u[4] = {1, 0, -1, -2}, halves[4] = {0.5f, 0.5f, 0.5f, 0.5f};
  for (int exponent = -120; exponent <= 120; exponent += 40) {
    const float unit = ldexpf(1, exponent);
    const float dy[4] = {unit, unit, 2 * unit, unit};
    each_row(zeros, halves, dy, check_scaled,
             (const float[]){unit / 2, unit, 1.5f * unit, 1.5f * unit});
    each_row(zeros, u, dy, check_values, (const float[]){2, 2, 2, 2});
  }
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
  RUN(shows_gradients_that_are_no_numbers);
  RUN(adds_gradients_of_any_size);
  RUN(refuses_inputs_that_do_not_fit);
  return check_result();
}
