/* The pose network against PyTorch on the same weights and volumes: what it gives, the gradient of
 * every parameter, 20 steps of Adam, and what it then gives with the running statistics
 * (tests/golden/resnet_pose_*). */
#include "check.h"
#include "golden.h"
#include "graph/run.h"
#include "kernels/adam/adam.h"
#include "kernels/loss_pose/loss_pose.h"
#include "model/model.h"
#include "optim/statistics.h"

enum { STEPS = 20, NUMBERS = 6, SEED = 20 };

static const double OUTPUT_LIMIT = 1e-5, GRADIENT_LIMIT = 1e-4, LOSS_LIMIT = 1e-4,
                    STATE_LIMIT = 1e-3, RATE = 1e-5, MOMENTUM = 0.1;

struct golden_run {
  const char *file;
  int parameters;
  const char *overrides[6];
  double gradient_limit, loss_limit, state_limit;
};

/* Where a network of this depth is given few voxels, PyTorch's own float32 and float64 gradients
 * part by 2e-3 with coordinates (a ReLU at its corner), and training then goes two ways. */
#define SMALL "model.features=[4,6]", "model.blocks=[1,2]", "model.hidden=5"
static const struct golden_run runs[] = {
    {"resnet_pose_small",
     5979,
     {SMALL, "model.coordinates=false"},
     GRADIENT_LIMIT,
     LOSS_LIMIT,
     STATE_LIMIT},
    {"resnet_pose_group",
     10095,
     {SMALL, "model.norm=group", "model.norm_groups=2"},
     GRADIENT_LIMIT,
     LOSS_LIMIT,
     STATE_LIMIT},
    {"resnet_pose_full",
     2095702,
     {"model.coordinates=false"},
     GRADIENT_LIMIT,
     LOSS_LIMIT,
     STATE_LIMIT},
    {"resnet_pose_full_coordinates", 2112166, {NULL}, 5e-3, 5e-3, 0.1},
};

static struct golden golden;

struct network {
  struct graph graph;
  struct plan plan;
  struct run run;
};

static struct trial {
  struct config config;
  struct device device;
  struct network training, evaluation;
  float *weights, *gradients, *m, *v, *image, *target;
} trial;

static struct shape image_shape(void) {
  int32_t e[4];
  memcpy(e, golden_get(&golden, "extents")->data, sizeof e);
  return (struct shape){e[0], 1, e[1], e[2], e[3]};
}

static float *draw(uint32_t stream, int64_t count, double low) {
  float *values = aligned_alloc(64, ((size_t)count * sizeof(float) + 63) / 64 * 64);
  struct random random = random_stream(SEED, RANDOM_TEST, stream, 0);
  for (int64_t i = 0; i < count; i++) values[i] = (float)random_range(&random, low, 1.0);
  return values;
}

static void build(struct network *network, bool evaluation) {
  const struct loss_pose_arguments loss = {
      .kind = POSE_MSE, .rotation_range = 60, .translation_range = 25};
  struct graph *graph = &network->graph;
  struct shape shape = image_shape(), numbers = {shape.n, NUMBERS, 1, 1, 1};
  const struct model *model;
  int values[2], image, total;
  CHECK_OK(model_find("resnet_pose", &model));
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  graph->evaluation = evaluation;
  CHECK_OK(graph_input(graph, "image", shape, DTYPE_F32, false, &image));
  CHECK_OK(model->build(graph, &trial.config, "", &image, 1, &values[0]));
  CHECK_OK(graph_output(graph, "output", values[0]));
  if (!evaluation) {
    CHECK_OK(graph_input(graph, "target", numbers, DTYPE_F32, false, &values[1]));
    CHECK_OK(graph_add(graph, "loss_pose", "loss", &loss, sizeof loss, values, 2, &total));
    CHECK_OK(graph_loss(graph, total, 1));
  }
  const struct plan_options options = {.training = !evaluation};
  CHECK_OK(plan_make(&network->plan, graph, &options));
}

/* As make_resnet_pose.py's generated(). */
static void generate(const struct plan_parameter *parameter, int index) {
  const struct parameter *p = &parameter->parameter;
  float *w = trial.weights + parameter->offset;
  struct random random = random_stream(SEED, RANDOM_TEST, (uint32_t)index, 0);
  bool layer = p->rank > 1;
  double bound = layer ? 1.5 / sqrt((double)(parameter->count / p->extent[0])) : 1;
  float middle = !layer && strcmp(p->suffix, "weight") == 0 ? 1 : 0;
  for (int64_t i = 0; i < parameter->count; i++) {
    float u = (float)random_range(&random, -bound, bound);
    w[i] = layer ? u : middle + 0.3F * u;
  }
}

/* Degrees and mm, on the CPU a block of 16 channels for each sample. */
static float *draw_target(int samples) {
  float *plain = draw(3001, samples * NUMBERS, -1), *target = calloc((size_t)samples, 64);
  for (int i = 0; i < samples * NUMBERS; i++)
    target[i / NUMBERS * 16 + i % NUMBERS] = plain[i] * (i % NUMBERS < 3 ? 60.0F : 25.0F);
  free(plain);
  return target;
}

/* The place of a tensor among those of the file that begin with `prefix`; -1: none. */
static int index_of(const char *prefix, const char *name) {
  int index = 0;
  for (int i = 0; i < golden.tensor_count; i++) {
    const char *found = golden.tensor[i].name;
    if (strncmp(found, prefix, strlen(prefix)) != 0) continue;
    if (strcmp(found + strlen(prefix), name) == 0) return index;
    index++;
  }
  return -1;
}

static void open_network(struct network *network) {
  bool training = network->plan.options.training;
  CHECK_OK(run_open(&network->run, &network->plan, &trial.device, NULL, trial.weights,
                    training ? trial.gradients : NULL));
  CHECK_OK(run_bind(&network->run, "image", trial.image));
  if (training) CHECK_OK(run_bind(&network->run, "target", trial.target));
}

static void open_trial(const struct golden_run *run) {
  memset(&trial, 0, sizeof trial);
  golden_open(&golden, run->file);
  CHECK_OK(config_defaults(&trial.config));
  for (int i = 0; run->overrides[i]; i++)
    CHECK_OK(config_override(&trial.config, run->overrides[i]));
  build(&trial.training, false);
  build(&trial.evaluation, true);
  const struct plan *plan = &trial.training.plan;
  CHECK(plan_trainable_count(plan) == run->parameters);
  CHECK(plan->parameter_elements == trial.evaluation.plan.parameter_elements);
  trial.weights = calloc(4 * (size_t)plan->parameter_elements, sizeof(float));
  trial.gradients = trial.weights + plan->parameter_elements;
  trial.m = trial.gradients + plan->parameter_elements;
  trial.v = trial.m + plan->parameter_elements;
  plan_initialize(plan, 1, trial.weights); /* of which the statistics remain */
  for (int p = 0; p < plan->parameter_count; p++) {
    int index = index_of("gradient.", plan->parameters[p].name);
    CHECK((index < 0) == plan->parameters[p].parameter.statistic);
    if (index >= 0) generate(&plan->parameters[p], index);
  }
  struct shape shape = image_shape();
  trial.image = draw(3000, shape.n * shape_voxels(shape), 0);
  trial.target = draw_target(shape.n);
  CHECK_OK(device_open(&trial.device, "cpu", 0, 1, false, 1));
  open_network(&trial.training);
  open_network(&trial.evaluation);
}

static void close_network(struct network *network) {
  run_close(&network->run);
  plan_close(&network->plan);
  graph_close(&network->graph);
}

static void close_trial(void) {
  close_network(&trial.training);
  close_network(&trial.evaluation);
  device_close(&trial.device);
  config_close(&trial.config);
  free(trial.weights);
  free(trial.image);
  free(trial.target);
  golden_close(&golden);
}

static void check_output(const struct network *network, const char *name, double limit) {
  const struct tensor *tensor;
  const void *memory;
  float planar[64], expected[64];
  double *wanted = golden_doubles(&golden, name);
  int count = (int)golden_get(&golden, name)->count;
  CHECK_OK(run_value(&network->run, "output", &tensor, &memory));
  tensor_to_planar(tensor, memory, planar);
  for (int i = 0; i < count; i++) expected[i] = (float)wanted[i];
  double distance = golden_distance(planar, expected, count);
  CHECK_SAY(distance <= limit, " (%s: %s off by %.2g)", golden.path, name, distance);
  free(wanted);
}

/* Whole tensors, or their summaries. */
static void check_tensor(const char *prefix, int first, const char *name, const float *own,
                         int64_t count, double limit) {
  char full[GOLDEN_NAME_BYTES + 32];
  double distance, summary[4];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  const struct golden_tensor *tensor = golden_get(&golden, full);
  if (strcmp(tensor->type, "F32") == 0) {
    float *expected = golden_floats(&golden, full);
    CHECK(tensor->count == count);
    distance = golden_distance(own, expected, count);
    free(expected);
  } else {
    double *expected = golden_doubles(&golden, full);
    golden_summarise(first + index_of(prefix, name), own, count, summary);
    distance = golden_summary_distance(summary, expected);
    free(expected);
  }
  CHECK_SAY(distance <= limit, " (%s: %s off by %.2g)", golden.path, full, distance);
}

static double step(int number) {
  struct run_loss loss;
  struct run *run = &trial.training.run;
  const struct plan *plan = &trial.training.plan;
  const struct adam_step adam = {RATE, 0.9, 0.999, 1e-8, 0, false, number, 1};
  int64_t trained = plan->trained_elements;
  CHECK_OK(run_forward(run));
  if (number == 1) check_output(&trial.training, "output", OUTPUT_LIMIT);
  CHECK_OK(run_backward(run, 1, NULL));
  CHECK(run_losses(run, &loss, 1) == 1);
  CHECK_OK(
      adam_update(&adam, &run->stream, trial.weights, trial.gradients, trial.m, trial.v, trained));
  CHECK_OK(statistics_update(&run->stream, trial.weights + trained, trial.gradients + trained,
                             plan->parameter_elements - trained, 1, MOMENTUM));
  return loss.value;
}

static void check_run(const struct golden_run *run) {
  const struct plan *plan = &trial.training.plan;
  double losses[STEPS], *expected = golden_doubles(&golden, "step_losses");
  for (int i = 0; i < STEPS; i++) {
    losses[i] = step(i + 1);
    for (int p = 0; i == 0 && p < plan->parameter_count; p++)
      if (!plan->parameters[p].parameter.statistic)
        check_tensor("gradient.", 0, plan->parameters[p].name,
                     trial.gradients + plan->parameters[p].offset, plan->parameters[p].count,
                     run->gradient_limit);
  }
  double distance = golden_distance_doubles(losses, expected, STEPS);
  CHECK_SAY(distance <= run->loss_limit, " (%s: losses off by %.2g)", golden.path, distance);
  for (int p = 0; p < plan->parameter_count; p++)
    check_tensor("final.", 500, plan->parameters[p].name,
                 trial.weights + plan->parameters[p].offset, plan->parameters[p].count,
                 run->state_limit);
  CHECK_OK(run_forward(&trial.evaluation.run));
  check_output(&trial.evaluation, "evaluated", run->state_limit);
  free(expected);
}

TEST(pose_networks_train_as_in_pytorch) {
  for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
    open_trial(&runs[i]);
    check_run(&runs[i]);
    close_trial();
  }
}

int main(void) {
  RUN(pose_networks_train_as_in_pytorch);
  return check_result();
}
