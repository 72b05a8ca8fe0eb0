/* Registration against PyTorch on the same weights and volumes: outputs, losses, the gradient of
 * every parameter, and 20 steps of Adam (tests/golden/vxm_*, which say what they hold). */
#pragma once
#include "check.h"
#include "golden.h"
#include "graph/run.h"
#include "kernels/adam/adam.h"
#include "task/registration.h"

enum { CLASSES = 5, STEPS = 20, FEW_STEPS = 3, MOST_OUTPUTS = 5 };

static const double OUTPUT_LIMIT = 1e-5, GRADIENT_LIMIT = 1e-4, LOSS_LIMIT = 1e-4;
/* Adam turns rounding into steps where a gradient is next to nothing: PyTorch in float32 and
 * float64 part by up to 1e-4 in single terms and by 5e-5 in weights (tests/golden/README.md). */
static const double TERM_LIMIT = 5e-4, WEIGHT_LIMIT = 5e-4, LEARNING_RATE = 1e-4;

#define LNCC \
  "loss.similarity=lncc", "loss.smoothness=l2", "loss.lam_smooth=1.0", "loss.lam_dice=0.0"
#define BIDIR "registration.bidirectional=true"
#define MONAI "model.variant=monai", "model.integration_downsize=1"

/* A file of tests/golden, and what its network has otherwise than the default config. */
struct golden_run {
  const char *file;
  const char *overrides[9];
  bool one_step; /* only output, losses and gradients: the others show what training does */
  enum dtype activation;
};

static struct golden golden;

/* A network with its memory, all that one file is compared with. */
struct trial {
  struct config config;
  struct graph graph;
  struct plan plan;
  struct run run;
  struct device device;
  float *weights, *gradients, *m, *v;
  void *inputs[4];
};

static const char *const input_names[4] = {"moving", "fixed", "moving_labels", "fixed_labels"};

static int find_node(const struct graph *graph, const char *name) {
  for (int i = 0; i < graph->node_count; i++)
    if (!strcmp(graph->nodes[i].node.name, name)) return i;
  return -1;
}

/* Gives the values that the file holds their names there. */
static void name_outputs(struct graph *graph) {
  const int warped = find_node(graph, "warped"), inverse = find_node(graph, "inverse_warped");
  const int smooth = find_node(graph, "smoothness");
  const struct graph_node *nodes = graph->nodes;
  bool velocity_is_displacement = nodes[smooth].input[0] == nodes[warped].input[1];
  if (!velocity_is_displacement)
    CHECK_OK(graph_output(graph, "preint_flow", nodes[smooth].input[0]));
  CHECK_OK(graph_output(graph, "displacement", nodes[warped].input[1]));
  CHECK_OK(graph_output(graph, "warped", nodes[warped].output));
  if (inverse < 0) return;
  CHECK_OK(graph_output(graph, "inverse_displacement", nodes[inverse].input[1]));
  CHECK_OK(graph_output(graph, "warped_fixed", nodes[inverse].output));
}

static void build(struct trial *trial, const struct golden_run *golden_run) {
  CHECK_OK(config_defaults(&trial->config));
  CHECK_OK(config_override(&trial->config, "loss.dice_padding=zeros"));
  for (int i = 0; golden_run->overrides[i]; i++)
    CHECK_OK(config_override(&trial->config, golden_run->overrides[i]));
  struct task_run task = {.config = &trial->config, .dataset.classes = CLASSES, .atlas = -1};
  const int *extent = golden_get(&golden, "moving")->extent + 2;
  graph_open(&trial->graph, DEVICE_CPU, DTYPE_F32);
  graph_set_activation(&trial->graph, golden_run->activation);
  CHECK_OK(registration_build(&task, &trial->config, PURPOSE_TRAINING, 1, extent, &trial->graph));
  name_outputs(&trial->graph);
  struct plan_options options = {.training = true};
  CHECK_OK(plan_make(&trial->plan, &trial->graph, &options));
}

/* The place of a parameter in the state dict: the order of the file's gradients. */
static int state_index(const char *name) {
  int index = 0;
  for (int i = 0; i < golden.tensor_count; i++) {
    const char *gradient = strstr(golden.tensor[i].name, "gradient.");
    if (!gradient) continue;
    if (!strcmp(gradient + strlen("gradient."), name)) return index;
    index++;
  }
  golden_stop(golden.path, "holds no gradient of", name);
}

static void open_trial(struct trial *trial, const struct golden_run *golden_run) {
  memset(trial, 0, sizeof *trial);
  build(trial, golden_run);
  size_t count = (size_t)trial->plan.parameter_elements;
  trial->weights = calloc(4 * count, sizeof(float));
  trial->gradients = trial->weights + count;
  trial->m = trial->weights + 2 * count;
  trial->v = trial->weights + 3 * count;
  for (int p = 0; p < trial->plan.parameter_count; p++) {
    const struct plan_parameter *parameter = &trial->plan.parameters[p];
    golden_weights(state_index(parameter->name), parameter->parameter.fan_in,
                   trial->weights + parameter->offset, parameter->count);
  }
  CHECK_OK(device_open(&trial->device, "cpu", 0, 1, false, 1));
  CHECK_OK(
      run_open(&trial->run, &trial->plan, &trial->device, NULL, trial->weights, trial->gradients));
  for (int i = 0; i < (trial->config.loss.lam_dice > 0 ? 4 : 2); i++) {
    trial->inputs[i] = i < 2 ? (void *)golden_floats(&golden, input_names[i])
                             : (void *)golden_bytes(&golden, input_names[i]);
    CHECK_OK(run_bind(&trial->run, input_names[i], trial->inputs[i]));
  }
}

static void close_trial(struct trial *trial) {
  for (int i = 0; i < 4; i++) free(trial->inputs[i]);
  free(trial->weights);
  run_close(&trial->run);
  device_close(&trial->device);
  plan_close(&trial->plan);
  graph_close(&trial->graph);
  config_close(&trial->config);
}

/* The k-th summary of the file, by its tensor's name. */
static int summary_index(const char *name) {
  int index = 0;
  for (int i = 0; i < golden.tensor_count; i++) {
    if (!strcmp(golden.tensor[i].name, name)) return index;
    index += !strncmp(golden.tensor[i].name, "summary.", 8);
  }
  golden_stop(golden.path, "holds no tensor", name);
}

/* Against the whole tensor NAME, or against summary.NAME. */
static void compare(const char *prefix, const char *name, int final_index, const float *own,
                    int64_t count, double limit) {
  char full[GOLDEN_NAME_BYTES], brief[GOLDEN_NAME_BYTES + 8];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  snprintf(brief, sizeof brief, "summary.%s", full);
  double distance, summary[4];
  if (golden_find(&golden, full)) {
    CHECK(golden_get(&golden, full)->count == count);
    float *expected = golden_floats(&golden, full);
    distance = golden_distance(own, expected, count);
    free(expected);
  } else {
    double *expected = golden_doubles(&golden, brief);
    int index = final_index < 0 ? summary_index(brief) : 500 + final_index;
    golden_summarise(index, own, count, summary);
    distance = golden_summary_distance(summary, expected);
    free(expected);
  }
  CHECK_SAY(distance <= limit, " (%s: %s off by %.2g)", golden.path, full, distance);
}

/* Total, similarity, smoothness and Dice, in the order of the file. */
static void read_losses(const struct trial *trial, double losses[4]) {
  struct run_loss loss[GRAPH_MAX_LOSSES];
  int count = run_losses(&trial->run, loss, GRAPH_MAX_LOSSES);
  double share = trial->config.registration.bidirectional ? 0.5 : 1;
  memset(losses, 0, 4 * sizeof *losses);
  for (int i = 0; i < count; i++) {
    bool smooth = strstr(loss[i].name, "smooth"), dice = strstr(loss[i].name, "dice");
    losses[0] += loss[i].weight * loss[i].value;
    losses[smooth ? 2 : dice ? 3 : 1] += smooth ? loss[i].value : share * loss[i].value;
  }
}

static void check_outputs(const struct trial *trial) {
  static const char *const names[MOST_OUTPUTS] = {"preint_flow", "displacement", "warped",
                                                  "inverse_displacement", "warped_fixed"};
  for (int i = 0; i < trial->graph.value_count; i++) {
    const struct value *value = &trial->graph.values[i];
    const struct tensor *tensor;
    const void *memory;
    for (int o = 0; value->is_output && o < MOST_OUTPUTS; o++) {
      if (strcmp(value->name, names[o])) continue;
      CHECK_OK(run_value(&trial->run, value->name, &tensor, &memory));
      float *planar = malloc(tensor_bytes(tensor));
      tensor_to_planar(tensor, memory, planar);
      compare("", value->name, -1, planar, tensor->shape.c * shape_voxels(tensor->shape),
              OUTPUT_LIMIT);
      free(planar);
    }
  }
}

static void check_gradients(const struct trial *trial) {
  for (int p = 0; p < trial->plan.parameter_count; p++) {
    const struct plan_parameter *parameter = &trial->plan.parameters[p];
    compare("gradient.", parameter->name, -1, trial->gradients + parameter->offset,
            parameter->count, GRADIENT_LIMIT);
  }
}

/* Losses of each of 20 steps, one column of terms after another, and the weights they lead to. */
static void check_training(struct trial *trial) {
  const struct golden_tensor *expected = golden_get(&golden, "step_losses");
  const int terms = expected->extent[1];
  double *rows = golden_doubles(&golden, "step_losses"), own[4][STEPS], wanted[4][STEPS];
  const int steps = CHECK_WATCHED ? FEW_STEPS : STEPS;
  for (int step = 0; step < steps; step++) {
    double losses[4];
    CHECK_OK(run_forward(&trial->run));
    CHECK_OK(run_backward(&trial->run, 1, NULL));
    read_losses(trial, losses);
    for (int t = 0; t < terms; t++)
      own[t][step] = losses[t], wanted[t][step] = rows[step * terms + t];
    const struct adam_step adam = {LEARNING_RATE, 0.9, 0.999, 1e-8, 0, false, step + 1, 1};
    CHECK_OK(adam_update(&adam, &trial->run.stream, trial->weights, trial->gradients, trial->m,
                         trial->v, trial->plan.parameter_elements));
  }
  for (int t = 0; t < terms; t++) {
    double distance = golden_distance_doubles(own[t], wanted[t], steps);
    CHECK_SAY(distance <= (t ? TERM_LIMIT : LOSS_LIMIT), " (%s: losses of term %d off by %.2g)",
              golden.path, t, distance);
  }
  for (int p = 0; steps == STEPS && p < trial->plan.parameter_count; p++) {
    const struct plan_parameter *parameter = &trial->plan.parameters[p];
    compare("final.", parameter->name, state_index(parameter->name),
            trial->weights + parameter->offset, parameter->count, WEIGHT_LIMIT);
  }
  free(rows);
}

static inline void check_run(const struct golden_run *golden_run) {
  static struct trial trial;
  double losses[4];
  golden_open(&golden, golden_run->file);
  open_trial(&trial, golden_run);
  CHECK_OK(run_forward(&trial.run));
  check_outputs(&trial);
  CHECK_OK(run_backward(&trial.run, 1, NULL));
  check_gradients(&trial);
  read_losses(&trial, losses);
  double *expected = golden_doubles(&golden, "losses");
  for (int t = 0; t < golden_get(&golden, "losses")->count; t++)
    CHECK_NEAR(losses[t], expected[t], LOSS_LIMIT / 10 * fabs(expected[t]));
  free(expected);
  if (!golden_run->one_step) check_training(&trial);
  close_trial(&trial);
  golden_close(&golden);
}
