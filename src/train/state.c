/* The state of a run: named tensors and metadata. Nothing in it names a rank. */
#include <stdlib.h>
#include "base/file.h"
#include "train/trainer.h"
#include "train/weights.h"

static enum status list_all(const struct trainer *trainer, const struct saved_block *saved,
                            int blocks, struct stored_tensor *tensors, int *count) {
  for (int i = 0; i < blocks; i++) {
    TRY(blocks_to_host(trainer, &saved[i]));
    TRY(weights_list(&trainer->training.plan, saved[i].prefix, saved[i].statistics, saved[i].host,
                     tensors, count));
  }
  return STATUS_OK;
}

enum status state_tensors(const struct trainer *trainer, struct stored_tensor **tensors,
                          int *count) {
  struct saved_block saved[BLOCKS_MOST_SAVED];
  int blocks = blocks_saved(trainer, saved);
  *count = 0;
  *tensors =
      calloc((size_t)blocks * (size_t)trainer->training.plan.parameter_count, sizeof **tensors);
  REQUIRE(*tensors, STATUS_FAILED, "checkpoint: out of memory");
  enum status status = list_all(trainer, saved, blocks, *tensors, count);
  if (status) {
    state_free(*tensors, *count);
    *tensors = NULL;
    *count = 0;
  }
  return status;
}

void state_free(struct stored_tensor *tensors, int count) {
  for (int i = 0; i < count; i++) free((char *)(uintptr_t)tensors[i].name);
  free(tensors);
}

enum status state_metadata(const struct trainer *trainer, json_t **metadata) {
  const struct progress_state *state = &trainer->state;
  char *config, manifest[32];
  TRY(config_to_text(trainer->config, &config));
  snprintf(manifest, sizeof manifest, "%016llx",
           (unsigned long long)dataset_manifest(&trainer->task_run.dataset));
  *metadata = json_pack(
      "{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:I, s:b, s:s, s:s}", "program",
      "medtrain-dist " MEDTRAIN_VERSION, "task", trainer->task->name, "step",
      (json_int_t)state->step, "epoch", (json_int_t)(state->step / trainer->time.steps_per_epoch),
      "best", state->best_step ? state->best : 0.0, "best_step", (json_int_t)state->best_step,
      "validations_without_better", (json_int_t)state->validations_without_better, "loss_scale",
      state->loss_scale, "good_steps", (json_int_t)state->good_steps, "skipped_steps",
      (json_int_t)state->skipped_steps, "plateau_rate", state->plateau.rate, "plateau_best",
      state->best_step ? state->plateau.best : 0.0, "plateau_not_better",
      (json_int_t)state->plateau.not_better, "averaged", trainer->blocks.average != NULL, "data",
      manifest, "config", config);
  free(config);
  REQUIRE(*metadata, STATUS_FAILED, "checkpoint: out of memory");
  return STATUS_OK;
}
