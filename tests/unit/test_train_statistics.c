/* A step moves running statistics as PyTorch's batch norm does; prediction uses them. The numbers
 * are torch.nn.BatchNorm1d's of PyTorch 2.15. */
#include <math.h>
#include "check.h"
#include "graph/run.h"
#include "model/blocks.h"
#include "optim/statistics.h"

enum { VALUES = 8 };
static const double MOMENTUM = 0.1;

static const float batches[2][VALUES] = {{1, 2, 4, 8, 3, 5, -1, 0.5F}, {0, -2, 1, 7, 2, 2, 6, -4}};
static const float target[VALUES];

/* A batch norm with a loss behind it, on two samples of four voxels. */
struct layer {
  struct graph graph;
  struct plan plan;
  struct run run;
  struct device device;
  float *weights, *gradients;
};

static void build(struct graph *graph, bool training) {
  const struct block_norm norm = {
      .kind = "batch", .affine = true, .running = !training, .epsilon = 1e-5, .slope = 1};
  const struct shape shape = {2, 1, 1, 2, 2};
  int inputs[2], loss;
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(graph, "x", shape, DTYPE_F32, false, &inputs[0]));
  CHECK_OK(graph_input(graph, "target", shape, DTYPE_F32, false, &inputs[1]));
  CHECK_OK(block_normalise(graph, "norm", inputs[0], &norm, -1, &inputs[0]));
  CHECK_OK(graph_output(graph, "y", inputs[0]));
  CHECK_OK(graph_add(graph, "loss_mse", "loss", NULL, 0, inputs, 2, &loss));
  CHECK_OK(graph_loss(graph, loss, 1));
}

static void layer_open(struct layer *layer, bool training, float *weights) {
  const struct plan_options options = {.training = training};
  *layer = (struct layer){.weights = weights};
  build(&layer->graph, training);
  CHECK_OK(plan_make(&layer->plan, &layer->graph, &options));
  if (check_failures) exit(check_result());
  size_t elements = (size_t)layer->plan.parameter_elements;
  layer->gradients = calloc(elements, sizeof(float));
  if (!weights) layer->weights = calloc(elements, sizeof(float));
  if (!layer->gradients || !layer->weights) abort();
  if (!weights) plan_initialize(&layer->plan, 1, layer->weights);
  CHECK_OK(device_open(&layer->device, "cpu", 0, 1, false, 1));
  CHECK_OK(run_open(&layer->run, &layer->plan, &layer->device, NULL, layer->weights,
                    training ? layer->gradients : NULL));
  CHECK_OK(run_bind(&layer->run, "target", target));
}

static void layer_close(struct layer *layer, bool weights) {
  run_close(&layer->run);
  device_close(&layer->device);
  plan_close(&layer->plan);
  graph_close(&layer->graph);
  free(layer->gradients);
  if (weights) free(layer->weights);
}

/* What a slot with this batch measures is added to `sum`. */
static void measure(struct layer *layer, const float *batch, float *sum) {
  CHECK_OK(run_bind(&layer->run, "x", batch));
  CHECK_OK(run_forward(&layer->run));
  CHECK_OK(run_backward(&layer->run, 65536, NULL)); /* a loss scale changes no statistics */
  for (int64_t i = layer->plan.trained_elements; i < layer->plan.parameter_elements; i++)
    sum[i - layer->plan.trained_elements] += layer->gradients[i];
}

static void move(struct layer *layer, const float *sum, int slots) {
  const struct plan *plan = &layer->plan;
  CHECK_OK(statistics_update(&layer->run.stream, layer->weights + plan->trained_elements, sum,
                             plan->parameter_elements - plan->trained_elements, slots, MOMENTUM));
}

static double statistic(const struct layer *layer, const char *name) {
  const struct plan_parameter *found = plan_find_parameter(&layer->plan, name);
  CHECK(found && found->parameter.statistic);
  return found ? (double)layer->weights[found->offset] : NAN;
}

TEST(two_steps_of_one_slot) {
  struct layer layer;
  layer_open(&layer, true, NULL);
  CHECK(statistic(&layer, "norm.running_mean") == 0);
  CHECK(statistic(&layer, "norm.running_var") == 1);
  for (int step = 0; step < 2; step++) {
    float sum[64] = {0};
    measure(&layer, batches[step], sum);
    move(&layer, sum, 1);
  }
  CHECK_NEAR(statistic(&layer, "norm.running_mean"), 0.40312498807907104, 1e-6);
  CHECK_NEAR(statistic(&layer, "norm.running_var"), 2.913883924484253, 1e-6);
  layer_close(&layer, true);
}

TEST(one_step_of_two_slots_moves_towards_their_mean) {
  struct layer layer;
  float sum[64] = {0};
  layer_open(&layer, true, NULL);
  for (int slot = 0; slot < 2; slot++) measure(&layer, batches[slot], sum);
  move(&layer, sum, 2);
  CHECK_NEAR(statistic(&layer, "norm.running_mean"), 0.215625, 1e-6);
  CHECK_NEAR(statistic(&layer, "norm.running_var"), 1.9926339149475099, 1e-6);
  layer_close(&layer, true);
}

TEST(prediction_uses_them) {
  struct layer layer, predicting;
  float sum[64] = {0};
  const void *y;
  layer_open(&layer, true, NULL);
  measure(&layer, batches[0], sum);
  move(&layer, sum, 1);
  layer_open(&predicting, false, layer.weights);
  CHECK(predicting.plan.parameter_elements == layer.plan.parameter_elements);
  CHECK_OK(run_bind(&predicting.run, "x", batches[1]));
  CHECK_OK(run_forward(&predicting.run));
  CHECK_OK(run_value(&predicting.run, "y", NULL, &y));
  double mean = statistic(&layer, "norm.running_mean");
  double deviation = sqrt(statistic(&layer, "norm.running_var") + 1e-5);
  for (int i = 0; i < VALUES; i++)
    CHECK_NEAR(((const float *)y)[i], ((double)batches[1][i] - mean) / deviation, 1e-6);
  layer_close(&predicting, false);
  layer_close(&layer, true);
}

/* Without a batch norm there is nothing to move. */
TEST(no_statistics) {
  struct device device;
  struct stream stream;
  CHECK_OK(device_open(&device, "cpu", 0, 1, false, 1));
  CHECK_OK(device.ops->stream_open(&device, &stream));
  CHECK_OK(statistics_update(&stream, NULL, NULL, 0, 1, MOMENTUM));
  device.ops->stream_close(&stream);
  device_close(&device);
}

TEST(an_unknown_norm_is_refused) {
  const struct block_norm norm = {.kind = "layer", .epsilon = 1e-5, .slope = 1};
  struct graph graph;
  int x, y;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(&graph, "x", (struct shape){1, 2, 1, 2, 2}, DTYPE_F32, false, &x));
  CHECK_FAILS(block_normalise(&graph, "norm", x, &norm, -1, &y), "found \"layer\"");
  graph_close(&graph);
}

/* With a residual, "none" computes what the operators add and leaky_relu do. */
TEST(no_norm_is_the_sum_and_the_activation) {
  const struct block_norm norm = {.kind = "none", .slope = 0};
  const struct plan_options options = {0};
  struct layer layer = {0};
  int x, residual, y;
  const void *found;
  graph_open(&layer.graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(&layer.graph, "x", (struct shape){2, 1, 1, 2, 2}, DTYPE_F32, false, &x));
  CHECK_OK(
      graph_input(&layer.graph, "r", (struct shape){2, 1, 1, 2, 2}, DTYPE_F32, false, &residual));
  CHECK_OK(block_normalise(&layer.graph, "end", x, &norm, residual, &y));
  CHECK_OK(graph_output(&layer.graph, "y", y));
  CHECK_OK(plan_make(&layer.plan, &layer.graph, &options));
  CHECK_OK(device_open(&layer.device, "cpu", 0, 1, false, 1));
  CHECK_OK(run_open(&layer.run, &layer.plan, &layer.device, NULL, NULL, NULL));
  CHECK_OK(run_bind(&layer.run, "x", batches[0]));
  CHECK_OK(run_bind(&layer.run, "r", batches[1]));
  CHECK_OK(run_forward(&layer.run));
  CHECK_OK(run_value(&layer.run, "y", NULL, &found));
  for (int i = 0; i < VALUES; i++)
    CHECK(((const float *)found)[i] == fmaxf(batches[0][i] + batches[1][i], 0));
  layer_close(&layer, false);
}

int main(void) {
  RUN(two_steps_of_one_slot);
  RUN(one_step_of_two_slots_moves_towards_their_mean);
  RUN(prediction_uses_them);
  RUN(no_statistics);
  RUN(an_unknown_norm_is_refused);
  RUN(no_norm_is_the_sum_and_the_activation);
  return check_result();
}
