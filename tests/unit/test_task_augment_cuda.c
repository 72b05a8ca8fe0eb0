/* Augmentation through a graph, on every device there is: images and labels move together, numbers
 * that are neutral change nothing, steps come in their order. */
#include "check.h"
#include "graph/run.h"
#include "task/augment.h"

static void open_config(struct config *config, const char *augment) {
  char text[1024];
  snprintf(text, sizeof text, "augment = { %s };", augment);
  CHECK_OK(config_parse(config, text, "test"));
}

enum { D = 10, H = 12, W = 14, VOXELS = D * H * W };
static const int box[3] = {D, H, W}, none[3] = {0, 0, 0};
static const double uneven[3] = {4, 0.8, 1.25};

static const struct device_ops *tested; /* the device */

/* A graph with its inputs, and what comes out, on the host. */
enum { INPUTS = 7 };
struct bench {
  struct graph graph;
  struct plan plan;
  struct device device;
  struct run run;
  float source[VOXELS], seen[VOXELS];
  unsigned char labels[VOXELS], truth[VOXELS];
  int count;
  void *input[INPUTS], *memory[INPUTS]; /* the host's, and the device's */
  size_t bytes[INPUTS];
};

static void bench_add_input(struct bench *bench, const char *name, int value, void *memory) {
  int i = bench->count;
  if (value < 0) return;
  bench->bytes[i] = tensor_bytes(&bench->graph.values[value].tensor);
  bench->input[i] = memory ? memory : calloc(1, bench->bytes[i]);
  CHECK_OK(tested->allocate(&bench->device, bench->bytes[i], &bench->memory[i]));
  CHECK_OK(run_bind(&bench->run, name, bench->memory[i]));
  bench->count++;
}

static void bench_plan(struct bench *bench, const struct config *config, int values[INPUTS]) {
  struct graph *graph = &bench->graph;
  const struct shape shape = {1, 1, D, H, W};
  struct augment_inputs inputs;
  int seen, truth;
  CHECK_OK(graph_input(graph, "image", shape, DTYPE_F32, false, &values[0]));
  CHECK_OK(graph_input(graph, "labels", shape, DTYPE_U8, false, &values[1]));
  CHECK_OK(augment_add_inputs(graph, config, 1, box, 3, &inputs));
  CHECK_OK(augment_add_moved(graph, config, box, "seen", values[0], &inputs, false, &seen));
  CHECK_OK(augment_add_moved(graph, config, box, "truth", values[1], &inputs, true, &truth));
  CHECK_OK(augment_add_contrast(graph, config, seen, &inputs, &seen));
  CHECK_OK(graph_output(graph, "seen", seen));
  CHECK_OK(graph_output(graph, "truth", truth));
  CHECK_OK(plan_make(&bench->plan, graph, &(struct plan_options){.training = false}));
  values[2] = inputs.motion;
  values[3] = inputs.control;
  values[4] = inputs.intensity;
  values[5] = inputs.blur;
  values[6] = inputs.low_resolution;
}

/* An image whose values are its labels. */
static void bench_open(struct bench *bench, const struct config *config) {
  static const char *const names[INPUTS] = {"image",     "labels", "motion",        "control",
                                            "intensity", "blur",   "low_resolution"};
  int values[INPUTS];
  memset(bench, 0, sizeof *bench);
  for (int i = 0; i < VOXELS; i++)
    bench->source[i] = bench->labels[i] = (unsigned char)(1 + i * 7 % 200);
  graph_open(&bench->graph, tested->kind, DTYPE_F32);
  bench_plan(bench, config, values);
  CHECK_OK(device_open(&bench->device, tested->name, 0, 1, false, 1));
  CHECK_OK(run_open(&bench->run, &bench->plan, &bench->device, NULL, NULL, NULL));
  for (int i = 0; i < INPUTS; i++)
    bench_add_input(bench, names[i], values[i],
                    i == 0   ? (void *)bench->source
                    : i == 1 ? bench->labels
                             : NULL);
  CHECK(bench->count == 2 + augment_input_count(config));
}

static void bench_take(struct bench *bench, const char *name, void *to, size_t bytes) {
  const void *memory;
  CHECK_OK(run_value(&bench->run, name, NULL, &memory));
  CHECK_OK(device_copy(&bench->device, to, memory, bytes));
}

static void bench_run(struct bench *bench, const struct config *config,
                      const struct augment_sample *sample) {
  static const double middle[3] = {(D - 1) / 2.0, (H - 1) / 2.0, (W - 1) / 2.0};
  augment_fill(config, sample, box, uneven, 3, middle, none, box, bench->input + 2);
  for (int i = 0; i < bench->count; i++)
    CHECK_OK(device_copy(&bench->device, bench->memory[i], bench->input[i], bench->bytes[i]));
  CHECK_OK(run_forward(&bench->run));
  CHECK_OK(bench->device.ops->synchronize(&bench->run.stream));
  bench_take(bench, "seen", bench->seen, sizeof bench->seen);
  bench_take(bench, "truth", bench->truth, sizeof bench->truth);
}

static void bench_close(struct bench *bench) {
  for (int i = 0; i < bench->count; i++)
    bench->device.ops->release(&bench->device, bench->memory[i], bench->bytes[i]);
  for (int i = 2; i < bench->count; i++) free(bench->input[i]);
  run_close(&bench->run);
  device_close(&bench->device);
  plan_close(&bench->plan);
  graph_close(&bench->graph);
}

#define SPATIAL                                                                            \
  "rotation = [30.0]; scaling = [0.7, 1.4]; elastic_deformation = 2.0; elastic_spacing = " \
  "[5]; flip = \"LR,AP,IS\"; "

TEST(image_and_labels_move_together) {
  struct config config;
  struct bench bench;
  struct augment_sample sample = augment_nothing();
  open_config(&config, SPATIAL);
  bench_open(&bench, &config);
  bench_run(&bench, &config, &sample);
  CHECK(memcmp(bench.seen, bench.source, sizeof bench.source) == 0);
  CHECK(memcmp(bench.truth, bench.labels, sizeof bench.labels) == 0);
  sample.flip[0] = sample.flip[1] = sample.flip[2] = true;
  bench_run(&bench, &config, &sample);
  for (int i = 0; i < VOXELS; i++) {
    CHECK(bench.seen[i] == bench.source[VOXELS - 1 - i]);
    CHECK(bench.truth[i] == bench.labels[VOXELS - 1 - i]);
  }
  bench_close(&bench);
  config_close(&config);
}

/* Smooth values, so that the image between voxels is near the nearest label. */
TEST(bent_images_stay_near_their_labels) {
  struct config config;
  struct bench bench;
  struct augment_sample sample;
  int compared = 0, changed = 0;
  open_config(&config, SPATIAL
              "rotation_probability = 1.0; scaling_probability = 1.0; "
              "elastic_probability = 1.0; fill = \"edge\"");
  bench_open(&bench, &config);
  for (int i = 0; i < VOXELS; i++) {
    int value = 20 + 5 * (i / (H * W)) + 6 * (i / W % H) + 4 * (i % W);
    bench.source[i] = (float)value;
    bench.labels[i] = (unsigned char)value;
  }
  augment_draw(&config, 0, "subject", 0, 3, &sample);
  bench_run(&bench, &config, &sample);
  for (int i = 0; i < VOXELS; i++) {
    if (bench.truth[i] == 0) continue; /* outside */
    compared++;
    changed += bench.truth[i] != bench.labels[i];
    CHECK_SAY(fabs(bench.seen[i] - bench.truth[i]) <= 7.5 + 1e-4, " (%g, %d)",
              (double)bench.seen[i], bench.truth[i]);
  }
  CHECK(compared > VOXELS / 4 && changed > compared / 2);
  bench_close(&bench);
  config_close(&config);
}

#define CONTRASTS                                                                            \
  "noise = 1.0; brightness = [0.5, 2.0]; contrast = [0.5, 2.0]; gamma = [0.5, 2.0]; blur = " \
  "[0.5, 1.0]; low_resolution = [0.5, 1.0]; "

TEST(neutral_numbers_are_the_identity) {
  struct config config;
  struct bench bench;
  struct augment_sample sample = augment_nothing();
  open_config(&config, SPATIAL CONTRASTS);
  CHECK(augment_contrasts(&config) && augment_input_count(&config) == 5);
  bench_open(&bench, &config);
  for (int i = 0; i < VOXELS; i++) bench.source[i] = 0.37F * (float)sin(i);
  bench_run(&bench, &config, &sample);
  for (int i = 0; i < VOXELS; i++) CHECK(bench.seen[i] == bench.source[i]);
  sample.brightness = 2;
  bench_run(&bench, &config, &sample);
  for (int i = 0; i < VOXELS; i++) CHECK(bench.seen[i] == 2 * bench.source[i]);
  sample.noise = 0.01;
  bench_run(&bench, &config, &sample);
  double squares = 0;
  for (int i = 0; i < VOXELS; i++)
    squares += pow((double)(bench.seen[i] / 2 - bench.source[i]), 2) / VOXELS;
  CHECK_NEAR(sqrt(squares), 0.01, 0.001);
  bench_close(&bench);
  config_close(&config);
}

/* The deviation of neighbours along each axis, of noise that one number of the sample acts on. */
static void find_roughness(const struct config *config, const struct augment_sample *sample,
                           double rough[3]) {
  static const int step[3] = {H * W, W, 1};
  struct bench bench;
  bench_open(&bench, config);
  for (int i = 0; i < VOXELS; i++) bench.source[i] = 0;
  bench_run(&bench, config, sample);
  for (int axis = 0; axis < 3; axis++) {
    rough[axis] = 0;
    for (int i = 0; i < VOXELS - step[axis]; i++)
      rough[axis] += pow((double)(bench.seen[i + step[axis]] - bench.seen[i]), 2) / VOXELS;
  }
  bench_close(&bench);
}

/* Noise comes before blur and low resolution, which smooth it along their axes alone. */
TEST(steps_come_in_their_order) {
  struct config config;
  struct augment_sample sample = augment_nothing();
  double rough[3], blurred[3], coarse[3];
  open_config(&config, SPATIAL CONTRASTS);
  sample.noise = 1;
  find_roughness(&config, &sample, rough);
  sample.blur[1] = 1;
  find_roughness(&config, &sample, blurred);
  sample.blur[1] = 0;
  sample.low_resolution[2] = 0.5;
  find_roughness(&config, &sample, coarse);
  for (int axis = 0; axis < 3; axis++) CHECK_NEAR(rough[axis], 2, 0.3);
  CHECK(blurred[1] < 0.5 * blurred[0] && blurred[1] < 0.5 * blurred[2]);
  CHECK(coarse[2] < 0.5 * coarse[0] && coarse[2] < 0.5 * coarse[1]);
  config_close(&config);
}

int main(void) {
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  for (int i = 0; devices[i]; i++) {
    tested = devices[i];
    if (tested->count(NULL) < 1) continue;
    printf("%s\n", tested->name);
    RUN(image_and_labels_move_together);
    RUN(bent_images_stay_near_their_labels);
    RUN(neutral_numbers_are_the_identity);
    RUN(steps_come_in_their_order);
  }
  return check_result();
}
