/* The Adam step and the gradient norm: every kernel against float64, the same bits wherever an
 * element lies and for any number of threads. */
#include <omp.h>
#include "base/random.h"
#include "check.h"
#include "kernels/adam/adam.h"
#include "kernels/grad_norm/blocks.h"
#include "kernels/grad_norm/grad_norm.h"

enum { COUNT = 40003, STEPS = 5, ARRAYS = 4 };

enum { W, G, M, V };

static const struct adam_step coupled = {1e-2, 0.9, 0.999, 1e-8, 0.1, false, 1, 0.5},
                              decoupled = {1e-2, 0.8, 0.99, 1e-6, 0.1, true, 1, 0.125};

/* Weights and gradients over several orders of magnitude; state zero. */
static void fill(float array[ARRAYS][COUNT]) {
  struct random random = random_stream(3, RANDOM_TEST, 0, 0);
  memset(array[M], 0, sizeof array[M]);
  memset(array[V], 0, sizeof array[V]);
  for (int i = 0; i < COUNT; i++) {
    array[W][i] = (float)random_normal(&random);
    array[G][i] = (float)(random_normal(&random) * pow(10, random_range(&random, -6, 2)));
  }
}

/* The formula of torch.optim.Adam and AdamW, in float64. */
static void step_exactly(const struct adam_step *s, double *w, double g, double *m, double *v) {
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

static void check_kernel(const struct adam_kernel *kernel, struct adam_step step) {
  static float array[ARRAYS][COUNT];
  static double w[COUNT], m[COUNT], v[COUNT];
  double worst = 0;
  fill(array);
  for (int i = 0; i < COUNT; i++) {
    w[i] = array[W][i];
    m[i] = v[i] = 0;
  }
  for (step.step = 1; step.step <= STEPS; step.step++) {
    kernel->update(&step, array[W], array[G], array[M], array[V], COUNT);
    for (int i = 0; i < COUNT; i++) step_exactly(&step, &w[i], array[G][i], &m[i], &v[i]);
  }
  for (int i = 0; i < COUNT; i++)
    worst = fmax(worst, fabs(array[W][i] - w[i]) / (fabs(w[i]) + step.learning_rate));
  CHECK_SAY(worst < 2e-6, " (%s: %g)", kernel->name, worst);
}

TEST(adam_kernels_follow_the_formula) {
  for (int i = 0; adam_kernels[i]; i++) {
    if (!adam_kernels[i]->applies()) continue;
    check_kernel(adam_kernels[i], coupled);
    check_kernel(adam_kernels[i], decoupled);
  }
  CHECK(adam_choose(DEVICE_CPU) != NULL);
}

TEST(adam_gives_the_same_bits_for_any_cut_and_threads) {
  static float whole[ARRAYS][COUNT], cut[ARRAYS][COUNT];
  const int cuts[] = {0, 1, 17, 16384 + 5, COUNT};
  fill(whole);
  fill(cut);
  omp_set_num_threads(1);
  adam_update(&coupled, whole[W], whole[G], whole[M], whole[V], COUNT);
  omp_set_num_threads(3);
  for (int k = 0; k < 4; k++) {
    int at = cuts[k];
    adam_update(&coupled, cut[W] + at, cut[G] + at, cut[M] + at, cut[V] + at, cuts[k + 1] - at);
  }
  CHECK(memcmp(whole, cut, sizeof whole) == 0);
  adam_update(&coupled, whole[W], whole[G], whole[M], whole[V], 0);
  CHECK(memcmp(whole, cut, sizeof whole) == 0);
}

TEST(the_norm_is_exact_to_rounding) {
  static float array[ARRAYS][COUNT];
  const int counts[] = {0, 1, 15, 16, 4096, 4097, COUNT};
  fill(array);
  for (int c = 0; c < 7; c++) {
    long double sum = 0;
    for (int i = 0; i < counts[c]; i++) sum += (long double)array[G][i] * array[G][i];
    CHECK_NEAR(grad_norm_squared(array[G], counts[c]), sum, 1e-14 * (double)sum);
  }
}

TEST(the_norm_has_the_same_bits_on_every_processor_and_for_any_threads) {
  static float array[ARRAYS][COUNT];
  fill(array);
  omp_set_num_threads(1);
  double one = grad_norm_squared(array[G], COUNT);
  omp_set_num_threads(3);
  CHECK(grad_norm_squared(array[G], COUNT) == one);
  for (int i = 0; grad_norm_kernels[i]; i++) {
    if (!grad_norm_kernels[i]->applies()) continue;
    CHECK(grad_norm_kernels[i]->block(array[G], 4096) == grad_norm_squared(array[G], 4096));
    CHECK(grad_norm_kernels[i]->block(array[G], 1003) == grad_norm_squared(array[G], 1003));
  }
}

/* More than one group of blocks: ones add up exactly. */
TEST(the_norm_of_a_large_block) {
  int64_t count = 3 * 1024 * GRAD_NORM_BLOCK + 12345;
  float *g = malloc((size_t)count * sizeof *g);
  if (!g) abort();
  for (int64_t i = 0; i < count; i++) g[i] = i % 2 ? 1 : -1;
  CHECK(grad_norm_squared(g, count) == (double)count);
  free(g);
}

TEST(the_norm_passes_on_what_is_not_finite) {
  static float array[ARRAYS][COUNT];
  fill(array);
  array[G][COUNT - 1] = INFINITY;
  CHECK(isinf(grad_norm_squared(array[G], COUNT)));
  array[G][5] = NAN;
  CHECK(isnan(grad_norm_squared(array[G], COUNT)));
  array[G][COUNT - 1] = array[G][5] = 3e38f; /* the square does not fit a float */
  CHECK(isfinite(grad_norm_squared(array[G], COUNT)));
}

int main(void) {
  RUN(adam_kernels_follow_the_formula);
  RUN(adam_gives_the_same_bits_for_any_cut_and_threads);
  RUN(the_norm_is_exact_to_rounding);
  RUN(the_norm_has_the_same_bits_on_every_processor_and_for_any_threads);
  RUN(the_norm_of_a_large_block);
  RUN(the_norm_passes_on_what_is_not_finite);
  return check_result();
}
