/* Random networks: whatever the plan decides (who shares memory, what is overwritten, what is
 * folded, who adds to whose gradient) must not change a bit, and the gradients must be right.
 * The planner was broken by hand in 31 ways, and every one is caught by a test of this room: reads
 * of forward, READS_X, READS_Y, outputs or losses forgotten in a lifetime; gradients, saved tensors
 * and workspaces too short or too small; in place in spite of a later reader; dx_add always or
 * never; backward in the order of forward; folding in spite of a second reader; wrong gaps in the
 * packer; buckets ready too early. Repeat that after a change to the planner. */
#include "graph_network.h"

enum { NETWORKS = 48 };

static bool same_bits(const void *a, const void *b, int64_t elements, enum dtype dtype) {
  return memcmp(a, b, (size_t)elements * dtype_bytes(dtype)) == 0;
}

/* Whether two runs left the same losses, output and gradient of the image. */
static void check_same_run(const struct trial *a, const struct trial *b, bool with_gradients) {
  struct run_loss first[GRAPH_MAX_LOSSES], second[GRAPH_MAX_LOSSES];
  int count = run_losses(&a->run, first, GRAPH_MAX_LOSSES);
  CHECK(count > 0);
  CHECK(run_losses(&b->run, second, GRAPH_MAX_LOSSES) == count);
  for (int i = 0; i < count; i++) CHECK(first[i].value == second[i].value);
  if (!with_gradients) return;
  CHECK(same_bits(a->gradients, b->gradients, a->plan.parameter_elements, DTYPE_F32));
  const void *one, *two;
  CHECK_OK(run_input_gradient(&a->run, "image", &one));
  CHECK_OK(run_input_gradient(&b->run, "image", &two));
  CHECK(same_bits(one, two, 2 * NETWORK_SIZE * NETWORK_SIZE * NETWORK_SIZE, DTYPE_F32));
}

static void check_same_output(const struct trial *a, const struct trial *b) {
  const struct tensor *tensor;
  const void *one, *two;
  CHECK_OK(run_value(&a->run, "middle", &tensor, &one));
  CHECK_OK(run_value(&b->run, "middle", NULL, &two));
  CHECK(same_bits(one, two, tensor_elements(tensor), tensor->dtype));
}

TEST(packing_changes_no_bit) {
  const struct plan_options apart = {.training = true, .no_reuse = true};
  const struct plan_options packed = {.training = true, .poison = true, .guard = true};
  for (uint32_t seed = 0; seed < NETWORKS; seed++) {
    struct trial a, b;
    trial_open(&a, seed, DTYPE_F32, &apart);
    trial_open(&b, seed, DTYPE_F32, &packed);
    CHECK(plan_hash(&a.plan) == plan_hash(&b.plan));
    CHECK_OK(run_forward(&a.run));
    CHECK_OK(run_forward(&b.run));
    CHECK(isfinite(trial_total(&a)));
    check_same_output(&a, &b);
    CHECK_OK(run_backward(&a.run, 1, NULL));
    CHECK_OK(run_backward(&b.run, 1, NULL));
    check_same_run(&a, &b, true);
    trial_close(&a);
    trial_close(&b);
  }
}

TEST(evaluation_repeats_the_forward_of_training) {
  const struct plan_options training = {.training = true};
  const struct plan_options evaluation = {.poison = true, .guard = true};
  for (uint32_t seed = 0; seed < NETWORKS; seed++) {
    struct trial a, b;
    trial_open(&a, seed, DTYPE_F32, &training);
    trial_open(&b, seed, DTYPE_F32, &evaluation);
    CHECK(a.plan.parameter_elements == b.plan.parameter_elements);
    CHECK(b.plan.arena_bytes <= a.plan.arena_bytes + 64 * (size_t)b.plan.tenant_count);
    CHECK_OK(run_forward(&a.run));
    CHECK_OK(run_forward(&b.run));
    check_same_output(&a, &b);
    check_same_run(&a, &b, false);
    trial_close(&a);
    trial_close(&b);
  }
}

/* norm(a - b) / norm(b) */
static double relative_distance(const struct trial *a, const struct trial *b) {
  double difference = 0, norm = 0;
  bool wide = a->network.graph.dtype == DTYPE_F64;
  for (int64_t i = 0; i < a->plan.parameter_elements; i++) {
    double x = wide ? ((double *)a->gradients)[i] : (double)((float *)a->gradients)[i];
    double y = wide ? ((double *)b->gradients)[i] : (double)((float *)b->gradients)[i];
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return sqrt(difference / norm);
}

/* Returns how many nodes were folded. */
static int compare_folding(uint32_t seed, enum dtype dtype, double tolerance) {
  const struct plan_options folded = {.training = true, .poison = true};
  const struct plan_options unfolded = {.training = true, .poison = true, .no_folding = true};
  struct trial a, b;
  trial_open(&a, seed, dtype, &folded);
  trial_open(&b, seed, dtype, &unfolded);
  CHECK_OK(run_forward(&a.run));
  CHECK_OK(run_forward(&b.run));
  CHECK_NEAR(trial_total(&a), trial_total(&b), tolerance * trial_total(&b));
  CHECK_OK(run_backward(&a.run, 1, NULL));
  CHECK_OK(run_backward(&b.run, 1, NULL));
  CHECK_NEAR(relative_distance(&a, &b), 0, tolerance);
  int count = b.plan.forward_step_count - a.plan.forward_step_count;
  trial_close(&a);
  trial_close(&b);
  return count;
}

TEST(folding_changes_nothing_but_rounding) {
  int folded = 0;
  for (uint32_t seed = 0; seed < NETWORKS; seed++) {
    folded += compare_folding(seed, DTYPE_F32, 1e-5);
    compare_folding(seed, DTYPE_F64, 1e-12);
  }
  printf("     %d nodes folded in %d networks\n", folded, NETWORKS);
  CHECK(folded > NETWORKS / 4);
}

static double loss_at(struct trial *trial, double *block, const double *direction, int64_t count,
                      double step) {
  for (int64_t i = 0; i < count; i++) block[i] += step * direction[i];
  CHECK_OK(run_forward(&trial->run));
  for (int64_t i = 0; i < count; i++) block[i] -= step * direction[i];
  return trial_total(trial);
}

/* The slope along a random direction against the gradient. Where the network has a kink within a
 * step, a shorter step, which is less exact, must agree. */
static void check_slope(struct trial *trial, const char *what, double *block,
                        const double *gradient, int64_t count) {
  double *direction = trial_memory(count, DTYPE_F64, 4), expected = 0, slope = NAN, step = 1e-6;
  for (int64_t i = 0; i < count; i++) expected += gradient[i] * direction[i];
  double tolerance = 1e-5 * (fabs(expected) + 0.01);
  for (; step > 1e-10 && !(fabs(slope - expected) <= tolerance); step /= 10) {
    double above = loss_at(trial, block, direction, count, step);
    double below = loss_at(trial, block, direction, count, -step);
    slope = (above - below) / (2 * step);
  }
  CHECK_SAY(fabs(slope - expected) <= tolerance, ": %s: %.12g against %.12g", what, slope,
            expected);
  free(direction);
}

TEST(gradients_are_the_slopes_of_the_loss) {
  const struct plan_options options = {.training = true, .poison = true};
  for (uint32_t seed = 0; seed < NETWORKS / 4; seed++) {
    struct trial trial;
    trial_open(&trial, seed, DTYPE_F64, &options);
    CHECK_OK(run_forward(&trial.run));
    CHECK_OK(run_backward(&trial.run, 1, NULL));
    int64_t voxels = 2 * NETWORK_SIZE * NETWORK_SIZE * NETWORK_SIZE;
    const void *gradient;
    CHECK_OK(run_input_gradient(&trial.run, "image", &gradient));
    double *of_image = malloc((size_t)voxels * sizeof *of_image);
    if (!of_image) abort();
    memcpy(of_image, gradient, (size_t)voxels * sizeof *of_image);
    check_slope(&trial, "image", trial.image, of_image, voxels);
    for (int i = 0; i < trial.plan.parameter_count; i++) {
      const struct plan_parameter *parameter = &trial.plan.parameters[i];
      if (parameter->parameter.statistic) continue;
      check_slope(&trial, parameter->name, (double *)trial.weights + parameter->offset,
                  (double *)trial.gradients + parameter->offset, parameter->count);
    }
    free(of_image);
    trial_close(&trial);
  }
}

/* Gaps stay 0 however often backward runs; the scale multiplies everything but statistics. */
TEST(backward_scales_and_leaves_gaps_alone) {
  const struct plan_options options = {.training = true};
  struct trial a, b;
  trial_open(&a, 5, DTYPE_F32, &options);
  trial_open(&b, 5, DTYPE_F32, &options);
  CHECK_OK(run_forward(&a.run));
  CHECK_OK(run_forward(&b.run));
  CHECK_OK(run_backward(&a.run, 0.25, NULL));
  CHECK_OK(run_backward(&b.run, 1, NULL));
  const float *scaled = a.gradients, *whole = b.gradients;
  int64_t next = 0, gaps = 0, different = 0;
  for (int i = 0; i < a.plan.parameter_count; i++) {
    const struct plan_parameter *parameter = &a.plan.parameters[i];
    for (; next < parameter->offset; next++, gaps++) CHECK(scaled[next] == 0);
    for (; next < parameter->offset + parameter->count; next++)
      different += scaled[next] != (parameter->parameter.statistic ? 1 : 0.25f) * whole[next];
  }
  CHECK(gaps > 0);
  CHECK(different == 0);
  trial_close(&a);
  trial_close(&b);
}

int main(void) {
  RUN(packing_changes_no_bit);
  RUN(evaluation_repeats_the_forward_of_training);
  RUN(folding_changes_nothing_but_rounding);
  RUN(gradients_are_the_slopes_of_the_loss);
  RUN(backward_scales_and_leaves_gaps_alone);
  return check_result();
}
