/* bench CONFIG: the time of training steps on random images, by operator; for comparison with other
 * programs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/random.h"
#include "base/timer.h"
#include "command/machine.h"
#include "command/options.h"
#include "command/sketch.h"
#include "optim/optim.h"

enum { MOST_STEPS = 1000 };

struct bench {
  const struct config *config;
  struct sketch sketch;
  struct device device;
  struct optimizer optimizer;
  void *inputs;
  float *weights, *gradients;
  size_t block_bytes;
  double seconds[MOST_STEPS];
};

static enum status allocate_block(struct bench *bench, float **block) {
  void *memory;
  TRY(bench->device.ops->allocate(&bench->device, bench->block_bytes, &memory));
  memset(memory, 0, bench->block_bytes);
  *block = memory;
  return STATUS_OK;
}

/* Images of uniform noise, labels of every class: the time does not depend on what they show. */
static void fill_inputs(struct bench *bench) {
  const struct network *network = &bench->sketch.training;
  struct random stream = random_stream(1, RANDOM_TEST, 0, 0);
  for (int i = 0; i < network->graph.value_count; i++) {
    const struct value *value = &network->graph.values[i];
    if (!value->is_input) continue;
    int input = 0;
    while (network->batch.name[input] != value->name) input++;
    char *memory = (char *)bench->inputs + network->batch.offset[input];
    int64_t count = tensor_elements(&value->tensor);
    uint32_t classes = (uint32_t)bench->sketch.task_run.dataset.classes;
    for (int64_t k = 0; k < count; k++) {
      uint32_t bits = random_bits(&stream);
      if (value->tensor.dtype == DTYPE_U8) {
        ((uint8_t *)memory)[k] = (uint8_t)(bits % classes);
      } else {
        ((float *)(void *)memory)[k] = (float)(bits >> 8) / 16777216.0f;
      }
    }
  }
}

static enum status bench_open(struct bench *bench, const struct config *config, struct comm *comm) {
  bench->config = config;
  TRY(machine_open(&bench->device, config, comm));
  TRY(sketch_open(&bench->sketch, config));
  struct network *network = &bench->sketch.training;
  bench->block_bytes = sizeof(float) * (size_t)network->plan.parameter_elements;
  TRY(allocate_block(bench, &bench->weights));
  TRY(allocate_block(bench, &bench->gradients));
  plan_initialize(&network->plan, (uint64_t)config->root.seed, bench->weights);
  struct optimizer_options options = optimizer_defaults(config->train.optimizer);
  TRY(optimizer_open(&bench->optimizer, &bench->device, &options,
                     network->plan.parameter_elements));
  bench->inputs = aligned_alloc(64, network->batch.bytes);
  REQUIRE(bench->inputs, STATUS_FAILED, "bench: out of memory");
  fill_inputs(bench);
  TRY(network_open(network, &bench->device, NULL, bench->weights, bench->gradients));
  return network_bind(network, bench->inputs);
}

static void bench_close(struct bench *bench) {
  network_close(&bench->sketch.training);
  optimizer_close(&bench->optimizer);
  if (bench->device.ops) {
    bench->device.ops->release(&bench->device, bench->weights, bench->block_bytes);
    bench->device.ops->release(&bench->device, bench->gradients, bench->block_bytes);
  }
  device_close(&bench->device);
  sketch_close(&bench->sketch);
  free(bench->inputs);
}

static enum status one_step(struct bench *bench) {
  struct run *run = &bench->sketch.training.run;
  TRY(run_forward(run));
  TRY(run_backward(run, 1.0, NULL));
  return optimizer_step(&bench->optimizer, &run->stream, bench->weights, bench->gradients,
                        bench->config->train.learning_rate, 1.0);
}

static int by_size(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

static enum status print_json(const struct bench *bench, int steps) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const struct plan *plan = &bench->sketch.training.plan;
  const int *extent = bench->sketch.training.extent;
  double median = bench->seconds[steps / 2];
  int samples = (int)bench->config->train.slot_samples;
  json_t *result =
      json_pack("{s:s, s:[i,i,i], s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "network",
                bench->config->model.name, "size", extent[0], extent[1], extent[2], "samples",
                samples, "threads", bench->device.threads, "steps", steps, "seconds_median", median,
                "seconds_min", bench->seconds[0], "seconds_max", bench->seconds[steps - 1],
                "samples_per_second", samples / median, "gflop_per_second",
                (plan->forward_flops + plan->backward_flops) * 1e-9 / median, "peak_resident_gib",
                (double)usage.ru_maxrss / 1048576.0);
  char *text = result ? json_dumps(result, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) : NULL;
  json_decref(result);
  REQUIRE(text, STATUS_FAILED, "bench: out of memory");
  printf("%s\n", text);
  free(text);
  return STATUS_OK;
}

static enum status measure(struct bench *bench, int steps) {
  TRY(one_step(bench)); /* the first one touches the memory */
  TRY(run_timing(&bench->sketch.training.run, true));
  for (int i = 0; i < steps; i++) {
    double started = timer_now();
    TRY(one_step(bench));
    bench->seconds[i] = timer_now() - started;
  }
  qsort(bench->seconds, (size_t)steps, sizeof(double), by_size);
  run_print_timing(&bench->sketch.training.run, stdout);
  return print_json(bench, steps);
}

static enum status bench_with(const struct config *config, struct comm *comm,
                              const char *steps_text) {
  long steps = 5;
  if (steps_text) TRY(options_number("--steps", steps_text, 1, MOST_STEPS, &steps));
  struct bench *bench = calloc(1, sizeof *bench);
  REQUIRE(bench, STATUS_FAILED, "bench: out of memory");
  enum status status = bench_open(bench, config, comm);
  if (!status) status = measure(bench, (int)steps);
  bench_close(bench);
  free(bench);
  return status;
}

static enum status bench_command(const struct invocation *invocation) {
  const char *steps = NULL;
  const struct option options[] = {{"--steps", &steps}, {0}};
  struct config config;
  struct words words;
  enum status status = options_open_config(invocation, options, &words, &config);
  if (!status) status = bench_with(&config, invocation->comm, steps);
  config_close(&config);
  return status;
}

extern const struct command command_bench;
const struct command command_bench = {
    .name = "bench",
    .usage = "CONFIG [--steps N] [key=value ...]",
    .help = "time of training steps on random images, by operator, and one line of JSON",
    .run = bench_command,
};
