/* blur against its reference; an impulse, a plane, what stays as it is; what is refused. */
#include "conformance.h"
#include "kernels/blur/blur.h"

/* The first sample along all axes, the second along one, the third not at all. */
static void fill(int input, const struct shape *shape, double *values) {
  static const double deviations[3][3] = {{0.7, 1.4, 0.45}, {0, 0, 1.1}, {0, 0, 0}};
  for (int n = 0; input == 1 && n < shape->n; n++)
    memcpy(values + n * BLUR_NUMBERS, deviations[n % 3], sizeof deviations[0]);
}

static void fill_large(int input, const struct shape *shape, double *values) {
  for (int n = 0; input == 1 && n < shape->n; n++)
    for (int k = 0; k < 3; k++) values[n * BLUR_NUMBERS + k] = k == n ? -1 : 1.8;
}

#define CASE(text, which, n, ...)                                                                \
  {                                                                                              \
    .label = text, .op = &op_blur, .input_count = 2, .fill = which, .no_gradient = {true, true}, \
    .x = {                                                                                       \
      {n, __VA_ARGS__},                                                                          \
      {n, BLUR_NUMBERS, 1, 1, 1}                                                                 \
    }                                                                                            \
  }

static const struct op_case cases[] = {
    CASE("of three kinds", fill, 3, 1, 5, 7, 19),
    CASE("3 channels, the largest radius", fill_large, 2, 3, 6, 13, 9),
    CASE("blocks of channels", fill, 2, 19, 4, 3, 14),
    CASE("a slice, smaller than the radius", fill_large, 1, 1, 1, 4, 37),
    CASE("more than one box", fill_large, 1, 1, 35, 3, 5),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

enum { SIDE = 11, VOXELS = SIDE * SIDE * SIDE };

/* Under every kernel that this machine runs. */
static void run_all(const double *image, const double *deviation,
                    void (*check)(const double *image, const double *y, const char *kernel)) {
  static const struct op_case test = CASE("one", NULL, 1, 1, SIDE, SIDE, SIDE);
  double values[VOXELS], numbers[BLUR_NUMBERS] = {deviation[0], deviation[1], deviation[2]};
  memcpy(values, image, sizeof values);
  const struct trial trial = {.test = &test, .value = {values, numbers}, .y_count = VOXELS};
  for (int k = 0; op_blur.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_blur.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    check(image, outcome.y, attempt.kernel->name);
    outcome_free(&outcome);
  }
}

/* Its sum stays, and it is a product of Gaussians cut at 3 deviations: 3 voxels. */
static void check_impulse(const double *image, const double *y, const char *kernel) {
  double sum = 0, one = 0;
  (void)image;
  for (int j = -3; j <= 3; j++) one += exp(-0.5 * j * j);
  for (int i = 0; i < VOXELS; i++) {
    int at[3] = {i / (SIDE * SIDE) - 5, i / SIDE % SIDE - 5, i % SIDE - 5}, square = 0;
    bool inside = true;
    for (int k = 0; k < 3; k++) {
      inside = inside && abs(at[k]) <= 3;
      square += at[k] * at[k];
    }
    double expected = inside ? exp(-0.5 * square) / (one * one * one) : 0;
    CHECK_SAY(fabs(y[i] - expected) < 1e-7, " (%s, voxel %d: %g, expected %g)", kernel, i, y[i],
              expected);
    sum += y[i];
  }
  CHECK_NEAR(sum, 1, 1e-5);
}

static void check_copy(const double *image, const double *y, const char *kernel) {
  CHECK_SAY(memcmp(image, y, VOXELS * sizeof *y) == 0, " (%s changes something)", kernel);
}

static void check_plane(const double *image, const double *y, const char *kernel) {
  for (int i = 0; i < VOXELS; i++)
    CHECK_SAY(fabs(y[i] - image[i]) < 1e-6, " (%s, voxel %d)", kernel, i);
}

TEST(impulse_becomes_a_gaussian) {
  double image[VOXELS] = {0};
  image[VOXELS / 2] = 1;
  run_all(image, (const double[3]){1, 1, 1}, check_impulse);
}

TEST(deviation_of_zero_changes_nothing) {
  double image[VOXELS];
  for (int i = 0; i < VOXELS; i++) image[i] = (float)sin(i * 1.7);
  run_all(image, (const double[3]){0, 0, 0}, check_copy);
  run_all(image, (const double[3]){-1, NAN, 0}, check_copy);
}

TEST(axes_are_told_apart) {
  double image[VOXELS];
  for (int i = 0; i < VOXELS; i++) image[i] = (float)sin(i / (SIDE * SIDE) * 1.7); /* along d */
  run_all(image, (const double[3]){0, 1, 1.5}, check_plane);
  for (int i = 0; i < VOXELS; i++) image[i] = (float)sin(i % SIDE * 1.7); /* along w */
  run_all(image, (const double[3]){1, 0.5, 0}, check_plane);
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  bad.no_gradient[0] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x[1].n = 2;
  conformance_refuses(&bad, "expected numbers of 3 x 16 x 1 x 1 x 1, found 2 x 16");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "found uint8");
}

int main(void) {
  RUN(kernels_agree);
  RUN(impulse_becomes_a_gaussian);
  RUN(deviation_of_zero_changes_nothing);
  RUN(axes_are_told_apart);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
