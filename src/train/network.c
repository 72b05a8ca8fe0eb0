/* From a task to a planned graph, and the layout of its inputs. */
#include "train/network.h"
#include <string.h>

enum { ALIGNMENT = 64 };

static enum status lay_out(struct network *network, int samples) {
  struct batch_layout *batch = &network->batch;
  *batch = (struct batch_layout){.samples = samples};
  for (int i = 0; i < network->graph.value_count; i++) {
    const struct value *value = &network->graph.values[i];
    if (!value->is_input) continue;
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

enum status network_plan(struct network *network, const struct task *task,
                         const struct task_run *task_run, const struct config *config,
                         enum device_kind device, enum purpose purpose, int samples,
                         const int extent[3]) {
  *network = (struct network){.extent = {extent[0], extent[1], extent[2]}};
  graph_open(&network->graph, device, DTYPE_F32);
  graph_set_activation(&network->graph, activation_of(config));
  TRY(task->build(task_run, config, purpose, samples, extent, &network->graph));
  const struct plan_options options = {
      .training = purpose == PURPOSE_TRAINING,
      .forced_kernel = config_forced_kernel,
      .context = (void *)(uintptr_t)config,
      .bucket_bytes = (size_t)config->comm.bucket_kib * 1024,
      .no_folding = config->debug.no_folding,
      .no_reuse = config->debug.no_reuse,
      .poison = config->debug.poison,
      .guard = config->debug.guard,
  };
  TRY(plan_make(&network->plan, &network->graph, &options));
  return lay_out(network, samples);
}

enum status network_open(struct network *network, struct device *device, void *arena,
                         const float *weights, float *gradients) {
  return run_open(&network->run, &network->plan, device, arena, weights, gradients);
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

static enum status run_on(void *context, const int extent[3], const void *const *inputs) {
  struct network *network = context;
  for (int axis = 0; axis < 3; axis++)
    REQUIRE(extent[axis] == network->extent[axis], STATUS_FAILED,
            "network planned for %d along axis %d, asked to run on %d", network->extent[axis], axis,
            extent[axis]);
  for (int i = 0; i < network->batch.count; i++)
    TRY(run_bind(&network->run, network->batch.name[i], inputs[i]));
  return run_forward(&network->run);
}

static enum status output_of(void *context, const char *name, const void **memory) {
  const struct network *network = context;
  return run_value(&network->run, name, NULL, memory);
}

struct task_network network_for_task(struct network *network) {
  return (struct task_network){.context = network, .run = run_on, .output = output_of};
}

void network_close(struct network *network) {
  run_close(&network->run);
  plan_close(&network->plan);
  graph_close(&network->graph);
  *network = (struct network){0};
}
