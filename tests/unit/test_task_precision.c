/* Mixed precision on the CPU: a registration network with activations of 16 bits is near the one in
 * float32, in less memory, with the same bits for any number of threads. */
#include "task_golden.h"
#include <omp.h>

#define SMALL "model.encoder=[4,8]", "model.decoder=[8,8]", "model.final=[8,4,4]"

/* bfloat16 has 8 significant bits, float16 11. */
static const double BF16_LIMIT = 0.02, F16_LIMIT = 0.005;

/* What one forward and backward leaves. */
struct result {
  float *gradients, *displacement;
  int64_t parameters, elements;
  double losses[4];
  size_t arena_bytes;
};

static float *copy_of(const float *values, int64_t count) {
  float *copy = malloc((size_t)count * sizeof *copy);
  if (!copy) abort();
  return memcpy(copy, values, (size_t)count * sizeof *copy);
}

static struct result run_once(const struct golden_run *golden_run, int threads) {
  static struct trial trial;
  const struct tensor *tensor;
  const void *displacement;
  golden_open(&golden, golden_run->file);
  open_trial(&trial, golden_run);
  omp_set_num_threads(threads);
  CHECK_OK(run_forward(&trial.run));
  CHECK_OK(run_value(&trial.run, "displacement", &tensor, &displacement));
  struct result result = {.parameters = trial.plan.parameter_elements,
                          .elements = tensor_elements(tensor),
                          .arena_bytes = trial.plan.arena_bytes};
  CHECK(tensor->dtype == DTYPE_F32);
  result.displacement = copy_of(displacement, result.elements);
  CHECK_OK(run_backward(&trial.run, 1, NULL));
  result.gradients = copy_of(trial.gradients, result.parameters);
  read_losses(&trial, result.losses);
  close_trial(&trial);
  golden_close(&golden);
  return result;
}

static void result_free(struct result *result) {
  free(result->gradients);
  free(result->displacement);
}

static void check_near(const struct result *result, const struct result *exact, double limit) {
  double gradients = golden_distance(result->gradients, exact->gradients, exact->parameters);
  double field = golden_distance(result->displacement, exact->displacement, exact->elements);
  CHECK_SAY(gradients <= limit, " (gradients off by %.2g)", gradients);
  CHECK_SAY(field <= limit, " (displacement off by %.2g)", field);
  CHECK(gradients > 1e-5 && field > 1e-5); /* something was rounded */
  for (int t = 0; t < 4; t++)
    CHECK_NEAR(result->losses[t], exact->losses[t], limit * fabs(exact->losses[t]));
}

static void check_same_bits(const struct result *a, const struct result *b) {
  CHECK(!memcmp(a->gradients, b->gradients, (size_t)a->parameters * sizeof(float)));
  CHECK(!memcmp(a->displacement, b->displacement, (size_t)a->elements * sizeof(float)));
  CHECK(!memcmp(a->losses, b->losses, sizeof a->losses));
}

static void check_precision(enum dtype dtype, double limit) {
  struct golden_run run = {"vxm_mse_bidir", {SMALL, BIDIR}, true, DTYPE_F32};
  struct result exact = run_once(&run, 1);
  run.activation = dtype;
  struct result first = run_once(&run, 1);
  check_near(&first, &exact, limit);
  for (int threads = 1; threads <= 3; threads++) {
    struct result again = run_once(&run, threads);
    check_same_bits(&again, &first);
    result_free(&again);
  }
  result_free(&first);
  result_free(&exact);
}

TEST(bfloat16_is_near_float32) {
  check_precision(DTYPE_BF16, BF16_LIMIT);
}

TEST(float16_is_near_float32) {
  check_precision(DTYPE_F16, F16_LIMIT);
}

/* Of training the default network on volumes of 96 x 32 x 32. */
static size_t arena_bytes_of(enum dtype activation) {
  struct config config;
  struct graph graph;
  struct plan plan;
  const struct plan_options options = {.training = true};
  CHECK_OK(config_defaults(&config));
  struct task_run task = {.config = &config, .dataset.classes = CLASSES, .atlas = -1};
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  graph_set_activation(&graph, activation);
  CHECK_OK(registration_build(&task, &config, PURPOSE_TRAINING, 1, (int[3]){96, 32, 32}, &graph));
  CHECK_OK(plan_make(&plan, &graph, &options));
  size_t bytes = plan.arena_bytes;
  plan_close(&plan);
  graph_close(&graph);
  config_close(&config);
  return bytes;
}

/* The workspace of the conversions counts. */
TEST(activations_of_16_bits_take_less_memory) {
  const enum dtype narrow[] = {DTYPE_BF16, DTYPE_F16};
  size_t wide = arena_bytes_of(DTYPE_F32);
  for (int i = 0; i < 2; i++) {
    size_t bytes = arena_bytes_of(narrow[i]);
    CHECK_SAY(bytes < wide - wide / 8, " (%zu bytes in %s, in float32 %zu)", bytes,
              dtype_name(narrow[i]), wide);
  }
}

int main(void) {
  RUN(bfloat16_is_near_float32);
  RUN(float16_is_near_float32);
  RUN(activations_of_16_bits_take_less_memory);
  return check_result();
}
