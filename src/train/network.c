/* From a task to a planned graph, and the layout of its inputs. */
#include "train/network.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static enum status lay_out(struct network *network, int samples) {
  struct batch_layout *batch = &network->batch;
  *batch = (struct batch_layout){.samples = samples};
  network->sums = -1;
  for (int i = 0; i < network->graph.value_count; i++) {
    const struct value *value = &network->graph.values[i];
    if (!value->is_input) continue;
    if (strcmp(value->name, TASK_SUMS) == 0) {
      network->sums = i;
      continue;
    }
    REQUIRE(batch->count < NETWORK_MAX_INPUTS, STATUS_FAILED, "expected at most %d inputs",
            NETWORK_MAX_INPUTS);
    size_t bytes = tensor_bytes(&value->tensor);
    batch->name[batch->count] = value->name;
    batch->offset[batch->count] = batch->bytes;
    batch->sample_bytes[batch->count] = bytes / (size_t)samples;
    batch->count++;
    batch->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  return STATUS_OK;
}

static enum dtype activation_of(const struct config *config) {
  const char *precision = config->train.precision;
  if (strcmp(precision, "bf16") == 0) return DTYPE_BF16;
  return strcmp(precision, "fp16") == 0 ? DTYPE_F16 : DTYPE_F32;
}

/* How much memory recomputing shall save. */
static bool is_recomputed(const struct config *config, size_t *goal) {
  const char *recompute = config->train.recompute;
  double bound = config->train.memory * 1e9;
  *goal = 0;
  if (strcmp(recompute, "auto") != 0) return strcmp(recompute, "on") == 0;
  *goal = bound < (double)SIZE_MAX ? (size_t)bound : SIZE_MAX;
  return bound > 0;
}

enum status network_plan(struct network *network, const struct task *task,
                         const struct task_run *task_run, const struct config *config,
                         enum device_kind device, enum purpose purpose, int samples,
                         const int extent[3], struct kernel_choices *choices) {
  *network = (struct network){.purpose = purpose, .extent = {extent[0], extent[1], extent[2]}};
  graph_open(&network->graph, device, DTYPE_F32);
  graph_set_activation(&network->graph, activation_of(config));
  network->graph.evaluation = purpose == PURPOSE_PREDICTION;
  TRY(task->build(task_run, config, purpose, samples, extent, &network->graph));
  size_t goal;
  bool recompute = is_recomputed(config, &goal);
  const struct plan_options options = {
      .training = purpose == PURPOSE_TRAINING,
      .forced_kernel = config_forced_kernel,
      .context = (void *)(uintptr_t)config,
      .prefer = choices ? choices_prefer : NULL,
      .prefer_context = choices,
      .bucket_bytes = (size_t)config->comm.bucket_kib * 1024,
      .recompute = recompute,
      .memory_goal = goal,
      .capture = strcmp(config->train.capture, "auto") == 0,
      .no_folding = config->debug.no_folding,
      .no_reuse = config->debug.no_reuse,
      .poison = config->debug.poison,
      .guard = config->debug.guard,
  };
  TRY(plan_make(&network->plan, &network->graph, &options));
  return lay_out(network, samples);
}

/* Channels last is the same as plain for one channel. */
static bool is_plain(const struct tensor *tensor) {
  bool order =
      tensor->layout == LAYOUT_PLANAR || (tensor->layout == LAYOUT_LAST && tensor->shape.c == 1);
  return order && tensor->dtype == DTYPE_F32;
}

static enum status open_output(struct network *network, struct device *device, int value) {
  struct network_exchange *exchange = &network->exchange;
  const struct tensor *tensor = &network->graph.values[value].tensor;
  REQUIRE(exchange->count < NETWORK_MAX_OUTPUTS, STATUS_FAILED, "expected at most %d outputs",
          NETWORK_MAX_OUTPUTS);
  struct network_output *output = &exchange->output[exchange->count++];
  output->value = value;
  if (!device->ops->host_memory)
    TRY(device->ops->allocate_host(device, tensor_bytes(tensor), &output->stored));
  if (is_plain(tensor)) return STATUS_OK;
  int64_t elements = (int64_t)tensor->shape.n * tensor->shape.c * shape_voxels(tensor->shape);
  output->plain = malloc(sizeof(float) * (size_t)elements);
  REQUIRE(output->plain, STATUS_FAILED, "out of memory for the network's outputs");
  return STATUS_OK;
}

static enum status open_exchange(struct network *network, struct device *device) {
  struct network_exchange *exchange = &network->exchange;
  if (!device->ops->host_memory && network->purpose == PURPOSE_PREDICTION)
    TRY(device->ops->allocate(device, network->batch.bytes, &exchange->inputs));
  for (int i = 0; i < network->graph.value_count; i++)
    if (network->graph.values[i].is_output) TRY(open_output(network, device, i));
  return STATUS_OK;
}

static void close_exchange(struct network *network) {
  struct network_exchange *exchange = &network->exchange;
  struct device *device = network->run.device;
  for (int i = 0; i < exchange->count; i++) {
    struct network_output *output = &exchange->output[i];
    size_t bytes = tensor_bytes(&network->graph.values[output->value].tensor);
    if (output->stored) device->ops->release_host(device, output->stored, bytes);
    free(output->plain);
  }
  if (exchange->inputs) device->ops->release(device, exchange->inputs, network->batch.bytes);
}

enum status network_open(struct network *network, struct device *device, void *arena,
                         const float *weights, float *gradients) {
  TRY(run_open(&network->run, &network->plan, device, arena, weights, gradients));
  return network->plan.options.training ? STATUS_OK : open_exchange(network, device);
}

enum status network_bind(struct network *network, const void *memory) {
  for (int i = 0; i < network->batch.count; i++)
    TRY(run_bind(&network->run, network->batch.name[i],
                 (const char *)memory + network->batch.offset[i]));
  return STATUS_OK;
}

void batch_pointers(const struct batch_layout *batch, void *memory, int sample,
                    void *inputs[NETWORK_MAX_INPUTS]) {
  for (int i = 0; i < batch->count; i++)
    inputs[i] = (char *)memory + batch->offset[i] + (size_t)sample * batch->sample_bytes[i];
}

/* Inputs of one batch, each in memory of its own on the host, to where the device reads them. */
static enum status give_inputs(struct network *network, const void *const *inputs) {
  const struct batch_layout *batch = &network->batch;
  struct run *run = &network->run;
  unsigned char *to = network->exchange.inputs;
  for (int i = 0; i < batch->count && to; i++)
    TRY(run->device->ops->copy(&run->stream, to + batch->offset[i], inputs[i],
                               batch->sample_bytes[i] * (size_t)batch->samples));
  if (to) return network_bind(network, to);
  for (int i = 0; i < batch->count; i++) TRY(run_bind(run, batch->name[i], inputs[i]));
  return STATUS_OK;
}

static enum status run_on(void *context, const int extent[3], const void *const *inputs) {
  struct network *network = context;
  for (int axis = 0; axis < 3; axis++)
    REQUIRE(extent[axis] == network->extent[axis], STATUS_FAILED,
            "network planned for %d along axis %d, asked to run on %d", network->extent[axis], axis,
            extent[axis]);
  TRY(give_inputs(network, inputs));
  return run_forward(&network->run);
}

/* From the device to `stored`, and from there to `plain`. */
static enum status fetch(struct network *network, const struct network_output *output,
                         const void **memory) {
  struct run *run = &network->run;
  const struct value *value = &network->graph.values[output->value];
  const void *found = *memory;
  if (output->stored) {
    TRY(run->device->ops->copy(&run->stream, output->stored, found, tensor_bytes(&value->tensor)));
    found = output->stored;
  }
  TRY(run->device->ops->synchronize(&run->stream));
  if (output->plain) tensor_to_planar(&value->tensor, found, output->plain);
  *memory = output->plain ? output->plain : found;
  return STATUS_OK;
}

static enum status output_of(void *context, const char *name, const void **memory) {
  struct network *network = context;
  const struct network_exchange *exchange = &network->exchange;
  TRY(run_value(&network->run, name, NULL, memory));
  for (int i = 0; i < exchange->count; i++)
    if (strcmp(network->graph.values[exchange->output[i].value].name, name) == 0)
      return fetch(network, &exchange->output[i], memory);
  FAIL(STATUS_FAILED, "the network has no output called \"%s\"", name);
}

struct task_network network_for_task(struct network *network) {
  return (struct task_network){.context = network, .run = run_on, .output = output_of};
}

void network_close(struct network *network) {
  close_exchange(network);
  run_close(&network->run);
  plan_close(&network->plan);
  graph_close(&network->graph);
  *network = (struct network){0};
}
