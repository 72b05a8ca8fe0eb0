/* bench CONFIG: the time of training steps on random images, by operator; for comparison with other
 * programs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/random.h"
#include "command/bench.h"
#include "command/bench_whole.h"
#include "command/machine.h"
#include "command/reduction.h"
#include "command/sketch.h"
#include "optim/optim.h"

struct bench {
  const struct config *config;
  struct comm *comm;
  struct sketch sketch;
  struct device device;
  struct optimizer optimizer;
  struct event started, ended;
  void *inputs;
  float *weights, *gradients;
  size_t block_bytes, free_before; /* bytes of the device's memory that were free at first */
  double *row;                     /* what the batch adds to sums */
  double seconds[BENCH_MOST_STEPS];
  const struct run_hooks *hooks; /* of backward; NULL: none */
  json_t *kinds;                 /* of steps, with their shares */
};

/* Images of uniform noise, labels of every class: the time does not depend on what they show. */
static void make_input(const struct bench *bench, const struct tensor *tensor,
                       struct random *stream, void *memory) {
  int64_t count = tensor_elements(tensor);
  uint32_t classes = (uint32_t)bench->sketch.task_run.dataset.classes;
  for (int64_t k = 0; k < count; k++) {
    uint32_t bits = random_bits(stream);
    if (tensor->dtype == DTYPE_U8)
      ((uint8_t *)memory)[k] = (uint8_t)(bits % classes);
    else
      ((float *)memory)[k] = (float)(bits >> 8) / 16777216.0f;
  }
}

static void make_inputs(const struct bench *bench, void *memory) {
  const struct network *network = &bench->sketch.training;
  struct random stream = random_stream(1, RANDOM_TEST, 0, 0);
  for (int i = 0, input = 0; i < network->graph.value_count; i++)
    if (network->graph.values[i].is_input && i != network->sums)
      make_input(bench, &network->graph.values[i].tensor, &stream,
                 (char *)memory + network->batch.offset[input++]);
}

/* New memory of the device, filled from the host. */
static enum status upload(struct bench *bench, const void *from, size_t bytes, void **memory) {
  TRY(bench->device.ops->allocate(&bench->device, bytes, memory));
  return device_copy(&bench->device, *memory, from, bytes);
}

static enum status open_memory(struct bench *bench, void *host) {
  const struct network *network = &bench->sketch.training;
  void *weights, *gradients;
  make_inputs(bench, host);
  TRY(upload(bench, host, network->batch.bytes, &bench->inputs));
  plan_initialize(&network->plan, (uint64_t)bench->config->root.seed, host);
  TRY(upload(bench, host, bench->block_bytes, &weights));
  bench->weights = weights;
  memset(host, 0, bench->block_bytes);
  TRY(upload(bench, host, bench->block_bytes, &gradients));
  bench->gradients = gradients;
  return STATUS_OK;
}

static enum status fill_memory(struct bench *bench) {
  const struct network *network = &bench->sketch.training;
  bench->block_bytes = sizeof(float) * (size_t)network->plan.parameter_elements;
  bool larger = network->batch.bytes > bench->block_bytes;
  void *host = calloc(1, larger ? network->batch.bytes : bench->block_bytes);
  REQUIRE(host, STATUS_FAILED, "bench: out of memory");
  enum status status = open_memory(bench, host);
  free(host);
  return status;
}

static enum status open_sums(struct bench *bench) {
  struct sums *sums = &bench->sketch.sums;
  if (sums->count == 0) return STATUS_OK;
  bench->row = calloc((size_t)sums->count, sizeof(double));
  REQUIRE(bench->row, STATUS_FAILED, "bench: out of memory");
  return sums_open(sums, &bench->sketch.training, &bench->device, NULL, bench->weights);
}

static enum status bench_open(struct bench *bench, const struct config *config, struct comm *comm) {
  size_t total;
  bench->config = config;
  bench->comm = comm;
  TRY(machine_open(&bench->device, config, comm));
  TRY(bench->device.ops->memory(&bench->device, &bench->free_before, &total));
  TRY(sketch_open(&bench->sketch, config, bench->device.ops));
  struct network *network = &bench->sketch.training;
  TRY(fill_memory(bench));
  struct optimizer_options options = optimizer_defaults(config->train.optimizer);
  TRY(optimizer_open(&bench->optimizer, &bench->device, &options, network->plan.trained_elements));
  TRY(bench->device.ops->event_open(&bench->device, &bench->started));
  TRY(bench->device.ops->event_open(&bench->device, &bench->ended));
  TRY(network_open(network, &bench->device, NULL, bench->weights, bench->gradients));
  TRY(open_sums(bench));
  return network_bind(network, bench->inputs);
}

static void bench_close(struct bench *bench) {
  const struct device_ops *device = bench->device.ops;
  size_t batch_bytes = bench->sketch.training.batch.bytes;
  sums_close(&bench->sketch.sums);
  free(bench->row);
  json_decref(bench->kinds);
  network_close(&bench->sketch.training);
  optimizer_close(&bench->optimizer);
  if (device) {
    device->event_close(&bench->started);
    device->event_close(&bench->ended);
    device->release(&bench->device, bench->inputs, batch_bytes);
    device->release(&bench->device, bench->weights, bench->block_bytes);
    device->release(&bench->device, bench->gradients, bench->block_bytes);
  }
  device_close(&bench->device);
  sketch_close(&bench->sketch);
}

static enum status one_slot(struct bench *bench) {
  struct run *run = &bench->sketch.training.run;
  struct sums *sums = &bench->sketch.sums;
  if (sums->count > 0) {
    TRY(bench->device.ops->synchronize(&run->stream));
    TRY(sums_of_slot(sums, bench->inputs, bench->row));
    TRY(sums_give(sums, &run->stream, bench->row, 1));
  }
  TRY(run_forward(run));
  return run_backward(run, 1.0, bench->hooks);
}

static enum status update(struct bench *bench) {
  return optimizer_step(&bench->optimizer, &bench->sketch.training.run.stream, bench->weights,
                        bench->gradients, bench->config->train.learning_rate, 1.0);
}

static enum status one_step(struct bench *bench) {
  TRY(one_slot(bench));
  return update(bench);
}

/* By the device's own clock, from when it starts to when it is done. */
static enum status time_work(struct bench *bench, enum status (*work)(struct bench *),
                             double *seconds) {
  const struct device_ops *device = bench->device.ops;
  struct stream *stream = &bench->sketch.training.run.stream;
  TRY(device->event_record(&bench->started, stream));
  TRY(work(bench));
  TRY(device->event_record(&bench->ended, stream));
  TRY(device->synchronize(stream));
  return device->event_seconds(&bench->started, &bench->ended, seconds);
}

static json_t *describe_memory(const struct bench *bench) {
  struct rusage usage;
  size_t available = bench->free_before, total = 0;
  getrusage(RUSAGE_SELF, &usage);
  json_t *memory = json_object();
  json_object_set_new(memory, "peak_resident_gib", json_real((double)usage.ru_maxrss / 1048576.0));
  if (bench->device.ops->host_memory) return memory;
  struct device device = bench->device;
  if (device.ops->memory(&device, &available, &total)) status_clear();
  double used = available < bench->free_before ? (double)(bench->free_before - available) : 0;
  json_object_set_new(memory, "device_gib", json_real(used / 0x1p30));
  return memory;
}

/* With several ranks: how much of the reduction is hidden behind backward. */
static enum status measure_reduction(struct bench *bench, json_t **result) {
  struct run *run = &bench->sketch.training.run;
  struct tree tree = {0};
  struct comm *comm = bench->comm;
  double alone, plain, beside;
  enum status status = reduction_open(&tree, comm, &bench->device, bench->config, comm->size,
                                      bench->sketch.training.plan.parameter_elements);
  if (!status) status = reduction_alone(&tree, &run->stream, bench->gradients, &alone);
  if (!status) status = reduction_beside(NULL, comm, run, bench->gradients, &plain);
  if (!status) status = reduction_beside(&tree, comm, run, bench->gradients, &beside);
  tree_close(&tree);
  TRY(status);
  double hidden = 1 - (beside - plain) / alone;
  *result =
      json_pack("{s:i, s:f, s:f, s:f, s:f}", "ranks", comm->size, "seconds_reduction", alone,
                "seconds_slot", plain, "seconds_slot_and_reduction", beside, "reduction_overlap",
                hidden > 1   ? 1
                : hidden < 0 ? 0
                             : hidden);
  REQUIRE(*result, STATUS_FAILED, "bench: out of memory");
  return STATUS_OK;
}

/* The share of each kind of step; while timing is on. */
static enum status describe_kinds(struct bench *bench) {
  const struct run *run = &bench->sketch.training.run;
  struct run_kind *kinds = calloc((size_t)run->plan->step_count, sizeof *kinds);
  REQUIRE(kinds, STATUS_FAILED, "bench: out of memory");
  int count = run_timing_kinds(run, kinds);
  double total = 0;
  for (int i = 0; i < count; i++) total += kinds[i].seconds;
  bench->kinds = json_array();
  for (int i = 0; i < count && total > 0; i++)
    json_array_append_new(
        bench->kinds,
        json_pack("{s:s, s:s, s:s, s:i, s:f, s:f}", "direction", step_kind_name(kinds[i].kind),
                  "operator", kinds[i].op->name, "kernel", kinds[i].kernel->name, "steps",
                  kinds[i].steps, "share", kinds[i].seconds / total, "flop", kinds[i].flops));
  free(kinds);
  return STATUS_OK;
}

/* After memory was looked at: this takes some of its own. No peak where there is no room. */
static json_t *describe_machine(struct bench *bench) {
  struct peak peak;
  bool known = peak_measure(&bench->device, DTYPE_F32, &peak) == STATUS_OK;
  if (!known) status_clear();
  return bench_machine(&bench->device, known ? &peak : NULL);
}

static json_t *describe_steps(const struct bench *bench, int steps) {
  const struct network *network = &bench->sketch.training;
  const struct plan *plan = &network->plan;
  double flops =
      plan->forward_flops + plan->backward_flops + bench->sketch.sums.network.plan.forward_flops;
  double median = bench->seconds[steps / 2];
  int samples = (int)bench->config->train.slot_samples;
  return json_pack("{s:s, s:s, s:s, s:[i,i,i], s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "network",
                   bench->config->model.name, "device", bench->device.ops->name, "activations",
                   dtype_name(network->graph.activation), "size", network->extent[0],
                   network->extent[1], network->extent[2], "samples", samples, "threads",
                   bench->device.threads, "steps", steps, "seconds_median", median, "seconds_min",
                   bench->seconds[0], "seconds_max", bench->seconds[steps - 1],
                   "samples_per_second", samples / median, "gflop_per_second",
                   flops * 1e-9 / median);
}

static enum status print_json(struct bench *bench, int steps, json_t *more) {
  json_t *result = describe_steps(bench, steps), *memory = describe_memory(bench);
  if (result && memory) json_object_update(result, memory);
  if (result && more) json_object_update(result, more);
  json_decref(memory);
  if (result) json_object_set(result, "kinds", bench->kinds);
  if (result) json_object_set_new(result, "machine", describe_machine(bench));
  return bench_print(result);
}

/* A device with a stream of its own is timed by operator in steps of their own: measuring keeps it
 * from being given a step as one. */
static enum status measure(struct bench *bench, int steps) {
  struct run *run = &bench->sketch.training.run;
  bool together = bench->device.ops->host_memory;
  for (int i = 0; i < (together ? 1 : 3); i++) TRY(one_step(bench)); /* touch memory; record */
  if (together) TRY(run_timing(run, true));
  for (int i = 0; i < steps; i++) TRY(time_work(bench, one_step, &bench->seconds[i]));
  if (!together) TRY(run_timing(run, true));
  for (int i = 0; i < steps && !together; i++) TRY(one_step(bench));
  bench_sort(bench->seconds, steps);
  if (bench->comm->rank == 0) run_print_timing(run, stdout);
  TRY(describe_kinds(bench));
  return run_timing(run, false);
}

static enum status slot_with_hooks(void *context, const struct run_hooks *hooks) {
  struct bench *bench = context;
  bench->hooks = hooks;
  enum status status = one_slot(bench);
  bench->hooks = NULL;
  return status;
}

static enum status update_whole(void *context) {
  return update(context);
}

static enum status measure_whole(struct bench *bench, int steps, json_t **result) {
  const struct bench_whole whole = {.config = bench->config,
                                    .comm = bench->comm,
                                    .run = &bench->sketch.training.run,
                                    .gradients = bench->gradients,
                                    .slot = slot_with_hooks,
                                    .update = update_whole,
                                    .context = bench};
  json_t *figures = NULL;
  TRY(bench_whole(&whole, steps, &figures));
  if (!*result) *result = json_object();
  json_object_set_new(*result, "whole", figures);
  return STATUS_OK;
}

static enum status measure_and_print(struct bench *bench, int steps, bool whole) {
  json_t *more = NULL;
  TRY(measure(bench, steps));
  enum status status = STATUS_OK;
  if (bench->comm->size > 1) status = measure_reduction(bench, &more);
  if (!status && whole) status = measure_whole(bench, steps, &more);
  if (!status && bench->comm->rank == 0) status = print_json(bench, steps, more);
  json_decref(more);
  return status;
}

enum status bench_steps(const struct config *config, struct comm *comm, int steps, bool whole) {
  struct bench *bench = calloc(1, sizeof *bench);
  REQUIRE(bench, STATUS_FAILED, "bench: out of memory");
  enum status status = comm_agree(comm, bench_open(bench, config, comm));
  if (!status) status = measure_and_print(bench, steps, whole);
  bench_close(bench);
  free(bench);
  return status;
}

static enum status take_median(struct bench *bench, enum status (*work)(struct bench *), int count,
                               double *seconds) {
  for (int i = 0; i < count; i++) TRY(time_work(bench, work, &bench->seconds[i]));
  bench_sort(bench->seconds, count);
  *seconds = bench->seconds[count / 2];
  return STATUS_OK;
}

static enum status measure_slot(struct bench *bench, int slots, struct bench_slot *slot) {
  struct run *run = &bench->sketch.training.run;
  size_t bytes = sizeof(double) * (size_t)run->plan->step_count;
  TRY(one_step(bench)); /* touches memory */
  TRY(take_median(bench, one_slot, slots, &slot->seconds));
  TRY(take_median(bench, update, slots, &slot->update_seconds));
  slot->threads = bench->device.threads;
  slot->step_seconds = malloc(bytes);
  REQUIRE(slot->step_seconds, STATUS_FAILED, "bench: out of memory");
  TRY(run_timing(run, true));
  TRY(one_slot(bench));
  memcpy(slot->step_seconds, run->step_seconds, bytes);
  return run_timing(run, false);
}

enum status bench_slot(const struct config *config, struct comm *comm, int slots,
                       struct bench_slot *slot) {
  struct bench *bench = calloc(1, sizeof *bench);
  *slot = (struct bench_slot){0};
  REQUIRE(bench, STATUS_FAILED, "bench: out of memory");
  enum status status = comm_agree(comm, bench_open(bench, config, comm));
  if (!status) status = measure_slot(bench, slots, slot);
  bench_close(bench);
  free(bench);
  return status;
}

void bench_slot_close(struct bench_slot *slot) {
  free(slot->step_seconds);
  *slot = (struct bench_slot){0};
}
