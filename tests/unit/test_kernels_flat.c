/* The operators over flat blocks on the CPU: against float64, the same bits from every kernel,
 * wherever an element lies and for any number of threads. */
#include <omp.h>
#include "flat_blocks.h"

static struct device device;
static struct stream stream = {.device = &device};
static float array[ARRAYS][COUNT], other[ARRAYS][COUNT];

/* The formula of torch.optim.Adam and AdamW, in float64. */
static void adam_exactly(const struct adam_step *s, double *w, double g, double *m, double *v) {
  g *= s->gradient_scale;
  if (s->decoupled)
    *w *= 1 - s->learning_rate * s->weight_decay;
  else
    g += s->weight_decay * *w;
  *m = s->beta1 * *m + (1 - s->beta1) * g;
  *v = s->beta2 * *v + (1 - s->beta2) * g * g;
  double mean = *m / (1 - pow(s->beta1, (double)s->step));
  double square = *v / (1 - pow(s->beta2, (double)s->step));
  *w -= s->learning_rate * mean / (sqrt(square) + s->epsilon);
}

/* The formula of torch.optim.SGD, in float64. */
static void sgd_exactly(const struct sgd_step *s, double *w, double g, double *velocity) {
  g = g * s->gradient_scale + s->weight_decay * *w;
  *velocity = s->momentum * *velocity + g;
  *w -= s->learning_rate * (s->nesterov ? g + s->momentum * *velocity : *velocity);
}

static double worst_distance(const double *exact, double rate) {
  double worst = 0;
  for (int i = 0; i < COUNT; i++)
    worst = fmax(worst, fabs(array[W][i] - exact[i]) / (fabs(exact[i]) + rate));
  return worst;
}

static void check_adam(struct adam_step step) {
  static double w[COUNT], m[COUNT], v[COUNT];
  fill_blocks(array);
  for (int i = 0; i < COUNT; i++) w[i] = array[W][i], m[i] = v[i] = 0;
  for (step.step = 1; step.step <= STEPS; step.step++) {
    CHECK_OK(adam_update(&step, &stream, array[W], array[G], array[M], array[V], COUNT));
    for (int i = 0; i < COUNT; i++) adam_exactly(&step, &w[i], array[G][i], &m[i], &v[i]);
  }
  CHECK(worst_distance(w, step.learning_rate) < 2e-6);
}

static void check_sgd(const struct sgd_step *step) {
  static double w[COUNT], velocity[COUNT];
  fill_blocks(array);
  for (int i = 0; i < COUNT; i++) w[i] = array[W][i], velocity[i] = 0;
  for (int k = 0; k < STEPS; k++) {
    float *state = step->momentum > 0 ? array[M] : NULL;
    CHECK_OK(sgd_update(step, &stream, array[W], array[G], state, COUNT));
    for (int i = 0; i < COUNT; i++) sgd_exactly(step, &w[i], array[G][i], &velocity[i]);
  }
  CHECK(worst_distance(w, 1) < 2e-6); /* gradients of hundreds: weights cross zero */
}

TEST(steps_follow_the_formulas) {
  for (int i = 0; i < 2; i++) check_adam(adam_steps[i]);
  for (int i = 0; i < 3; i++) check_sgd(&sgd_steps[i]);
}

/* From a = 0 towards w = 1 the average after n updates is 1 - decay^n. */
TEST(averages_follow_the_weights) {
  float average[4] = {0, 2, -1, 1}, w[4] = {1, 1, 1, 1};
  double gap[4] = {1, -1, 2, 0};
  for (int n = 0; n < 10; n++) CHECK_OK(ema_update(&stream, average, w, 4, 0.9));
  for (int i = 0; i < 4; i++) CHECK_NEAR(average[i], 1 - gap[i] * pow(0.9, 10), 1e-6);
  CHECK(average[3] == 1);
}

/* adam_kernels and the like: whether a kernel is the CPU's and this processor's. */
#define USABLE(kernel) ((kernel)->device == DEVICE_CPU && (kernel)->applies())

TEST(every_instruction_set_gives_the_same_bits) {
  for (int i = 0; adam_kernels[i]; i++) {
    if (!USABLE(adam_kernels[i])) continue;
    fill_blocks(array);
    fill_blocks(other);
    for (int s = 0; s < 2; s++) {
      CHECK_OK(adam_update(&adam_steps[s], &stream, array[W], array[G], array[M], array[V], COUNT));
      CHECK_OK(adam_kernels[i]->update(&adam_steps[s], &stream, other[W], other[G], other[M],
                                       other[V], COUNT));
    }
    CHECK_SAY(memcmp(array, other, sizeof array) == 0, " (%s)", adam_kernels[i]->name);
  }
  for (int i = 0; sgd_kernels[i]; i++) {
    if (!USABLE(sgd_kernels[i])) continue;
    for (int s = 0; s < 3; s++) {
      CHECK_OK(sgd_update(&sgd_steps[s], &stream, array[W], array[G], s ? array[M] : NULL, COUNT));
      CHECK_OK(sgd_kernels[i]->update(&sgd_steps[s], &stream, other[W], other[G],
                                      s ? other[M] : NULL, COUNT));
    }
    CHECK_SAY(memcmp(array, other, sizeof array) == 0, " (%s)", sgd_kernels[i]->name);
  }
  for (int i = 0; ema_kernels[i]; i++) {
    if (!USABLE(ema_kernels[i])) continue;
    CHECK_OK(ema_update(&stream, array[V], array[W], COUNT, 0.99));
    CHECK_OK(ema_kernels[i]->update(&stream, other[V], other[W], COUNT, 0.99));
    CHECK_SAY(memcmp(array, other, sizeof array) == 0, " (%s)", ema_kernels[i]->name);
  }
}

static void step_all(float of[ARRAYS][COUNT], int from, int end) {
  float *w = of[W] + from, *g = of[G] + from, *m = of[M] + from, *v = of[V] + from;
  CHECK_OK(adam_update(&adam_steps[0], &stream, w, g, m, v, end - from));
  CHECK_OK(sgd_update(&sgd_steps[0], &stream, w, g, NULL, end - from));
  CHECK_OK(sgd_update(&sgd_steps[2], &stream, w, g, m, end - from));
  CHECK_OK(ema_update(&stream, v, w, end - from, 0.99));
}

TEST(the_bits_are_the_same_for_any_cut_and_threads) {
  const int cuts[] = {0, 1, 17, 16384 + 5, COUNT};
  fill_blocks(array);
  fill_blocks(other);
  omp_set_num_threads(1);
  step_all(array, 0, COUNT);
  omp_set_num_threads(3);
  for (int k = 0; k < 4; k++) step_all(other, cuts[k], cuts[k + 1]);
  CHECK(memcmp(array, other, sizeof array) == 0);
  step_all(array, 5, 5);
  CHECK(memcmp(array, other, sizeof array) == 0);
}

static double norm_squared(const float *g, int64_t count) {
  struct grad_norm state;
  double squared = -1;
  CHECK_OK(grad_norm_open(&state, &device, count));
  CHECK_OK(grad_norm_squared(&state, &stream, g, count, &squared));
  grad_norm_close(&state);
  return squared;
}

TEST(the_norm_is_exact_to_rounding) {
  const int counts[] = {0, 1, 15, 16, 4096, 4097, COUNT};
  fill_blocks(array);
  for (int c = 0; c < 7; c++) {
    long double sum = 0;
    for (int i = 0; i < counts[c]; i++) sum += (long double)array[G][i] * array[G][i];
    CHECK_NEAR(norm_squared(array[G], counts[c]), sum, 1e-14 * (double)sum);
  }
}

TEST(the_norm_has_the_same_bits_on_every_processor_and_for_any_threads) {
  double partial[COUNT / GRAD_NORM_BLOCK + 1];
  fill_blocks(array);
  omp_set_num_threads(1);
  double one = norm_squared(array[G], COUNT);
  omp_set_num_threads(3);
  CHECK(norm_squared(array[G], COUNT) == one);
  for (int i = 0; grad_norm_kernels[i]; i++) {
    if (!USABLE(grad_norm_kernels[i])) continue;
    CHECK_OK(grad_norm_kernels[i]->sum(&stream, array[G], COUNT, partial));
    CHECK_SAY(partial[0] == one, " (%s)", grad_norm_kernels[i]->name);
  }
}

/* Many blocks: ones add up exactly. */
TEST(the_norm_of_a_large_block) {
  int64_t count = 3 * 1024 * GRAD_NORM_BLOCK + 12345;
  float *g = malloc((size_t)count * sizeof *g);
  if (!g) abort();
  for (int64_t i = 0; i < count; i++) g[i] = i % 2 ? 1 : -1;
  CHECK(norm_squared(g, count) == (double)count);
  free(g);
}

TEST(the_norm_passes_on_what_is_not_finite) {
  fill_blocks(array);
  array[G][COUNT - 1] = INFINITY;
  CHECK(isinf(norm_squared(array[G], COUNT)));
  array[G][5] = NAN;
  CHECK(isnan(norm_squared(array[G], COUNT)));
  array[G][COUNT - 1] = array[G][5] = 3e38f; /* the square does not fit a float */
  CHECK(isfinite(norm_squared(array[G], COUNT)));
}

TEST(the_norm_refuses_more_than_it_was_opened_for) {
  struct grad_norm state;
  double squared;
  CHECK_OK(grad_norm_open(&state, &device, 10));
  CHECK_FAILS(grad_norm_squared(&state, &stream, array[G], 11, &squared), "at most 10");
  grad_norm_close(&state);
  grad_norm_close(&state);
}

int main(void) {
  CHECK_OK(device_open(&device, "cpu", 0, 1, false, 1));
  RUN(steps_follow_the_formulas);
  RUN(averages_follow_the_weights);
  RUN(every_instruction_set_gives_the_same_bits);
  RUN(the_bits_are_the_same_for_any_cut_and_threads);
  RUN(the_norm_is_exact_to_rounding);
  RUN(the_norm_has_the_same_bits_on_every_processor_and_for_any_threads);
  RUN(the_norm_of_a_large_block);
  RUN(the_norm_passes_on_what_is_not_finite);
  RUN(the_norm_refuses_more_than_it_was_opened_for);
  device_close(&device);
  return check_result();
}
