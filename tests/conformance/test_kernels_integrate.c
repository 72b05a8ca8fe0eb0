/* integrate against its reference, and against velocities whose integral is known. */
#include "conformance.h"
#include "kernels/integrate/integrate.h"

extern const struct op op_integrate;

static const struct integrate_arguments none = {0, false}, one = {1, false}, inverse = {1, true},
                                        seven = {7, false}, seven_back = {7, true};

/* Smooth velocities of some voxels, so that no displacement lands on a cell's border. */
static void fill_waves(int input, const struct shape *s, double *values) {
  (void)input;
  for (int64_t i = 0; i < logical_count(s); i++) {
    int64_t w = i % s->w, h = i / s->w % s->h, d = i / s->w / s->h % s->d, c = i / shape_voxels(*s);
    values[i] = 2.1 * sin(0.61 * (double)d + 1.7 * (double)c + 0.13) +
                1.3 * cos(0.43 * (double)h - 0.9 * (double)c) + 0.9 * sin(0.77 * (double)w + 0.4);
  }
}

/* Less than a voxel in all. */
static void fill_small(int input, const struct shape *s, double *values) {
  fill_waves(input, s, values);
  for (int64_t i = 0; i < logical_count(s); i++) values[i] *= 0.15;
}

/* Less than a voxel, all voxels of a row to one side along d and h. */
static void fill_rows(int input, const struct shape *s, double *values) {
  (void)input;
  for (int64_t i = 0; i < logical_count(s); i++) {
    int64_t w = i % s->w, h = i / s->w % s->h, d = i / s->w / s->h % s->d, c = i / shape_voxels(*s);
    int64_t side = c == 0 ? d + h / 2 : c == 1 ? d / 2 + h : d + h + w / 5;
    values[i] =
        (0.3 + 0.07 * sin(0.4 * (double)(w + c) + 0.9 * (double)(h - d))) * (side % 2 ? -1 : 1);
  }
}

/* Far out of the volume, and back. */
static void fill_large(int input, const struct shape *s, double *values) {
  fill_waves(input, s, values);
  for (int64_t i = 0; i < logical_count(s); i++) values[i] *= 3;
}

/* One step takes all voxels to one point between eight of them. */
static void fill_point(int input, const struct shape *s, double *values) {
  (void)input;
  for (int64_t i = 0; i < logical_count(s); i++) {
    int64_t voxel = i % shape_voxels(*s), axis = i / shape_voxels(*s) % 3;
    int64_t at[3] = {voxel / s->w / s->h, voxel / s->w % s->h, voxel % s->w};
    values[i] = 2 * (1.3 + 0.2 * (double)axis - (double)at[axis]);
  }
}

#define INTEGRATE(text, integrate, values, ...)                                     \
  {                                                                                 \
    .label = text, .op = &op_integrate, .input_count = 1, .x = {__VA_ARGS__},       \
    .arguments = &(integrate), .argument_bytes = sizeof(integrate), .fill = values, \
    .tolerance = 3e-6                                                               \
  }

static const struct op_case cases[] = {
    INTEGRATE("no steps", none, NULL, {2, 3, 3, 4, 5}),
    INTEGRATE("one step", one, fill_waves, {1, 3, 6, 7, 5}),
    INTEGRATE("one step, negated", inverse, fill_waves, {2, 3, 6, 7, 5}),
    INTEGRATE("seven steps", seven, fill_waves, {1, 3, 9, 8, 7}),
    INTEGRATE("seven steps, negated, two samples", seven_back, fill_waves, {2, 3, 7, 6, 8}),
    INTEGRATE("long rows", seven, fill_waves, {1, 3, 3, 2, 70}),
    INTEGRATE("many slabs", one, fill_waves, {1, 3, 40, 3, 4}),
    INTEGRATE("mostly outside", one, fill_large, {1, 3, 8, 7, 6}),
    INTEGRATE("all to one point", one, fill_point, {2, 3, 5, 6, 19}),
    INTEGRATE("one slice", seven, fill_waves, {1, 3, 1, 8, 9}),
    INTEGRATE("less than a voxel, long rows", seven, fill_small, {2, 3, 4, 5, 53}),
    INTEGRATE("less than a voxel, whole vectors", seven_back, fill_small, {1, 3, 3, 4, 48}),
    INTEGRATE("rows to one side", seven, fill_rows, {2, 3, 6, 7, 53}),
    INTEGRATE("rows to one side, whole vectors", seven_back, fill_rows, {1, 3, 5, 4, 64}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

/* A contraction v = rate (p - centre) along all axes: `steps` squarings give exactly
 * ((1 + rate/2^steps)^(2^steps) - 1)(p - centre), close to the flow's exp(rate) - 1. */
static void check_contraction(const struct kernel *kernel, const struct integrate_arguments *a) {
  enum { EXTENT = 9 };
  const double rate = a->negate ? 0.5 : -0.5;
  struct op_case test = {.label = "contraction",
                         .op = &op_integrate,
                         .input_count = 1,
                         .x = {{1, 3, EXTENT, EXTENT, EXTENT}},
                         .arguments = a,
                         .argument_bytes = sizeof *a};
  struct trial trial = {.test = &test, .y_count = logical_count(&test.x[0])};
  struct attempt attempt = {.kernel = kernel, .threads = 1, .only = -1};
  trial.value[0] = conformance_doubles(trial.y_count);
  trial.count[0] = trial.y_count;
  for (int pass = 0; pass < 2; pass++) {
    struct outcome outcome = {0};
    if (pass) outcome = attempt_run(&trial, &attempt);
    double factor = pow(1 - 0.5 / (1 << a->steps), 1 << a->steps) - 1;
    for (int64_t i = 0; i < trial.y_count; i++) {
      int64_t axis = i / (EXTENT * EXTENT * EXTENT), at = i;
      for (int64_t k = axis; k < 2; k++) at /= EXTENT;
      double from_centre = (double)(at % EXTENT) - EXTENT / 2;
      if (pass)
        CHECK_NEAR(outcome.y[i], factor * from_centre, 2e-5);
      else
        trial.value[0][i] = rate * from_centre;
    }
    outcome_free(&outcome);
  }
  free(trial.value[0]);
}

TEST(contractions_are_integrated) {
  CHECK_NEAR(pow(1 - 0.5 / 128, 128), exp(-0.5), 1e-3);
  for (int k = 0; op_integrate.kernels[k]; k++) {
    const struct kernel *kernel = op_integrate.kernels[k];
    if (!attempt_fits(&cases[0], &(struct attempt){.kernel = kernel, .only = -1})) continue;
    check_contraction(kernel, &seven);
    check_contraction(kernel, &seven_back);
    check_contraction(kernel, &one);
  }
}

TEST(shows_gradients_that_are_no_numbers) {
  struct op_case test = INTEGRATE("no number", seven, fill_waves, {1, 3, 5, 4, 6});
  struct trial trial;
  if (!trial_open(&trial, &test, 0)) return;
  trial.dy[2 * 5 * 4 * 6 + 60] = NAN;
  for (int k = 0; op_integrate.kernels[k]; k++) {
    struct attempt attempt = {
        .kernel = op_integrate.kernels[k], .threads = 1, .backward = true, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    CHECK_SAY(isnan(outcome.gradient[0][2 * 5 * 4 * 6 + 60]), " (%s: hid the gradient)",
              attempt.kernel->name);
    outcome_free(&outcome);
  }
  trial_close(&trial);
}

TEST(refuses_bad_steps_and_channels) {
  struct node node;
  struct integrate_arguments many = {31, false};
  struct op_case bad = INTEGRATE("bad", many, NULL, {1, 3, 4, 5, 6});
  CHECK_FAILS(conformance_node(&bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node),
              "0 to 30 steps, found 31");
  struct op_case flat = INTEGRATE("flat", one, NULL, {1, 2, 4, 5, 6});
  CHECK_FAILS(conformance_node(&flat, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), "3 channels, found 2");
}

int main(void) {
  RUN(kernels_agree);
  RUN(contractions_are_integrated);
  RUN(shows_gradients_that_are_no_numbers);
  RUN(refuses_bad_steps_and_channels);
  return check_result();
}
