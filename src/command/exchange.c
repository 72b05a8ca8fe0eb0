/* export and import: weights to and from safetensors, under the names of the PyTorch originals. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "command/options.h"
#include "store/checkpoint.h"
#include "store/safetensors.h"
#include "train/weights.h"

static bool has_prefix(const char *name, const char *prefix) {
  return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The average of the weights where the checkpoint has one: what validation judged. */
static const char *prefix_of(const struct checkpoint *checkpoint) {
  for (int i = 0; i < checkpoint->count; i++)
    if (has_prefix(checkpoint->tensors[i].name, AVERAGE_PREFIX)) return AVERAGE_PREFIX;
  return WEIGHTS_PREFIX;
}

static enum status export_weights(const struct checkpoint *checkpoint, const char *path) {
  const char *prefix = prefix_of(checkpoint);
  size_t room = (size_t)checkpoint->count + 1;
  struct stored_tensor *tensors = calloc(room, sizeof *tensors);
  REQUIRE(tensors, STATUS_FAILED, "%s: out of memory", path);
  int count = 0;
  for (int i = 0; i < checkpoint->count; i++) {
    if (!has_prefix(checkpoint->tensors[i].name, prefix)) continue;
    tensors[count] = checkpoint->tensors[i];
    tensors[count++].name += strlen(prefix);
  }
  json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", "source", checkpoint->path);
  enum status status = safetensors_write(path, metadata, tensors, count);
  json_decref(metadata);
  free(tensors);
  if (!status) log_info("wrote %d tensors to %s", count, path);
  return status;
}

static enum status take_two(const struct invocation *invocation, const char *what,
                            struct words *words) {
  TRY(options_sort(invocation, NULL, words));
  REQUIRE(words->positional_count == 2, STATUS_USAGE, "expected %s, found %d words", what,
          words->positional_count);
  return STATUS_OK;
}

static enum status export_command(const struct invocation *invocation) {
  struct words words;
  struct checkpoint checkpoint = {0};
  TRY(take_two(invocation, "CHECKPOINT OUT.safetensors", &words));
  TRY(checkpoint_read(words.positional[0], &checkpoint));
  enum status status = export_weights(&checkpoint, words.positional[1]);
  checkpoint_close(&checkpoint);
  return status;
}

/* PyTorch's batch norms count what they have seen; nothing depends on that. */
static bool is_counter(const char *name) {
  static const char suffix[] = ".num_batches_tracked";
  size_t length = strlen(name);
  return length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

static enum status name_tensors(const struct safetensors *file, struct stored_tensor *tensors,
                                int *count) {
  for (int i = 0; i < file->count; i++) {
    const struct stored_tensor *tensor = &file->tensors[i];
    if (is_counter(tensor->name)) continue;
    REQUIRE(strcmp(tensor->dtype, "F32") == 0, STATUS_USAGE, "%s: %s: expected F32, found %s",
            file->path, tensor->name, tensor->dtype);
    tensors[*count] = *tensor;
    tensors[*count].name = file_format(WEIGHTS_PREFIX "%s", tensor->name);
    REQUIRE(tensors[*count].name, STATUS_FAILED, "%s: out of memory", file->path);
    ++*count;
  }
  return STATUS_OK;
}

static enum status import_weights(const struct safetensors *file, const char *path) {
  struct stored_tensor *tensors = calloc((size_t)file->count + 1, sizeof *tensors);
  REQUIRE(tensors, STATUS_FAILED, "%s: out of memory", path);
  int count = 0;
  enum status status = name_tensors(file, tensors, &count);
  json_t *metadata = json_pack("{s:s, s:s}", "program", "medtrain-dist " MEDTRAIN_VERSION,
                               "imported_from", file->path);
  if (!status) status = checkpoint_write(path, metadata, tensors, count);
  json_decref(metadata);
  for (int i = 0; i < count; i++) free((char *)(uintptr_t)tensors[i].name);
  free(tensors);
  if (!status)
    log_info("wrote %d tensors to %s; give it as model.weights or --checkpoint", count, path);
  return status;
}

static enum status import_command(const struct invocation *invocation) {
  struct words words;
  struct safetensors file = {0};
  TRY(take_two(invocation, "IN.safetensors CHECKPOINT", &words));
  TRY(safetensors_read(words.positional[0], &file));
  enum status status = import_weights(&file, words.positional[1]);
  safetensors_close(&file);
  return status;
}

extern const struct command command_export, command_import;
const struct command command_export = {
    .name = "export",
    .usage = "CHECKPOINT OUT.safetensors",
    .help = "weights for PyTorch, under the original's names",
    .run = export_command,
};
const struct command command_import = {
    .name = "import",
    .usage = "IN.safetensors CHECKPOINT",
    .help = "weights from PyTorch as a checkpoint to start from",
    .run = import_command,
};
