/* A network against PyTorch on the same weights and volumes: what it gives, the gradient of every
 * parameter, steps of Adam, and what it then gives with the running statistics. The files are made
 * by tests/golden/networks.py. A program describes the family it tests by a struct model_family and
 * calls model_golden_check for each of its files. */
#pragma once
#include "check.h"
#include "golden.h"
#include "graph/run.h"
#include "kernels/adam/adam.h"
#include "model/model.h"
#include "optim/statistics.h"

enum { MODEL_MOST_STEPS = 20, MODEL_FEW_STEPS = 3, MODEL_SEED = 20 };

struct model_family {
  const char *model; /* in models.def */
  /* Adds the input "target" and the loss of a network's output. */
  void (*add_loss)(struct graph *graph, int output);
  /* What that input holds, aligned to 64 bytes; the caller frees it. */
  void *(*make_target)(void);
};

struct model_case {
  const struct model_family *family;
  const char *file;
  int parameters;
  const char *overrides[10];
  double gradient_limit, loss_limit, state_limit;
};

static const double MODEL_OUTPUT_LIMIT = 1e-5, MODEL_RATE = 1e-5, MODEL_MOMENTUM = 0.1;

struct model_network {
  struct graph graph;
  struct plan plan;
  struct run run;
};

static struct golden model_golden; /* the open file */

static struct model_trial {
  const struct model_case *what;
  struct config config;
  struct device device;
  struct model_network training, evaluation;
  float *weights, *gradients, *m, *v, *image;
  void *target;
} model_trial;

/* Stored as n d h w of one channel, or n c d h w. */
static inline struct shape model_image_shape(void) {
  const struct golden_tensor *extents = golden_get(&model_golden, "extents");
  int32_t e[5];
  memcpy(e, extents->data, (size_t)extents->count * sizeof *e);
  if (extents->count == 4) return (struct shape){e[0], 1, e[1], e[2], e[3]};
  return (struct shape){e[0], e[1], e[2], e[3], e[4]};
}

static inline float *model_draw(uint32_t stream, int64_t count, double low) {
  float *values = aligned_alloc(64, ((size_t)count * sizeof(float) + 63) / 64 * 64);
  struct random random = random_stream(MODEL_SEED, RANDOM_TEST, stream, 0);
  for (int64_t i = 0; i < count; i++) values[i] = (float)random_range(&random, low, 1.0);
  return values;
}

/* Training magnifies differences of the last bits, and the limits are those of sums in PyTorch's
 * order: Winograd's, whose error has a test of its own, are another's. */
static inline int model_direct(void *context, const struct node *node,
                               const struct kernel *const *candidates, int count) {
  (void)context, (void)node;
  for (int i = 0; i < count; i++)
    if (strncmp(candidates[i]->name, "winograd", 8) != 0) return i;
  return 0;
}

static inline void model_build(struct model_network *network, bool evaluation) {
  const struct model_family *family = model_trial.what->family;
  struct graph *graph = &network->graph;
  const struct model *model;
  struct model_result result;
  int image;
  CHECK_OK(model_find(family->model, &model));
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  graph->evaluation = evaluation;
  CHECK_OK(graph_input(graph, "image", model_image_shape(), DTYPE_F32, false, &image));
  const struct model_request request = {&image, 1, -1};
  CHECK_OK(model->build(graph, &model_trial.config, "", &request, &result));
  CHECK_OK(graph_output(graph, "output", result.output));
  if (!evaluation) family->add_loss(graph, result.output);
  const struct plan_options options = {.training = !evaluation, .prefer = model_direct};
  CHECK_OK(plan_make(&network->plan, graph, &options));
}

/* As networks.py's generated(). */
static inline void model_generate(const struct plan_parameter *parameter, int index) {
  const struct parameter *p = &parameter->parameter;
  float *w = model_trial.weights + parameter->offset;
  struct random random = random_stream(MODEL_SEED, RANDOM_TEST, (uint32_t)index, 0);
  bool layer = p->rank > 1;
  double bound = layer ? 1.5 / sqrt((double)(parameter->count / p->extent[0])) : 1;
  float middle = !layer && strcmp(p->suffix, "weight") == 0 ? 1 : 0;
  for (int64_t i = 0; i < parameter->count; i++) {
    float u = (float)random_range(&random, -bound, bound);
    w[i] = layer ? u : middle + 0.3F * u;
  }
}

/* The place of a tensor among those of the file that begin with `prefix`; -1: none. */
static inline int model_index_of(const char *prefix, const char *name) {
  int index = 0;
  for (int i = 0; i < model_golden.tensor_count; i++) {
    const char *found = model_golden.tensor[i].name;
    if (strncmp(found, prefix, strlen(prefix)) != 0) continue;
    if (strcmp(found + strlen(prefix), name) == 0) return index;
    index++;
  }
  return -1;
}

static inline void model_open_network(struct model_network *network) {
  bool training = network->plan.options.training;
  CHECK_OK(run_open(&network->run, &network->plan, &model_trial.device, NULL, model_trial.weights,
                    training ? model_trial.gradients : NULL));
  CHECK_OK(run_bind(&network->run, "image", model_trial.image));
  if (training) CHECK_OK(run_bind(&network->run, "target", model_trial.target));
}

static inline void model_open_weights(void) {
  const struct plan *plan = &model_trial.training.plan;
  model_trial.weights = calloc(4 * (size_t)plan->parameter_elements, sizeof(float));
  model_trial.gradients = model_trial.weights + plan->parameter_elements;
  model_trial.m = model_trial.gradients + plan->parameter_elements;
  model_trial.v = model_trial.m + plan->parameter_elements;
  plan_initialize(plan, 1, model_trial.weights); /* of which the statistics remain */
  for (int p = 0; p < plan->parameter_count; p++) {
    int index = model_index_of("gradient.", plan->parameters[p].name);
    CHECK((index < 0) == plan->parameters[p].parameter.statistic);
    if (index >= 0) model_generate(&plan->parameters[p], index);
  }
}

static inline void model_open_trial(const struct model_case *what) {
  memset(&model_trial, 0, sizeof model_trial);
  model_trial.what = what;
  golden_open(&model_golden, what->file);
  CHECK_OK(config_defaults(&model_trial.config));
  for (int i = 0; what->overrides[i]; i++)
    CHECK_OK(config_override(&model_trial.config, what->overrides[i]));
  model_build(&model_trial.training, false);
  model_build(&model_trial.evaluation, true);
  const struct plan *plan = &model_trial.training.plan;
  CHECK(plan_trainable_count(plan) == what->parameters);
  CHECK(plan->parameter_elements == model_trial.evaluation.plan.parameter_elements);
  model_open_weights();
  struct shape shape = model_image_shape();
  model_trial.image = model_draw(3000, (int64_t)shape.n * shape.c * shape_voxels(shape), 0);
  model_trial.target = what->family->make_target();
  CHECK_OK(device_open(&model_trial.device, "cpu", 0, 1, false, 1));
  model_open_network(&model_trial.training);
  model_open_network(&model_trial.evaluation);
}

static inline void model_close_network(struct model_network *network) {
  run_close(&network->run);
  plan_close(&network->plan);
  graph_close(&network->graph);
}

static inline void model_close_trial(void) {
  model_close_network(&model_trial.training);
  model_close_network(&model_trial.evaluation);
  device_close(&model_trial.device);
  config_close(&model_trial.config);
  free(model_trial.weights);
  free(model_trial.image);
  free(model_trial.target);
  golden_close(&model_golden);
}

/* A tensor of the file as float32 (the caller frees it). */
static inline float *model_floats(const struct golden_tensor *tensor) {
  if (strcmp(tensor->type, "F32") == 0) return golden_floats(&model_golden, tensor->name);
  double *doubles = golden_doubles(&model_golden, tensor->name);
  float *floats = malloc((size_t)tensor->count * sizeof *floats);
  for (int64_t i = 0; i < tensor->count; i++) floats[i] = (float)doubles[i];
  free(doubles);
  return floats;
}

/* Against the tensor "PREFIX + name": whole, or four float64 that are its summary; `first` counts
 * as networks.py does. */
static inline void model_check_tensor(const char *prefix, int first, const char *name,
                                      const float *own, int64_t count, double limit) {
  char full[GOLDEN_NAME_BYTES + 32];
  double distance, summary[4];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  const struct golden_tensor *tensor = golden_get(&model_golden, full);
  if (strcmp(tensor->type, "F64") == 0 && tensor->rank == 1) {
    double *expected = golden_doubles(&model_golden, full);
    golden_summarise(first + model_index_of(prefix, name), own, count, summary);
    distance = golden_summary_distance(summary, expected);
    free(expected);
  } else {
    float *expected = model_floats(tensor);
    bool fits = tensor->count == count;
    distance = fits ? golden_distance(own, expected, count) : INFINITY;
    free(expected);
  }
  CHECK_SAY(distance <= limit, " (%s: %s off by %.2g)", model_golden.path, full, distance);
}

static inline void model_check_output(const struct model_network *network, const char *name,
                                      int index, double limit) {
  const struct tensor *tensor;
  const void *memory;
  CHECK_OK(run_value(&network->run, "output", &tensor, &memory));
  int64_t count = (int64_t)tensor->shape.n * tensor->shape.c * shape_voxels(tensor->shape);
  float *planar = malloc((size_t)count * sizeof *planar);
  tensor_to_planar(tensor, memory, planar);
  model_check_tensor(name, index, "", planar, count, limit);
  free(planar);
}

static inline double model_step(int number) {
  struct run_loss loss;
  struct run *run = &model_trial.training.run;
  const struct plan *plan = &model_trial.training.plan;
  const struct adam_step adam = {MODEL_RATE, 0.9, 0.999, 1e-8, 0, false, number, 1};
  int64_t trained = plan->trained_elements;
  float *weights = model_trial.weights, *gradients = model_trial.gradients;
  CHECK_OK(run_forward(run));
  if (number == 1) model_check_output(&model_trial.training, "output", 900, MODEL_OUTPUT_LIMIT);
  CHECK_OK(run_backward(run, 1, NULL));
  CHECK(run_losses(run, &loss, 1) == 1);
  CHECK_OK(
      adam_update(&adam, &run->stream, weights, gradients, model_trial.m, model_trial.v, trained));
  CHECK_OK(statistics_update(&run->stream, weights + trained, gradients + trained,
                             plan->parameter_elements - trained, 1, MODEL_MOMENTUM));
  return loss.value;
}

/* `block`: the weights or their gradients. */
static inline void model_check_parameters(const char *prefix, int first, const float *block,
                                          bool statistics, double limit) {
  const struct plan *plan = &model_trial.training.plan;
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *p = &plan->parameters[i];
    if (statistics || !p->parameter.statistic)
      model_check_tensor(prefix, first, p->name, block + p->offset, p->count, limit);
  }
}

static inline void model_golden_check(const struct model_case *what) {
  model_open_trial(what);
  double losses[MODEL_MOST_STEPS], *expected = golden_doubles(&model_golden, "step_losses");
  int recorded = (int)golden_get(&model_golden, "step_losses")->count, steps = recorded;
  if (CHECK_WATCHED && steps > MODEL_FEW_STEPS) steps = MODEL_FEW_STEPS;
  for (int i = 0; i < steps && i < MODEL_MOST_STEPS; i++) {
    losses[i] = model_step(i + 1);
    if (i == 0)
      model_check_parameters("gradient.", 0, model_trial.gradients, false, what->gradient_limit);
  }
  double distance = golden_distance_doubles(losses, expected, steps);
  CHECK_SAY(distance <= what->loss_limit, " (%s: losses off by %.2g)", model_golden.path, distance);
  CHECK_OK(run_forward(&model_trial.evaluation.run));
  if (steps == recorded) { /* what all steps lead to */
    model_check_parameters("final.", 500, model_trial.weights, true, what->state_limit);
    model_check_output(&model_trial.evaluation, "evaluated", 901, what->state_limit);
  }
  free(expected);
  model_close_trial();
}
