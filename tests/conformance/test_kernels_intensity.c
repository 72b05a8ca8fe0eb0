/* intensity against its reference; each step by what it says; neutral numbers; what is refused. */
#include "conformance.h"
#include "kernels/intensity/intensity.h"

enum { SAMPLES = 3 };

/* A sample with all steps, one with two, one as it is. */
static void fill(int input, const struct shape *shape, double *values) {
  static const double numbers[SAMPLES][7] = {
      {0.1, 77, 1234567, 1.2, 0.8, 0.7, 1.4}, {0, 5, 6, 0.8, 1, 1.5, 1}, {0, 0, 0, 1, 1, 1, 1}};
  if (input != 1) return;
  memset(values, 0, (size_t)logical_count(shape) * sizeof *values);
  for (int n = 0; n < shape->n; n++)
    memcpy(values + n * INTENSITY_NUMBERS, numbers[n % SAMPLES], sizeof numbers[0]);
}

#define CASE(text, which, ...)                                                         \
  {                                                                                    \
    .label = text, .op = &op_intensity, .input_count = 2,                              \
    .arguments = &(const struct intensity_arguments){which},                           \
    .argument_bytes = sizeof(struct intensity_arguments), .no_gradient = {true, true}, \
    .fill = fill, .tolerance = 3e-6, .low = {-1}, .high = {2}, .x = {                  \
      __VA_ARGS__                                                                      \
    }                                                                                  \
  }
#define SHAPES(n, ...)            \
  {n, __VA_ARGS__}, {             \
    n, INTENSITY_NUMBERS, 1, 1, 1 \
  }

static const struct op_case cases[] = {
    CASE("all", INTENSITY_ALL, SHAPES(3, 1, 7, 9, 11)),
    CASE("all, 3 channels of more than one block", INTENSITY_ALL, SHAPES(1, 3, 11, 20, 23)),
    CASE("all, 6 channels", INTENSITY_ALL, SHAPES(2, 6, 1, 5, 13)),
    CASE("noise", INTENSITY_NOISE, SHAPES(2, 2, 1, 33, 31)),
    CASE("factor and gamma", INTENSITY_FACTOR | INTENSITY_GAMMA, SHAPES(3, 1, 1, 1, 65)),
    CASE("contrast", INTENSITY_CONTRAST, SHAPES(2, 1, 3, 4, 5)),
    CASE("a voxel", INTENSITY_ALL, SHAPES(1, 1, 1, 1, 1)),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* --- single steps --- */

/* Eight values 0 to 7 under some numbers; every kernel. */
struct line {
  const char *label;
  double numbers[7], expected[8];
};

static struct outcome run_values(const struct kernel *kernel, struct shape shape,
                                 const double *values, const double *numbers) {
  static const struct intensity_arguments arguments = {INTENSITY_ALL};
  const struct op_case test = {.label = "values",
                               .op = &op_intensity,
                               .input_count = 2,
                               .x = {shape, {shape.n, INTENSITY_NUMBERS, 1, 1, 1}},
                               .no_gradient = {true, true},
                               .arguments = &arguments,
                               .argument_bytes = sizeof arguments};
  double all[4 * INTENSITY_NUMBERS] = {0};
  for (int n = 0; n < shape.n; n++)
    memcpy(all + n * INTENSITY_NUMBERS, numbers, 7 * sizeof *numbers);
  const struct trial trial = {
      .test = &test, .value = {(double *)values, all}, .y_count = logical_count(&shape)};
  const struct attempt attempt = {.kernel = kernel, .threads = 1, .only = -1};
  return attempt_run(&trial, &attempt);
}

TEST(steps_do_what_they_say) {
  static const double values[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  static const struct line lines[] = {
      {"factor", {0, 0, 0, 0.5, 1, 1, 1}, {0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5}},
      {"less contrast", {0, 0, 0, 1, 0.5, 1, 1}, {1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5.25}},
      {"more contrast, cut", {0, 0, 0, 1, 2, 1, 1}, {0, 0, 0.5, 2.5, 4.5, 6.5, 7, 7}},
      {"gamma", {0, 0, 0, 1, 1, 2, 1}, {0, 1 / 7., 4 / 7., 9 / 7., 16 / 7., 25 / 7., 36 / 7., 7}},
      {"inverted",
       {0, 0, 0, 1, 1, 1, 2},
       {0, 7 - 36 / 7., 7 - 25 / 7., 7 - 16 / 7., 7 - 9 / 7., 7 - 4 / 7., 7 - 1 / 7., 7}},
      {"factor, contrast and gamma: its range is the one behind contrast",
       {0, 0, 0, 2, 0.5, 2, 1},
       {3.5, 3.5 + 1 / 7., 3.5 + 4 / 7., 3.5 + 9 / 7., 3.5 + 16 / 7., 3.5 + 25 / 7., 3.5 + 36 / 7.,
        10.5}},
  };
  for (int k = 0; op_intensity.kernels[k]; k++)
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
      if (!conformance_stream(op_intensity.kernels[k]->device)) continue;
      struct outcome outcome = run_values(op_intensity.kernels[k], (struct shape){1, 1, 2, 2, 2},
                                          values, lines[i].numbers);
      for (int v = 0; v < 8; v++)
        CHECK_SAY(fabs(outcome.y[v] - lines[i].expected[v]) <= 4e-6, " (%s, %s: %g, expected %g)",
                  op_intensity.kernels[k]->name, lines[i].label, outcome.y[v],
                  lines[i].expected[v]);
      outcome_free(&outcome);
    }
}

/* Bit for bit; and a channel without a range stays what it is. */
TEST(neutral_numbers_change_nothing) {
  static const double neutral[7] = {0, 3, 4, 1, 1, 1, 1}, strong[7] = {0, 3, 4, 1, 0.3, 2, 0.5};
  enum { COUNT = 2 * 3 * 7 * 31 };
  double values[COUNT], flat[COUNT];
  struct random random = random_stream(3, RANDOM_TEST, 0, 0);
  for (int i = 0; i < COUNT; i++) values[i] = (float)random_normal(&random) * 1e-3F;
  for (int i = 0; i < COUNT; i++) flat[i] = -0.7F;
  for (int k = 0; op_intensity.kernels[k]; k++) {
    const struct kernel *kernel = op_intensity.kernels[k];
    if (!conformance_stream(kernel->device)) continue;
    const struct shape shape = {2, 1, 3, 7, 31};
    struct outcome same = run_values(kernel, shape, values, neutral);
    struct outcome level = run_values(kernel, shape, flat, strong);
    CHECK(memcmp(same.y, values, sizeof values) == 0);
    for (int i = 0; i < COUNT; i++)
      CHECK_SAY(fabs(level.y[i] - flat[i]) <= 1e-6, " (%s: %g)", kernel->name, level.y[i]);
    outcome_free(&same);
    outcome_free(&level);
  }
}

/* Moments of noise alone, and correlation of neighbours, channels and keys; every kernel. */
static void check_noise(const struct kernel *kernel, const double *zeros) {
  enum { VOXELS = 10 * 40 * 50 };
  static const double numbers[7] = {2, 5, 6, 1, 1, 1, 1}, other[7] = {2, 6, 6, 1, 1, 1, 1};
  const struct shape shape = {1, 2, 10, 40, 50};
  struct outcome noise = run_values(kernel, shape, zeros, numbers);
  struct outcome else_ = run_values(kernel, shape, zeros, other);
  static const int apart[] = {0, 1, 16, 64, VOXELS};
  const double limit = 5 / sqrt(VOXELS);
  double sum = 0, fourth = 0, between = 0, across[5] = {0};
  for (int i = 0; i < VOXELS - 64; i++) {
    double z = noise.y[i] / 2;
    sum += z / VOXELS;
    fourth += z * z * z * z / VOXELS;
    between += z * else_.y[i] / 2 / VOXELS;
    for (int a = 0; a < 5; a++) across[a] += z * noise.y[i + apart[a]] / 2 / VOXELS;
  }
  CHECK_SAY(fabs(sum) < limit, " (%s: mean %g)", kernel->name, sum);
  CHECK_SAY(fabs(across[0] - 1) < 1.5 * limit, " (%s: variance %g)", kernel->name, across[0]);
  CHECK_SAY(fabs(fourth - 3) < 10 * limit, " (%s: fourth moment %g)", kernel->name, fourth);
  CHECK_SAY(fabs(between) < limit, " (%s: keys %g)", kernel->name, between);
  for (int a = 1; a < 5; a++)
    CHECK_SAY(fabs(across[a]) < limit, " (%s: %d voxels apart: %g)", kernel->name, apart[a],
              across[a]);
  outcome_free(&noise);
  outcome_free(&else_);
}

TEST(noise_is_normal) {
  double *zeros = conformance_doubles(2 * 10 * 40 * 50);
  for (int k = 0; op_intensity.kernels[k]; k++)
    if (conformance_stream(op_intensity.kernels[k]->device))
      check_noise(op_intensity.kernels[k], zeros);
  free(zeros);
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  bad.no_gradient[0] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x[1].c = 7;
  conformance_refuses(&bad, "expected numbers of 3 x 16 x 1 x 1 x 1, found 3 x 7");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "expected inputs of float32, found uint8");
  bad = cases[0];
  bad.input_count = 1;
  conformance_refuses(&bad, "found 1 inputs");
}

int main(void) {
  RUN(kernels_agree);
  RUN(steps_do_what_they_say);
  RUN(neutral_numbers_change_nothing);
  RUN(noise_is_normal);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
