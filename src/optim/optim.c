/* Opening, stepping and closing an optimiser; clipping. */
#include "optim/optim.h"
#include <string.h>
#include "base/text.h"

#define OPTIMIZER(name) extern const struct optimizer_kind optimizer_##name;
#include "optim/optimizers.def"
#undef OPTIMIZER

const struct optimizer_kind *const optimizers[] = {
#define OPTIMIZER(name) &optimizer_##name,
#include "optim/optimizers.def"
#undef OPTIMIZER
    NULL};

enum { MOST_KINDS = 16 };

struct optimizer_options optimizer_defaults(const char *kind) {
  return (struct optimizer_options){.kind = kind, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
}

static enum status find_kind(const char *name, const struct optimizer_kind **kind) {
  const char *names[MOST_KINDS];
  int count = 0;
  for (; optimizers[count] && count < MOST_KINDS; count++) {
    names[count] = optimizers[count]->name;
    if (strcmp(name, names[count]) != 0) continue;
    *kind = optimizers[count];
    return STATUS_OK;
  }
  const char *nearest = text_nearest(name, names, count);
  FAIL(STATUS_USAGE, "unknown optimizer \"%s\"%s%s%s", name, nearest ? "; did you mean \"" : "",
       nearest ? nearest : "", nearest ? "\"?" : "");
}

static size_t state_bytes(const struct optimizer *optimizer) {
  return (size_t)optimizer->count * sizeof(float);
}

static enum status open_states(struct optimizer *optimizer) {
  struct device *device = optimizer->device;
  struct stream stream = {.device = device};
  for (int i = 0; i < optimizer->state_count; i++) {
    void *memory = NULL;
    TRY(device->ops->allocate(device, state_bytes(optimizer), &memory));
    optimizer->state[i] = memory;
    optimizer->state_name[i] = optimizer->kind->state[i];
    TRY(device->ops->fill(&stream, memory, 0, state_bytes(optimizer)));
  }
  return device->ops->synchronize(&stream);
}

enum status optimizer_open(struct optimizer *optimizer, struct device *device,
                           const struct optimizer_options *options, int64_t count) {
  *optimizer = (struct optimizer){.options = *options, .device = device, .count = count};
  TRY(find_kind(options->kind, &optimizer->kind));
  optimizer->options.kind = optimizer->kind->name;
  REQUIRE(options->weight_decay >= 0, STATUS_USAGE,
          "optimizer: expected weight_decay of at least 0, found %g", options->weight_decay);
  TRY(optimizer->kind->check(options));
  optimizer->state_count = optimizer->kind->count_states(options);
  enum status status = open_states(optimizer);
  if (status != STATUS_OK) optimizer_close(optimizer);
  return status;
}

enum status optimizer_step(struct optimizer *optimizer, struct stream *stream, float *w,
                           const float *g, double learning_rate, double gradient_scale) {
  optimizer->step++;
  return optimizer->kind->step(optimizer, stream, w, g, learning_rate, gradient_scale);
}

void optimizer_close(struct optimizer *optimizer) {
  struct device *device = optimizer->device;
  for (int i = 0; i < OPTIMIZER_MAX_STATES; i++)
    if (optimizer->state[i])
      device->ops->release(device, optimizer->state[i], state_bytes(optimizer));
  *optimizer = (struct optimizer){0};
}

double optimizer_clip_scale(double norm, double limit) {
  if (limit <= 0) return 1;
  double scale = limit / (norm + 1e-6);
  return scale > 1 ? 1 : scale;
}
