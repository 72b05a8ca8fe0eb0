/* The networks that segment, small, with what is cheap computed again for backward: the same bits
 * of losses, gradients and statistics, in less memory, whatever the norm, with dropout and with
 * activations of 16 bits. */
#include <math.h>
#include "base/random.h"
#include "check.h"
#include "graph/run.h"
#include "kernels/dropout/dropout.h"
#include "kernels/loss_ce/loss_ce.h"
#include "model/model.h"

enum { SAMPLES = 2, SIDE = 16, VOXELS = SIDE * SIDE * SIDE, CLASSES = 3, STEPS = 2 };

struct trial {
  struct config config;
  struct graph graph;
  struct plan plan;
  struct device device;
  struct run run;
  float *weights, *gradients;
  double loss;
};

static float image[SAMPLES * VOXELS], keys[SAMPLES * DROPOUT_KEY];
static unsigned char label[SAMPLES * VOXELS];

static void draw_inputs(void) {
  struct random stream = random_stream(21, RANDOM_TEST, 0, 0);
  for (int i = 0; i < SAMPLES * VOXELS; i++) {
    image[i] = (float)random_range(&stream, -1, 1);
    label[i] = (unsigned char)random_below(&stream, CLASSES);
  }
  for (int i = 0; i < SAMPLES; i++) keys[i * DROPOUT_KEY] = (float)(i + 5);
}

static void build(struct trial *trial, const char *const *words, enum dtype activation) {
  struct graph *graph = &trial->graph;
  const struct loss_ce_arguments loss = {0};
  struct shape shape = {SAMPLES, 1, SIDE, SIDE, SIDE};
  const struct model *model;
  struct model_result result;
  int input, ends[2], dropout, value;
  CHECK_OK(config_defaults(&trial->config));
  for (int i = 0; words[i]; i++) CHECK_OK(config_override(&trial->config, words[i]));
  CHECK_OK(config_override(&trial->config, "model.classes=3"));
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  graph_set_activation(graph, activation);
  CHECK_OK(graph_input(graph, "image", shape, DTYPE_F32, false, &input));
  CHECK_OK(graph_input(graph, "label", shape, DTYPE_U8, false, &ends[1]));
  shape = (struct shape){SAMPLES, DROPOUT_KEY, 1, 1, 1};
  CHECK_OK(graph_input(graph, "dropout", shape, DTYPE_F32, false, &dropout));
  CHECK_OK(model_find(trial->config.model.name, &model));
  const struct model_request request = {&input, 1, dropout};
  CHECK_OK(model->build(graph, &trial->config, "", &request, &result));
  ends[0] = result.output;
  CHECK_OK(graph_add(graph, "loss_ce", "ce", &loss, sizeof loss, ends, 2, &value));
  CHECK_OK(graph_loss(graph, value, 1));
}

static void open_trial(struct trial *trial, const char *const *words, enum dtype activation,
                       const struct plan_options *options) {
  *trial = (struct trial){0};
  build(trial, words, activation);
  CHECK_OK(plan_make(&trial->plan, &trial->graph, options));
  size_t elements = (size_t)trial->plan.parameter_elements;
  trial->weights = aligned_alloc(64, 2 * elements * sizeof(float));
  if (!trial->weights) abort();
  trial->gradients = trial->weights + elements;
  plan_initialize(&trial->plan, 1, trial->weights);
  CHECK_OK(device_open(&trial->device, "cpu", 0, 1, false, 2));
  CHECK_OK(
      run_open(&trial->run, &trial->plan, &trial->device, NULL, trial->weights, trial->gradients));
  CHECK_OK(run_bind(&trial->run, "image", image));
  CHECK_OK(run_bind(&trial->run, "label", label));
  if (trial->config.model.dropout > 0) CHECK_OK(run_bind(&trial->run, "dropout", keys));
}

static void close_trial(struct trial *trial) {
  run_close(&trial->run);
  device_close(&trial->device);
  plan_close(&trial->plan);
  graph_close(&trial->graph);
  config_close(&trial->config);
  free(trial->weights);
}

static void train(struct trial *trial) {
  struct run_loss loss = {.value = NAN};
  for (int i = 0; i < STEPS; i++) {
    CHECK_OK(run_forward(&trial->run));
    CHECK_OK(run_backward(&trial->run, 1, NULL));
    CHECK(run_losses(&trial->run, &loss, 1) == 1);
    for (int64_t k = 0; k < trial->plan.trained_elements; k++)
      trial->weights[k] -= 0.1F * trial->gradients[k];
  }
  trial->loss = loss.value;
}

static void compare(const char *const *words, enum dtype activation) {
  const struct plan_options plain = {.training = true};
  const struct plan_options options = {.training = true, .recompute = true, .poison = true};
  struct trial a, b;
  open_trial(&a, words, activation, &plain);
  open_trial(&b, words, activation, &options);
  train(&a);
  train(&b);
  CHECK(isfinite(a.loss) && a.loss == b.loss);
  CHECK(memcmp(a.weights, b.weights, 2 * sizeof(float) * (size_t)a.plan.parameter_elements) == 0);
  double share = (double)b.plan.peak_live_bytes / (double)a.plan.peak_live_bytes;
  CHECK_SAY(b.plan.again_count >= 4 && share < 0.95, " (%s, %s: %d steps, %.3f of the memory)",
            words[0], words[3], b.plan.again_count, share);
  close_trial(&a);
  close_trial(&b);
}

#define UNET "model.name=unet", "model.features=[8,16,32]", "model.dropout=0.25"
#define SEG "model.name=resnet_seg", "model.features=[8,16,32]", "model.blocks=[2,2,1]"
static const char *const networks[][6] = {
    {UNET, "model.norm=batch"},
    {UNET, "model.norm=group", "model.norm_groups=4"},
    {UNET, "model.norm=instance", "model.attention=true"},
    {SEG, "model.norm=batch", "model.dropout=0.25"},
    {SEG, "model.norm=group", "model.norm_groups=4"},
    {SEG, "model.norm=instance", "model.preset=resnet34_inplane"},
};

TEST(networks_compute_again_with_the_same_bits) {
  draw_inputs();
  for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
    compare(networks[i], DTYPE_F32);
    compare(networks[i], DTYPE_BF16);
  }
}

int main(void) {
  RUN(networks_compute_again_with_the_same_bits);
  return check_result();
}
