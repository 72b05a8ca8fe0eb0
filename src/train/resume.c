/* Continuing a run: rank 0 reads the checkpoint, all ranks get its bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "store/checkpoints.h"
#include "train/journal.h"
#include "train/trainer.h"
#include "train/weights.h"

/* A message is one line. NULL when out of memory. */
static char *join_lines(char *lines) {
  char *joined = strdup("");
  for (char *line = strtok(lines, "\n"); line && joined; line = strtok(NULL, "\n")) {
    char *longer = file_format("%s%s%s", joined, *joined ? "; " : "", line);
    free(joined);
    joined = longer;
  }
  return joined;
}

static enum status judge_differences(const struct trainer *trainer, const char *path, char *lines) {
  bool allowed = trainer->config->checkpoint.allow_changes;
  char *differences = join_lines(lines);
  enum status status = STATUS_OK;
  REQUIRE(differences, STATUS_FAILED, "%s: out of memory", path);
  if (*differences && allowed)
    log_warning("%s: resuming with another config: %s", path, differences);
  if (*differences && !allowed)
    status = status_fail(
        STATUS_USAGE, __FILE__, __LINE__,
        "%s: cannot resume with another config (checkpoint.allow_changes=true does): %s", path,
        differences);
  free(differences);
  return status;
}

static enum status compare_config(const struct trainer *trainer, const char *path,
                                  const char *text) {
  struct config before = {0};
  char *differences = NULL;
  enum status status = config_parse(&before, text, path);
  if (!status) status = config_compare(&before, trainer->config, &differences);
  config_close(&before);
  if (!status) status = judge_differences(trainer, path, differences);
  free(differences);
  return status;
}

static enum status compare_data(const struct trainer *trainer, const char *path,
                                const char *found) {
  char expected[32];
  snprintf(expected, sizeof expected, "%016llx",
           (unsigned long long)dataset_manifest(&trainer->task_run.dataset));
  bool same = strcmp(expected, found) == 0;
  if (!same && trainer->config->checkpoint.allow_changes)
    log_warning("%s: resuming with other data", path);
  REQUIRE(same || trainer->config->checkpoint.allow_changes, STATUS_USAGE,
          "%s: cannot resume with other data (checkpoint.allow_changes=true does): %s has manifest "
          "%s, the checkpoint %s",
          path, trainer->config->data.shards, expected, found);
  return STATUS_OK;
}

static enum status take_metadata(struct trainer *trainer, const struct checkpoint *checkpoint) {
  json_int_t step, best_step, without_better, good_steps = 0, skipped_steps = 0, not_better = 0;
  double best, loss_scale = trainer->state.loss_scale;
  struct plateau plateau = trainer->state.plateau;
  const char *data, *config;
  int bad = json_unpack(
      checkpoint->metadata, "{s:I, s:F, s:I, s:I, s:s, s:s, s?F, s?I, s?I, s?F, s?F, s?I}", "step",
      &step, "best", &best, "best_step", &best_step, "validations_without_better", &without_better,
      "data", &data, "config", &config, "loss_scale", &loss_scale, "good_steps", &good_steps,
      "skipped_steps", &skipped_steps, "plateau_rate", &plateau.rate, "plateau_best", &plateau.best,
      "plateau_not_better", &not_better);
  REQUIRE(!bad, STATUS_FAILED,
          "%s: expected metadata of a training run, found none (imported weights "
          "are given as model.weights)",
          checkpoint->path);
  TRY(compare_config(trainer, checkpoint->path, config));
  TRY(compare_data(trainer, checkpoint->path, data));
  plateau.not_better = not_better;
  if (!best_step) plateau.best = -INFINITY;
  trainer->state = (struct progress_state){
      .step = step,
      .best = best_step ? best : -INFINITY,
      .best_step = best_step,
      .validations_without_better = without_better,
      .loss_scale = loss_scale,
      .good_steps = good_steps,
      .skipped_steps = skipped_steps,
      .plateau = plateau,
  };
  return STATUS_OK;
}

static enum status take_tensors(struct trainer *trainer, const struct checkpoint *checkpoint) {
  struct saved_block saved[BLOCKS_MOST_SAVED];
  int count = blocks_saved(trainer, saved);
  for (int i = 0; i < count; i++)
    TRY(weights_take(checkpoint, &trainer->training.plan, saved[i].prefix, saved[i].statistics,
                     saved[i].host));
  return STATUS_OK;
}

static enum status read_on_rank_0(struct trainer *trainer, bool *found) {
  struct checkpoint checkpoint = {0};
  const char *directory = journal_checkpoints(trainer->journal);
  enum status status = checkpoints_load_latest(directory, &checkpoint, found);
  if (!status && *found) status = take_metadata(trainer, &checkpoint);
  if (!status && *found) status = take_tensors(trainer, &checkpoint);
  if (!status && *found)
    log_info("resuming from %s after step %lld", checkpoint.path, (long long)trainer->state.step);
  checkpoint_close(&checkpoint);
  return status;
}

static enum status broadcast_state(struct trainer *trainer) {
  struct comm *comm = trainer->comm;
  struct saved_block saved[BLOCKS_MOST_SAVED];
  int count = blocks_saved(trainer, saved);
  TRY(comm_broadcast(comm, &trainer->state, sizeof trainer->state, 0));
  trainer->optimizer.step = trainer->state.step - trainer->state.skipped_steps;
  for (int i = 0; i < count; i++) TRY(comm_broadcast(comm, saved[i].host, saved[i].bytes, 0));
  enum status mine = STATUS_OK;
  for (int i = 0; i < count && !mine; i++) mine = blocks_to_device(trainer, &saved[i]);
  return comm_agree(comm, mine);
}

enum status trainer_resume(struct trainer *trainer, bool *resumed) {
  enum status mine = STATUS_OK;
  bool found = false;
  if (trainer->comm->rank == 0 && strcmp(trainer->config->checkpoint.resume, "never") != 0)
    mine = read_on_rank_0(trainer, &found);
  if (!mine && trainer->comm->rank == 0 && !found &&
      strcmp(trainer->config->checkpoint.resume, "must") == 0)
    mine = status_fail(STATUS_USAGE, __FILE__, __LINE__,
                       "%s: expected a checkpoint to resume from, found none",
                       trainer->config->output.dir);
  TRY(comm_agree(trainer->comm, mine));
  TRY(comm_broadcast(trainer->comm, &found, sizeof found, 0));
  *resumed = found;
  return found ? broadcast_state(trainer) : STATUS_OK;
}
