/* Parameters that are statistics: where they lie in the flat block, and their buckets. */
#include "check.h"
#include "graph/plan.h"
#include "kernels/conv/conv.h"
#include "kernels/norm/norm.h"

static void add_conv(struct graph *graph, const char *name, int channels, int *value) {
  struct conv_arguments arguments = {
      .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = channels, .slope = 1};
  CHECK_OK(graph_add(graph, "conv", name, &arguments, sizeof arguments, value, 1, value));
}

static void add_norm(struct graph *graph, const char *name, bool affine, int *value) {
  struct norm_arguments arguments = {
      .kind = NORM_BATCH, .affine = affine, .epsilon = 1e-5, .slope = 0};
  CHECK_OK(graph_add(graph, "norm", name, &arguments, sizeof arguments, value, 1, value));
}

/* norm (only statistics) - conv - norm - conv - loss */
static void open_normalised(struct plan *plan, struct graph *graph, size_t bucket_bytes) {
  const struct shape shape = {2, 1, 2, 3, 4};
  const struct plan_options options = {.training = true, .bucket_bytes = bucket_bytes};
  int value, inputs[2], loss;
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(graph, "image", shape, DTYPE_F32, false, &value));
  CHECK_OK(graph_input(graph, "target", shape, DTYPE_F32, false, &inputs[1]));
  add_norm(graph, "first", false, &value);
  add_conv(graph, "middle", 20, &value);
  add_norm(graph, "second", true, &value);
  add_conv(graph, "last", 1, &value);
  inputs[0] = value;
  CHECK_OK(graph_add(graph, "loss_mse", "mse", NULL, 0, inputs, 2, &loss));
  CHECK_OK(graph_loss(graph, loss, 1));
  CHECK_OK(plan_make(plan, graph, &options));
  if (check_failures) exit(check_result());
}

TEST(statistics_lie_behind_what_is_trained) {
  static const char *const names[] = {
      "last.weight",         "second.weight",      "second.bias",        "middle.weight",
      "second.running_mean", "second.running_var", "first.running_mean", "first.running_var"};
  struct graph graph;
  struct plan plan;
  open_normalised(&plan, &graph, 0);
  CHECK(plan.parameter_count == 8);
  for (int i = 0; i < 8; i++) {
    const struct plan_parameter *parameter = &plan.parameters[i];
    CHECK_SAY(!strcmp(parameter->name, names[i]), " (%s, expected %s)", parameter->name, names[i]);
    CHECK(parameter->parameter.statistic == (i >= 4));
    CHECK((parameter->offset >= plan.trained_elements) == (i >= 4));
    CHECK(plan.node_parameter[parameter->node * OP_MAX_PARAMETERS + parameter->index] == i);
  }
  CHECK(plan_trainable_count(&plan) == 20 + 2 * 20 + 20);
  CHECK(plan_statistic_count(&plan) == 2 * 20 + 2);
  CHECK(plan.trained_elements == 4 * 32 && plan.parameter_elements == 4 * 32 + 2 * 32 + 2 * 16);
  plan_close(&plan);
  graph_close(&graph);
}

static void check_apart(size_t bucket_bytes, int expected) {
  struct graph graph;
  struct plan plan;
  open_normalised(&plan, &graph, bucket_bytes);
  CHECK(plan.bucket_count == expected);
  int64_t next = 0;
  for (int b = 0; b < plan.bucket_count; b++) {
    const struct plan_bucket *bucket = &plan.buckets[b];
    CHECK(bucket->first == next);
    next += bucket->count;
    CHECK(next <= plan.trained_elements || bucket->first >= plan.trained_elements);
    CHECK(b == 0 || bucket->last_step >= bucket[-1].last_step);
    for (int i = 0; i < plan.parameter_count; i++) {
      const struct plan_parameter *parameter = &plan.parameters[i];
      bool inside = parameter->offset >= bucket->first && parameter->offset < next;
      CHECK(!inside || plan.backward_step[parameter->node] <= bucket->last_step);
    }
  }
  CHECK(next == plan.parameter_elements);
  CHECK(plan.buckets[plan.bucket_count - 1].last_step == plan.step_count - 1);
  plan_close(&plan);
  graph_close(&graph);
}

TEST(no_bucket_mixes_trained_parameters_and_statistics) {
  check_apart(0, 2);
  check_apart(1, 8);
  check_apart((size_t)1 << 40, 2);
}

int main(void) {
  RUN(statistics_lie_behind_what_is_trained);
  RUN(no_bucket_mixes_trained_parameters_and_statistics);
  return check_result();
}
