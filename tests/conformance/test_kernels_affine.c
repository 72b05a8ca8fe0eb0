/* affine against its reference; what fill, mask and deformation mean, voxel by voxel; what is
 * refused. */
#include "conformance.h"
#include "kernels/affine/affine.h"

/* A map per sample that turns, scales and shifts, so that y sees much of the source's inside and
 * some of its outside; boxes that touch some of the borders. */
static void fill_motion(const struct shape *shape, double *values) {
  for (int n = 0; n < shape->n; n++, values += AFFINE_MOTION) {
    double turn = 0.4 + 0.7 * n, shrink = 0.9 - 0.1 * n;
    const double matrix[12] = {shrink * cos(turn),
                               -shrink * sin(turn),
                               0.05,
                               1.3,
                               shrink * sin(turn),
                               shrink * cos(turn),
                               -0.1,
                               -1.7,
                               0.02,
                               0.07,
                               shrink,
                               0.4 - 0.3 * n};
    const double rest[10] = {n, 0, 1, 5, 6 - n, 7, 1234567 + n, 7654321, 0.5, 2};
    memcpy(values, matrix, sizeof matrix);
    memcpy(values + 12, rest, sizeof rest);
  }
}

static void fill(int input, const struct shape *shape, double *values) {
  if (input == AFFINE_NUMBERS) fill_motion(shape, values);
  if (input == AFFINE_CONTROL) /* some voxels far */
    for (int64_t i = 0; i < logical_count(shape); i++) values[i] = 2 * sin(5.3 * (double)i);
}

#define CASE(text, type, ...)                                                                     \
  {                                                                                               \
    .label = text, .op = &op_affine, .input_count = 2, .x_dtype = {type},                         \
    .arguments = &(const struct affine_arguments){__VA_ARGS__},                                   \
    .argument_bytes = sizeof(struct affine_arguments), .no_gradient = {true, true}, .fill = fill, \
    .tolerance = 1e-6, .x = {                                                                     \
      {2, 1, 7, 6, 9},                                                                            \
      {2, AFFINE_MOTION, 1, 1, 1}                                                                 \
    }                                                                                             \
  }
#define SIZE \
  { 5, 9, 11 }

static struct op_case cases[] = {
    CASE("zeros", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, {0}),
    CASE("edge, box", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_EDGE, AFFINE_BOX, {1, 4, 3.5f}),
    CASE("noise, 3 channels", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, {0}),
    CASE("crop, sphere", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_CROP, AFFINE_SPHERE,
         {2, 4.2f, 5.1f}),
    CASE("nearest, noise", DTYPE_F32, SIZE, AFFINE_NEAREST, AFFINE_NOISE, AFFINE_SPHERE, {9, 9, 9}),
    CASE("labels", DTYPE_U8, SIZE, AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0}),
    CASE("labels, edge", DTYPE_U8, SIZE, AFFINE_NEAREST, AFFINE_EDGE, AFFINE_BOX, {2, 3, 9}),
    CASE("one sample, rows of more than one run", DTYPE_F32, {2, 3, 150}, AFFINE_LINEAR,
         AFFINE_EDGE, AFFINE_SPHERE, {5, 4, 70}),
    CASE("bytes, 7 channels", DTYPE_U8, SIZE, AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0}),
    CASE("noise, 6 channels", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, {0}),
};

/* Deformed. */
static struct op_case bent[] = {
    CASE("bent", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, {0}),
    CASE("bent, more points than voxels", DTYPE_F32, SIZE, AFFINE_LINEAR, AFFINE_EDGE,
         AFFINE_SPHERE, {2, 4.2f, 5.1f}),
    CASE("bent, bytes, 6 channels", DTYPE_U8, SIZE, AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK,
         {0}),
    CASE("bent, slices", DTYPE_F32, {1, 9, 140}, AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, {0}),
    CASE("bent, nearest", DTYPE_F32, SIZE, AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0}),
};

TEST(kernels_agree) {
  static const struct shape points[] = {
      {2, 3, 2, 3, 4}, {2, 3, 7, 1, 13}, {2, 3, 3, 2, 1}, {2, 3, 1, 3, 9}, {2, 3, 1, 1, 1}};
  cases[2].x[0].c = 3;
  cases[7].x[0] = (struct shape){1, 2, 3, 4, 140};
  cases[7].x[1].n = 1;
  cases[8].x[0].c = 7;
  cases[8].high[0] = 255;
  cases[9].x[0].c = 6;
  bent[2].x[0].c = 6;
  bent[2].high[0] = 255;
  bent[3].x[0] = (struct shape){2, 1, 1, 11, 120};
  for (int i = 0; i < 5; i++) {
    bent[i].input_count = 3;
    bent[i].x[AFFINE_CONTROL] = points[i];
    bent[i].no_gradient[AFFINE_CONTROL] = true;
  }
  conformance_run(cases, sizeof cases / sizeof *cases);
  conformance_run(bent, sizeof bent / sizeof *bent);
}

/* --- single voxels --- */

/* One sample of 3x1x1 voxels with values 10, 20, 30, read at d = step * v + start for the 5 voxels
 * of y; the box is voxels first..first+count. Under every kernel. */
struct line {
  enum affine_mode mode;
  enum affine_fill fill;
  enum affine_mask mask;
  float radius;
  double step, start, first, count;
  double expected[5];
};

static void check_line(const struct line *line) {
  const struct affine_arguments arguments = {
      {5, 1, 1}, line->mode, line->fill, line->mask, {line->radius, 1, 1}};
  const struct op_case test = {.label = "line",
                               .op = &op_affine,
                               .input_count = 2,
                               .x = {{1, 1, 3, 1, 1}, {1, AFFINE_MOTION, 1, 1, 1}},
                               .no_gradient = {true, true},
                               .arguments = &arguments,
                               .argument_bytes = sizeof arguments};
  double source[3] = {10, 20, 30}, motion[AFFINE_MOTION] = {line->step, 0, 0, line->start};
  double box[6] = {line->first, 0, 0, line->count, 1, 1};
  memcpy(motion + 12, box, sizeof box);
  motion[20] = -5; /* noise that never varies */
  const struct trial trial = {.test = &test, .value = {source, motion}, .y_count = 5};
  for (int k = 0; op_affine.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_affine.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    for (int i = 0; i < 5; i++)
      CHECK_SAY(fabs(outcome.y[i] - line->expected[i]) <= 1e-5 * fabs(line->expected[i]),
                " (%s, voxel %d: %g, expected %g)", attempt.kernel->name, i, outcome.y[i],
                line->expected[i]);
    outcome_free(&outcome);
  }
}

TEST(outside_is_what_fill_says) {
  static const struct line lines[] = {
      {AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, 0, 1, -1.25, 0, 3, {0, 7.5, 17.5, 27.5, 7.5}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, 0, 1, -1.25, 0, 3, {10, 10, 17.5, 27.5, 30}},
      {AFFINE_LINEAR,
       AFFINE_NOISE,
       AFFINE_NO_MASK,
       0,
       1,
       -1.25,
       0,
       3,
       {-5, 6.25, 17.5, 27.5, 3.75}},
      /* a box of the first two voxels: the third is never read */
      {AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, 0, 1, -1, 0, 2, {0, 10, 20, 0, 0}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, 0, 0.5, 0, 0, 2, {10, 15, 20, 20, 20}},
      {AFFINE_LINEAR, AFFINE_CROP, AFFINE_NO_MASK, 0, 0.5, 0, 1, 1, {20, 20, 20, 20, 20}},
      {AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, 0, 0.5, -0.5, 0, 2, {10, 10, 20, 20, 0}},
      {AFFINE_NEAREST, AFFINE_EDGE, AFFINE_NO_MASK, 0, 1, -1, 1, 9, {20, 20, 20, 30, 30}},
      /* boxes beyond the source are cut, empty ones are all outside */
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, 0, 1, 0, -4, 90, {10, 20, 30, 30, 30}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_NO_MASK, 0, 1, 0, 1, 0, {0, 0, 0, 0, 0}},
      {AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, 0, 1, 0, 7, 2, {-5, -5, -5, -5, -5}},
      /* as far away as floats go */
      {AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, 0, 1e30, -1e30, 0, 3, {0, 10, 0, 0, 0}},
      {AFFINE_NEAREST, AFFINE_EDGE, AFFINE_NO_MASK, 0, 1e30, -1e30, 0, 3, {10, 10, 30, 30, 30}},
  };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) check_line(&lines[i]);
}

TEST(mask_keeps_its_surface) {
  static const struct line lines[] = {
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_SPHERE, 1, 0, 1, 0, 3, {0, 20, 20, 20, 0}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_SPHERE, 2, 0, 1, 0, 3, {20, 20, 20, 20, 20}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_SPHERE, 0.99f, 0, 1, 0, 3, {0, 0, 20, 0, 0}},
      {AFFINE_LINEAR, AFFINE_EDGE, AFFINE_BOX, 1, 0, 1, 0, 3, {0, 20, 20, 20, 0}},
      {AFFINE_LINEAR, AFFINE_NOISE, AFFINE_BOX, 1.99f, 0, 9, 0, 3, {0, -5, -5, -5, 0}},
  };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) check_line(&lines[i]);
}

/* --- deformation --- */

/* Where a line of `voxels` voxels on axis w comes from, by `points` coefficients: what comes out of
 * a source that is its own position. Under every kernel. */
static void check_bend(int voxels, int points, const double *coefficients, int first, int end,
                       double (*expected)(int voxel)) {
  enum { LONG = 400, START = 200 };
  const struct affine_arguments arguments = {
      {1, 1, voxels}, AFFINE_LINEAR, AFFINE_ZERO, AFFINE_NO_MASK, {0}};
  const struct op_case test = {
      .label = "bend",
      .op = &op_affine,
      .input_count = 3,
      .x = {{1, 1, 1, 1, LONG}, {1, AFFINE_MOTION, 1, 1, 1}, {1, 3, 1, 1, points}},
      .no_gradient = {true, true, true},
      .arguments = &arguments,
      .argument_bytes = sizeof arguments};
  double source[LONG], control[3 * 32] = {0}, motion[AFFINE_MOTION] = {1};
  for (int i = 0; i < LONG; i++) source[i] = i;
  motion[5] = motion[10] = motion[15] = motion[16] = 1;
  motion[11] = START;
  motion[17] = LONG;
  for (int i = 0; i < points; i++) control[2 * points + i] = coefficients[i];
  const struct trial trial = {.test = &test, .value = {source, motion, control}, .y_count = voxels};
  for (int k = 0; op_affine.kernels[k]; k++) {
    struct attempt attempt = {.kernel = op_affine.kernels[k], .threads = 1, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    for (int i = first; i < end; i++)
      CHECK_SAY(fabs(outcome.y[i] - START - i - expected(i)) <= 1e-4,
                " (%s, voxel %d: moved by %g, expected %g)", attempt.kernel->name, i,
                outcome.y[i] - START - i, expected(i));
    outcome_free(&outcome);
  }
}

static double constant(int voxel) {
  (void)voxel;
  return 7.25;
}
static double slope(int voxel) {
  return 0.5 * voxel - 3;
}
static double bell(int voxel) {
  return voxel == 4 ? 4 : voxel == 3 || voxel == 5 ? 1 : 0;
}
/* Coefficients 6 0 0 ... that go on for ever to the left. */
static double border(int voxel) {
  return voxel == 0 ? 5 : voxel == 1 ? 1 : 0;
}

TEST(deformation_is_a_cubic_spline) {
  static const double same[5] = {7.25, 7.25, 7.25, 7.25, 7.25}, one[9] = {0, 0, 0, 0, 6},
                      edge[9] = {6};
  double ramp[10];
  for (int i = 0; i < 10; i++) ramp[i] = 0.5 * ((i + 0.5) * 40 / 10 - 0.5) - 3;
  check_bend(13, 1, same, 0, 13, constant);
  check_bend(13, 5, same, 0, 13, constant);
  check_bend(40, 10, ramp, 6, 33, slope); /* as long as it sees no border */
  check_bend(9, 9, one, 0, 9, bell);
  check_bend(9, 9, edge, 0, 9, border);
}

/* Bytes, and the same values as floats, from the same places; no coefficients, no change. */
static struct outcome run_bent(enum dtype dtype, double size, const struct kernel *kernel,
                               const double *source, const double *motion) {
  static const struct affine_arguments arguments = {
      {9, 10, 70}, AFFINE_NEAREST, AFFINE_ZERO, AFFINE_NO_MASK, {0}};
  const struct op_case test = {
      .label = "bytes and floats",
      .op = &op_affine,
      .input_count = size >= 0 ? 3 : 2,
      .x = {{1, 2, 8, 9, 40}, {1, AFFINE_MOTION, 1, 1, 1}, {1, 3, 3, 4, 5}},
      .x_dtype = {dtype},
      .no_gradient = {true, true, true},
      .arguments = &arguments,
      .argument_bytes = sizeof arguments};
  double control[180];
  for (int i = 0; i < 180; i++) control[i] = size * sin(i * 2.7);
  const struct trial trial = {.test = &test,
                              .value = {(double *)source, (double *)motion, control},
                              .y_count = 2 * 9 * 10 * 70};
  const struct attempt attempt = {.kernel = kernel, .threads = 1, .only = -1};
  return attempt_run(&trial, &attempt);
}

TEST(bytes_and_images_move_together) {
  enum { VALUES = 2 * 8 * 9 * 40, OUT = 2 * 9 * 10 * 70 };
  double source[VALUES], motion[AFFINE_MOTION] = {0.9, 0.1, -0.02, 0.3, -0.1, 0.8, 0.01, 0.2, -0.05,
                                                  0.1, 0.6, -2,    0,   0,    0,   8,    9,   40};
  for (int i = 0; i < VALUES; i++) source[i] = 1 + i % 251;
  for (int k = 0; op_affine.kernels[k]; k++) {
    const struct kernel *kernel = op_affine.kernels[k];
    if (!conformance_stream(kernel->device)) continue;
    struct outcome bytes = run_bent(DTYPE_U8, 3, kernel, source, motion);
    struct outcome floats = run_bent(DTYPE_F32, 3, kernel, source, motion);
    struct outcome straight = run_bent(DTYPE_F32, -1, kernel, source, motion);
    struct outcome flat = run_bent(DTYPE_F32, 0, kernel, source, motion);
    int differ = 0, moved = 0, zeros = 0;
    for (int i = 0; i < OUT; i++) {
      differ += bytes.y[i] != floats.y[i];
      moved += floats.y[i] != straight.y[i];
      zeros += straight.y[i] == 0;
    }
    CHECK_SAY(differ == 0 && moved > OUT / 4 && zeros < OUT / 2, " (%s: %d differ, %d moved, %d 0)",
              kernel->name, differ, moved, zeros);
    CHECK(flat.bits == straight.bits);
    outcome_free(&bytes);
    outcome_free(&floats);
    outcome_free(&straight);
    outcome_free(&flat);
  }
}

/* Mean, variance and correlation of neighbours and channels of noise alone; another key, other
 * numbers. */
TEST(noise_is_normal) {
  static const struct affine_arguments arguments = {
      {20, 40, 50}, AFFINE_LINEAR, AFFINE_NOISE, AFFINE_NO_MASK, {0}};
  static const struct op_case test = {.label = "noise",
                                      .op = &op_affine,
                                      .input_count = 2,
                                      .x = {{2, 2, 1, 1, 1}, {2, AFFINE_MOTION, 1, 1, 1}},
                                      .no_gradient = {true, true},
                                      .arguments = &arguments,
                                      .argument_bytes = sizeof arguments};
  enum { VOXELS = 20 * 40 * 50 };
  double source[4] = {0}, motion[2 * AFFINE_MOTION] = {0};
  for (int n = 0; n < 2; n++) {
    motion[n * AFFINE_MOTION + 18] = 5 + n;
    motion[n * AFFINE_MOTION + 20] = 3;
    motion[n * AFFINE_MOTION + 21] = 2;
  }
  const struct trial trial = {.test = &test, .value = {source, motion}, .y_count = 4 * VOXELS};
  struct attempt attempt = {.kernel = op_affine.kernels[0], .threads = 1, .only = -1};
  for (int k = 0; !attempt_fits(&test, &attempt); k++) attempt.kernel = op_affine.kernels[k + 1];
  struct outcome outcome = attempt_run(&trial, &attempt);
  double sum = 0, square = 0, fourth = 0, next = 0, across = 0, between = 0;
  for (int i = 0; i < VOXELS - 1; i++) {
    double z = (outcome.y[i] - 3) / 2;
    sum += z;
    square += z * z;
    fourth += z * z * z * z;
    next += z * (outcome.y[i + 1] - 3) / 2;
    across += z * (outcome.y[VOXELS + i] - 3) / 2;
    between += z * (outcome.y[2 * VOXELS + i] - 3) / 2;
  }
  const double limit = 5 / sqrt(VOXELS); /* five deviations */
  CHECK_SAY(fabs(sum / VOXELS) < limit, " (mean %g)", sum / VOXELS);
  CHECK_SAY(fabs(square / VOXELS - 1) < 1.5 * limit, " (variance %g)", square / VOXELS);
  CHECK_SAY(fabs(fourth / VOXELS - 3) < 10 * limit, " (fourth moment %g)", fourth / VOXELS);
  CHECK_SAY(fabs(next / VOXELS) < limit, " (neighbours: %g)", next / VOXELS);
  CHECK_SAY(fabs(across / VOXELS) < limit, " (channels: %g)", across / VOXELS);
  CHECK_SAY(fabs(between / VOXELS) < limit, " (keys: %g)", between / VOXELS);
  outcome_free(&outcome);
}

TEST(refuses_what_does_not_fit) {
  struct op_case bad = cases[0];
  bad.no_gradient[0] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x[1].c = 22;
  conformance_refuses(&bad, "expected a motion of 2 x 32 x 1 x 1 x 1, found 2 x 22");
  bad = bent[0];
  bad.x[2].c = 2;
  conformance_refuses(&bad, "expected coefficients of 2 x 3 channels, found 2 x 2");
  bad = bent[0];
  bad.x_dtype[2] = DTYPE_U8;
  conformance_refuses(&bad, "expected coefficients of float32, found uint8");
  bad = bent[0];
  bad.no_gradient[2] = false;
  conformance_refuses(&bad, "has no gradient");
  bad = cases[0];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "bytes are resampled to the nearest only");
  bad = cases[4];
  bad.x_dtype[0] = DTYPE_U8;
  conformance_refuses(&bad, "bytes cannot be filled with noise");
  bad = cases[1];
  struct affine_arguments arguments = *(const struct affine_arguments *)bad.arguments;
  bad.arguments = &arguments;
  arguments.radius[2] = 0;
  conformance_refuses(&bad, "found 0 on axis 2");
}

int main(void) {
  RUN(kernels_agree);
  RUN(outside_is_what_fill_says);
  RUN(mask_keeps_its_surface);
  RUN(deformation_is_a_cubic_spline);
  RUN(bytes_and_images_move_together);
  RUN(noise_is_normal);
  RUN(refuses_what_does_not_fit);
  return check_result();
}
