/* The network that sums, and the sums' way to training. */
#include "train/sums.h"
#include <stdlib.h>
#include <string.h>

static enum status check_inputs(const struct batch_layout *a, const struct batch_layout *b) {
  bool same = a->count == b->count && a->bytes == b->bytes;
  for (int i = 0; i < a->count && same; i++)
    same = strcmp(a->name[i], b->name[i]) == 0 && a->offset[i] == b->offset[i];
  REQUIRE(same, STATUS_FAILED, "the network that sums has other inputs than that which trains");
  return STATUS_OK;
}

/* The network may have none where the sums are of labels alone. */
static enum status check_parameters(const struct plan *own, const struct plan *training) {
  bool same = own->parameter_count == training->parameter_count &&
              own->parameter_elements == training->parameter_elements;
  REQUIRE(same || own->parameter_count == 0, STATUS_FAILED,
          "the network that sums has other parameters than that which trains");
  return STATUS_OK;
}

static const struct value *find_output(const struct graph *graph) {
  for (int i = 0; i < graph->value_count; i++)
    if (graph->values[i].is_output && strcmp(graph->values[i].name, TASK_SUMS) == 0)
      return &graph->values[i];
  return NULL;
}

enum status sums_plan(struct sums *sums, const struct network *training, const struct task *task,
                      const struct task_run *task_run, const struct config *config,
                      struct kernel_choices *choices) {
  struct network *network = &sums->network;
  if (training->sums < 0) return STATUS_OK;
  TRY(network_plan(network, task, task_run, config, training->graph.device, PURPOSE_SUMS,
                   training->batch.samples, training->extent, choices));
  TRY(check_inputs(&network->batch, &training->batch));
  TRY(check_parameters(&network->plan, &training->plan));
  const struct value *output = find_output(&network->graph);
  const struct tensor *input = &training->graph.values[training->sums].tensor;
  REQUIRE(
      output && shape_equal(input->shape, (struct shape){1, output->tensor.shape.c + 1, 1, 1, 1}),
      STATUS_FAILED, "expected %d sums, found %d", input->shape.c - 1,
      output ? output->tensor.shape.c : 0);
  sums->count = output->tensor.shape.c;
  sums->bytes = tensor_bytes(input);
  return STATUS_OK;
}

enum status sums_open(struct sums *sums, struct network *training, struct device *device,
                      void *arena, const float *weights) {
  const struct device_ops *table = device->ops;
  void *host;
  if (sums->count == 0) return STATUS_OK;
  TRY(network_open(&sums->network, device, arena, weights, NULL));
  TRY(table->allocate(device, sums->bytes, &sums->memory));
  TRY(table->allocate_host(device, sums->bytes, &host));
  sums->host = host;
  memset(host, 0, sums->bytes);
  for (int i = 0; i <= sums->count; i++) sums->host[i] = 1;
  TRY(device_copy(device, sums->memory, host, sums->bytes));
  return run_bind(&training->run, TASK_SUMS, sums->memory);
}

enum status sums_of_slot(struct sums *sums, const void *memory, double *row) {
  const struct task_network outputs = network_for_task(&sums->network);
  const void *found;
  TRY(network_bind(&sums->network, memory));
  TRY(run_forward(&sums->network.run));
  TRY(outputs.output(outputs.context, TASK_SUMS, &found));
  for (int i = 0; i < sums->count; i++) row[i] = (double)((const float *)found)[i];
  return STATUS_OK;
}

enum status sums_give(struct sums *sums, struct stream *stream, const double *totals, int slots) {
  for (int i = 0; i < sums->count; i++) sums->host[i] = (float)totals[i];
  sums->host[sums->count] = (float)slots;
  return stream->device->ops->copy(stream, sums->memory, sums->host, sums->bytes);
}

void sums_close(struct sums *sums) {
  struct device *device = sums->network.run.device;
  if (device) device->ops->release(device, sums->memory, sums->bytes);
  if (sums->host) device->ops->release_host(device, sums->host, sums->bytes);
  network_close(&sums->network);
  *sums = (struct sums){0};
}
