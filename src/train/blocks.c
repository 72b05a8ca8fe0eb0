/* The memory of parameters: on the device, all of one size; those that a checkpoint holds have a
 * copy on the host where the host cannot read the device. */
#include <stdio.h>
#include <string.h>
#include "train/trainer.h"
#include "train/weights.h"

static enum status allocate_block(struct trainer *trainer, float **block) {
  struct device *device = trainer->device;
  struct stream stream = {.device = device};
  void *memory;
  TRY(device->ops->allocate(device, trainer->blocks.bytes, &memory));
  *block = memory;
  TRY(device->ops->fill(&stream, memory, 0, trainer->blocks.bytes));
  return device->ops->synchronize(&stream);
}

enum status blocks_open(struct trainer *trainer) {
  struct state_blocks *blocks = &trainer->blocks;
  blocks->count = trainer->training.plan.parameter_elements;
  blocks->trained = trainer->training.plan.trained_elements;
  blocks->bytes = sizeof(float) * (size_t)blocks->count;
  TRY(allocate_block(trainer, &blocks->weights));
  TRY(allocate_block(trainer, &blocks->gradients));
  return trainer->config->train.ema_decay > 0 ? allocate_block(trainer, &blocks->average)
                                              : STATUS_OK;
}

static void add(const struct state_blocks *blocks, struct saved_block *saved, int *count,
                const char *prefix, float *memory, bool statistics) {
  struct saved_block *added = &saved[(*count)++];
  *added = (struct saved_block){.memory = memory, .host = memory, .statistics = statistics};
  added->bytes = sizeof(float) * (size_t)(statistics ? blocks->count : blocks->trained);
  snprintf(added->prefix, sizeof added->prefix, "%s", prefix);
}

int blocks_saved(const struct trainer *trainer, struct saved_block saved[BLOCKS_MOST_SAVED]) {
  const struct state_blocks *blocks = &trainer->blocks;
  int count = 0;
  add(blocks, saved, &count, WEIGHTS_PREFIX, blocks->weights, true);
  for (int i = 0; i < trainer->optimizer.state_count; i++) {
    char
        prefix[sizeof saved->prefix]; /* Adam's m of "flow.weight" is called "adam.m/flow.weight" */
    snprintf(prefix, sizeof prefix, "%s/", trainer->optimizer.state_name[i]);
    add(blocks, saved, &count, prefix, trainer->optimizer.state[i], false);
  }
  if (blocks->average) add(blocks, saved, &count, AVERAGE_PREFIX, blocks->average, true);
  for (int i = 0; i < count && blocks->host; i++) saved[i].host = blocks->host + i * blocks->count;
  return count;
}

/* Rank 0 saves, the others are given what it has read: all of them need a copy of every block. */
static enum status open_copies(struct trainer *trainer) {
  struct state_blocks *blocks = &trainer->blocks;
  struct saved_block saved[BLOCKS_MOST_SAVED];
  void *memory;
  if (trainer->device->ops->host_memory) return STATUS_OK;
  blocks->host_bytes = blocks->bytes * (size_t)blocks_saved(trainer, saved);
  TRY(trainer->device->ops->allocate_host(trainer->device, blocks->host_bytes, &memory));
  blocks->host = memory;
  memset(memory, 0, blocks->host_bytes); /* between parameters, too */
  return STATUS_OK;
}

enum status blocks_to_device(const struct trainer *trainer, const struct saved_block *block) {
  struct stream stream = trainer->training.run.stream;
  if (block->host == block->memory) return STATUS_OK;
  TRY(trainer->device->ops->copy(&stream, block->memory, block->host, block->bytes));
  return trainer->device->ops->synchronize(&stream);
}

enum status blocks_to_host(const struct trainer *trainer, const struct saved_block *block) {
  struct stream stream = trainer->training.run.stream;
  if (block->host == block->memory) return trainer->device->ops->synchronize(&stream);
  TRY(trainer->device->ops->copy(&stream, block->host, block->memory, block->bytes));
  return trainer->device->ops->synchronize(&stream);
}

enum status blocks_start(struct trainer *trainer) {
  const struct config *config = trainer->config;
  const struct plan *plan = &trainer->training.plan;
  struct saved_block saved[BLOCKS_MOST_SAVED];
  TRY(open_copies(trainer));
  int count = blocks_saved(trainer, saved);
  float *weights = saved[0].host;
  plan_initialize(plan, (uint64_t)config->root.seed, weights);
  if (*config->model.weights) TRY(weights_read(config->model.weights, plan, weights));
  TRY(blocks_to_device(trainer, &saved[0]));
  if (!trainer->blocks.average) return STATUS_OK;
  memcpy(saved[count - 1].host, weights, trainer->blocks.bytes);
  return blocks_to_device(trainer, &saved[count - 1]);
}

void blocks_close(struct trainer *trainer) {
  struct device *device = trainer->device;
  struct state_blocks *blocks = &trainer->blocks;
  device->ops->release(device, blocks->weights, blocks->bytes);
  device->ops->release(device, blocks->gradients, blocks->bytes);
  device->ops->release(device, blocks->average, blocks->bytes);
  device->ops->release_host(device, blocks->host, blocks->host_bytes);
  *blocks = (struct state_blocks){0};
}
