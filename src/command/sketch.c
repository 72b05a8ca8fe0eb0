/* What training would need. The same numbers as the trainer's own allocations, line by line. */
#include "command/sketch.h"
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "comm/tree.h"
#include "data/subject.h"
#include "optim/optim.h"

/* Extents of the prepared volumes as far as the config fixes them. */
static enum status extents_of(const struct config *config, int extent[3]) {
  const struct int_list *size = &config->data.size;
  if (size->count != 3) size = &config->data.resample;
  if (size->count != 3 && config->data.phantom) size = &config->phantom.size;
  if (size->count != 3 && subject_keeps_grid(config)) size = &config->pose.size; /* about */
  REQUIRE(size->count == 3, STATUS_USAGE,
          "%s: there is no prepared data, and data.size does not say how large volumes are; "
          "prepare first, "
          "or give data.size=[D,H,W]",
          config->data.shards);
  for (int axis = 0; axis < 3; axis++) {
    bool own = subject_keeps_grid(config) || (axis == 0 && subject_keeps_slices(config));
    int multiple = own ? 1 : (int)config->data.multiple;
    int64_t wanted = size->value[axis] ? size->value[axis] : config->data.resample.value[axis];
    if (!wanted) wanted = 1; /* only the volumes say it */
    extent[axis] = (int)(wanted + multiple - 1) / multiple * multiple;
  }
  return STATUS_OK;
}

static enum status look_at_data(struct sketch *sketch, const struct config *config) {
  struct dataset *dataset = &sketch->task_run.dataset;
  sketch->task_run = (struct task_run){.config = config, .atlas = -1};
  if (file_exists(config->data.shards)) {
    struct dataset opened;
    TRY(dataset_open(&opened, config->data.shards, config->data.cache));
    memcpy(dataset->extent, opened.extent, sizeof dataset->extent);
    dataset->classes = opened.classes;
    dataset->has_labels = opened.has_labels;
    dataset_close(&opened);
    return STATUS_OK;
  }
  dataset->classes = config->data.labels.count ? config->data.labels.count + 1 : 5;
  if (config->data.phantom && !config->data.labels.count)
    dataset->classes = (int)config->phantom.labels + 1;
  dataset->has_labels = config->loss.lam_dice > 0;
  return extents_of(config, dataset->extent);
}

enum status sketch_open(struct sketch *sketch, const struct config *config,
                        const struct device_ops *device) {
  *sketch = (struct sketch){.device = device};
  TRY(task_find(config->root.task, &sketch->task));
  TRY(look_at_data(sketch, config));
  const int *extent = sketch->task_run.dataset.extent;
  TRY(network_plan(&sketch->training, sketch->task, &sketch->task_run, config, device->kind,
                   PURPOSE_TRAINING, (int)config->train.slot_samples, extent, NULL));
  TRY(sums_plan(&sketch->sums, &sketch->training, sketch->task, &sketch->task_run, config, NULL));
  return network_plan(&sketch->evaluation, sketch->task, &sketch->task_run, config, device->kind,
                      PURPOSE_PREDICTION, 1, extent, NULL);
}

void sketch_close(struct sketch *sketch) {
  sums_close(&sketch->sums);
  network_close(&sketch->training);
  network_close(&sketch->evaluation);
  *sketch = (struct sketch){0};
}

static void add_line(struct sketch_memory *memory, enum sketch_place place, const char *what,
                     double bytes) {
  if (bytes == 0) return;
  memory->line[memory->count].place = place;
  memory->line[memory->count].what = what;
  memory->line[memory->count++].bytes = bytes;
  memory->total[place] += bytes;
}

static int optimizer_states(const char *name) {
  for (int i = 0; optimizers[i]; i++)
    if (strcmp(optimizers[i]->name, name) == 0) {
      const struct optimizer_options options = optimizer_defaults(name);
      return optimizers[i]->count_states(&options);
    }
  return 0;
}

/* What the process holds before it allocates anything of its own: code, libraries, MPI. */
static double resident_now(void) {
  long pages = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file && fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
  if (file) fclose(file);
  return (double)resident * 4096;
}

/* What the device computes on, wherever its memory is. */
static void add_computation(struct sketch_memory *memory, enum sketch_place place,
                            const struct sketch *sketch, const struct config *config, int ranks,
                            int states) {
  const struct plan *plan = &sketch->training.plan;
  size_t arenas[] = {plan->arena_bytes, sketch->evaluation.plan.arena_bytes,
                     sketch->sums.network.plan.arena_bytes};
  size_t arena = 0;
  for (int i = 0; i < 3; i++)
    if (arenas[i] > arena) arena = arenas[i];
  double block = sizeof(float) * (double)plan->parameter_elements;
  enum tree_mode mode = strcmp(config->comm.reduce, "fast") == 0 ? TREE_FAST : TREE_EXACT;
  add_line(memory, place, "activations and their gradients (one arena)", (double)arena);
  add_line(memory, place, "inputs, two batches", 2.0 * (double)sketch->training.batch.bytes);
  add_line(memory, place, "inputs of validation", (double)sketch->evaluation.batch.bytes);
  add_line(memory, place, "weights", block);
  add_line(memory, place, "gradients", block);
  add_line(memory, place, "optimiser and average", states * block);
  add_line(memory, place, "reduction",
           (double)tree_memory(mode, (int)config->train.slots, ranks, plan->parameter_elements));
}

/* What passes between the host and a device with memory of its own. */
static void add_exchange(struct sketch_memory *memory, const struct sketch *sketch, int states) {
  double block = sizeof(float) * (double)sketch->training.plan.parameter_elements;
  add_line(memory, SKETCH_HOST, "inputs, three batches",
           3.0 * (double)sketch->training.batch.bytes);
  add_line(memory, SKETCH_HOST, "inputs of validation", (double)sketch->evaluation.batch.bytes);
  add_line(memory, SKETCH_HOST, "weights, optimiser and average", (1 + states) * block);
}

void sketch_memory(const struct sketch *sketch, const struct config *config, int ranks,
                   struct sketch_memory *memory) {
  double block = sizeof(float) * (double)sketch->training.plan.parameter_elements;
  int states = optimizer_states(config->train.optimizer) + (config->train.ema_decay > 0);
  bool shared = sketch->device->host_memory;
  *memory = (struct sketch_memory){0};
  add_computation(memory, shared ? SKETCH_HOST : SKETCH_DEVICE, sketch, config, ranks, states);
  if (!shared) add_exchange(memory, sketch, states);
  add_line(memory, SKETCH_HOST, "checkpoint snapshot (rank 0)", (1 + states) * block);
  add_line(memory, SKETCH_HOST, "program and libraries", resident_now());
}
