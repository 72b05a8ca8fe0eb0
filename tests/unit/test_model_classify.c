/* The head for whole samples against PyTorch: logits, cross entropy, all gradients. */
#include "check.h"
#include "golden.h"
#include "graph/run.h"
#include "kernels/loss_ce/loss_ce.h"
#include "model/blocks.h"

enum { CHANNELS = 18, SAMPLES = 2, CLASSES = 3 };
static const double LIMIT = 2e-6;

static struct golden golden;

/* One network with its memory. */
struct trial {
  const char *name;
  struct graph graph;
  struct plan plan;
  struct device device;
  struct run run;
  float *weights, *gradients, *features;
};

static const struct golden_tensor *part(const struct trial *trial, const char *what,
                                        const char *parameter) {
  char name[GOLDEN_NAME_BYTES];
  snprintf(name, sizeof name, "%s.%s%s", trial->name, what, parameter);
  return golden_get(&golden, name);
}

static float *room(int64_t count) {
  float *memory = aligned_alloc(64, ((size_t)count * sizeof(float) + 63) / 64 * 64);
  if (!memory) abort();
  return memory;
}

/* Two blocks of 16 channels, from plain order. */
static float *blocked(const struct golden_tensor *x) {
  const struct tensor tensor =
      tensor_make(DEVICE_CPU, (struct shape){SAMPLES, CHANNELS, 3, 4, 5}, DTYPE_F32);
  float *memory = room(tensor_elements(&tensor)), *plain = room(x->count);
  memcpy(plain, x->data, (size_t)x->count * sizeof(float));
  tensor_from_planar(&tensor, plain, memory);
  free(plain);
  return memory;
}

static void open_trial(struct trial *trial, const char *name, int hidden) {
  const struct loss_ce_arguments plain = {0};
  const struct plan_options options = {.training = true};
  struct graph *graph = &trial->graph;
  int x, labels, logits, loss;
  *trial = (struct trial){.name = name};
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(
      graph_input(graph, "x", (struct shape){SAMPLES, CHANNELS, 3, 4, 5}, DTYPE_F32, true, &x));
  CHECK_OK(
      graph_input(graph, "labels", (struct shape){SAMPLES, 1, 1, 1, 1}, DTYPE_U8, false, &labels));
  CHECK_OK(block_classify(graph, "class", x, hidden, CLASSES, &logits));
  CHECK_OK(graph_output(graph, "logits", logits));
  const int inputs[2] = {logits, labels};
  CHECK_OK(graph_add(graph, "loss_ce", "ce", &plain, sizeof plain, inputs, 2, &loss));
  CHECK_OK(graph_loss(graph, loss, 1));
  CHECK_OK(plan_make(&trial->plan, graph, &options));
  trial->weights = room(trial->plan.parameter_elements);
  trial->gradients = room(trial->plan.parameter_elements);
  for (int i = 0; i < trial->plan.parameter_count; i++) {
    const struct plan_parameter *parameter = &trial->plan.parameters[i];
    const struct golden_tensor *stored = part(trial, parameter->name + strlen("class."), "");
    CHECK(stored->count == parameter->count);
    memcpy(trial->weights + parameter->offset, stored->data, (size_t)stored->count * sizeof(float));
  }
}

static void run_trial(struct trial *trial) {
  CHECK_OK(device_open(&trial->device, "cpu", 0, 1, false, 1));
  CHECK_OK(
      run_open(&trial->run, &trial->plan, &trial->device, NULL, trial->weights, trial->gradients));
  trial->features = blocked(part(trial, "x", ""));
  CHECK_OK(run_bind(&trial->run, "x", trial->features));
  CHECK_OK(run_bind(&trial->run, "labels", part(trial, "labels", "")->data));
  CHECK_OK(run_forward(&trial->run));
}

static void close_trial(struct trial *trial) {
  run_close(&trial->run);
  device_close(&trial->device);
  plan_close(&trial->plan);
  graph_close(&trial->graph);
  free(trial->weights);
  free(trial->gradients);
  free(trial->features);
}

static void compare(const struct tensor *tensor, const void *memory,
                    const struct golden_tensor *expected) {
  float *own = room(expected->count), *theirs = room(expected->count);
  if (tensor)
    tensor_to_planar(tensor, memory, own);
  else
    memcpy(own, memory, (size_t)expected->count * sizeof(float));
  memcpy(theirs, expected->data, (size_t)expected->count * sizeof(float));
  double distance = golden_distance(own, theirs, expected->count);
  CHECK_SAY(distance < LIMIT, " (%s: off by %g)", expected->name, distance);
  free(own);
  free(theirs);
}

static void check_head(const char *name, int hidden, int parameters) {
  struct trial trial;
  const struct tensor *tensor;
  const void *memory;
  struct run_loss loss;
  double expected;
  open_trial(&trial, name, hidden);
  CHECK(trial.plan.parameter_count == parameters);
  run_trial(&trial);
  memcpy(&expected, part(&trial, "loss", "")->data, sizeof expected);
  CHECK_OK(run_value(&trial.run, "logits", &tensor, &memory));
  CHECK(tensor->dtype == DTYPE_F32);
  compare(tensor, memory, part(&trial, "logits", ""));
  CHECK_OK(run_backward(&trial.run, 1, NULL));
  CHECK(run_losses(&trial.run, &loss, 1) == 1);
  CHECK_NEAR(loss.value, expected, 1e-6);
  CHECK_OK(run_value(&trial.run, "x", &tensor, &memory));
  CHECK_OK(run_input_gradient(&trial.run, "x", &memory));
  compare(tensor, memory, part(&trial, "dx", ""));
  for (int i = 0; i < trial.plan.parameter_count; i++) {
    const struct plan_parameter *parameter = &trial.plan.parameters[i];
    compare(NULL, trial.gradients + parameter->offset,
            part(&trial, "gradient.", parameter->name + strlen("class.")));
  }
  close_trial(&trial);
}

TEST(head_agrees_with_pytorch) {
  golden_open(&golden, "network_parts");
  check_head("classify", 7, 4);
  check_head("classify_linear", 0, 2);
  golden_close(&golden);
}

int main(void) {
  RUN(head_agrees_with_pytorch);
  return check_result();
}
