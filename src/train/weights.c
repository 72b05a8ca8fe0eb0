/* Flat blocks as named tensors, and back. */
#include "train/weights.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static void describe(const int64_t *extent, int rank, char text[96]) {
  int used = snprintf(text, 96, "[");
  for (int i = 0; i < rank && used < 80; i++)
    used +=
        snprintf(text + used, (size_t)(96 - used), "%s%lld", i ? ", " : "", (long long)extent[i]);
  snprintf(text + used, (size_t)(96 - used), "]");
}

static enum status check_shape(const struct checkpoint *checkpoint,
                               const struct stored_tensor *tensor,
                               const struct parameter *parameter) {
  int64_t expected[5];
  bool same = tensor->rank == parameter->rank && strcmp(tensor->dtype, "F32") == 0;
  for (int i = 0; i < parameter->rank; i++) {
    expected[i] = parameter->extent[i];
    same = same && tensor->extent[i] == expected[i];
  }
  char wanted[96], found[96];
  describe(expected, parameter->rank, wanted);
  describe(tensor->extent, tensor->rank, found);
  REQUIRE(same, STATUS_USAGE, "%s: %s: expected float32 %s (the config's network), found %s %s",
          checkpoint->path, tensor->name, wanted, tensor->dtype, found);
  return STATUS_OK;
}

enum status weights_take(const struct checkpoint *checkpoint, const struct plan *plan,
                         const char *prefix, bool statistics, float *block) {
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    if (parameter->parameter.statistic && !statistics) continue;
    char name[sizeof parameter->name + 32];
    snprintf(name, sizeof name, "%s%s", prefix, parameter->name);
    const struct stored_tensor *tensor = checkpoint_find(checkpoint, name);
    REQUIRE(tensor, STATUS_USAGE, "%s: expected a tensor %s (the config's network), found none",
            checkpoint->path, name);
    TRY(check_shape(checkpoint, tensor, &parameter->parameter));
    memcpy(block + parameter->offset, tensor->data, tensor->bytes);
  }
  return STATUS_OK;
}

enum status weights_read(const char *path, const struct plan *plan, float *block) {
  struct checkpoint checkpoint = {0};
  enum status status = checkpoint_read(path, &checkpoint);
  if (!status) {
    char name[sizeof plan->parameters->name + 32];
    snprintf(name, sizeof name, "%s%s", AVERAGE_PREFIX, plan->parameters[0].name);
    bool averaged = checkpoint_find(&checkpoint, name) != NULL;
    status =
        weights_take(&checkpoint, plan, averaged ? AVERAGE_PREFIX : WEIGHTS_PREFIX, true, block);
  }
  checkpoint_close(&checkpoint);
  return status;
}

enum status weights_load(const char *path, const struct plan *plan, struct device *device,
                         float *block) {
  size_t bytes = sizeof(float) * (size_t)plan->parameter_elements;
  float *host = calloc(1, bytes + 1);
  REQUIRE(host, STATUS_FAILED, "%s: out of memory", path);
  enum status status = weights_read(path, plan, host);
  if (!status) status = device_copy(device, block, host, bytes);
  free(host);
  return status;
}

enum status weights_list(const struct plan *plan, const char *prefix, bool statistics, float *block,
                         struct stored_tensor *tensors, int *count) {
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    if (parameter->parameter.statistic && !statistics) continue;
    struct stored_tensor *tensor = &tensors[*count];
    *tensor = (struct stored_tensor){
        .name = file_format("%s%s", prefix, parameter->name),
        .dtype = "F32",
        .rank = parameter->parameter.rank,
        .data = block + parameter->offset,
        .bytes = sizeof(float) * (size_t)parameter->count,
    };
    for (int k = 0; k < tensor->rank; k++) tensor->extent[k] = parameter->parameter.extent[k];
    REQUIRE(tensor->name, STATUS_FAILED, "checkpoint: out of memory");
    ++*count;
  }
  return STATUS_OK;
}
