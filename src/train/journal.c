/* The written side of a run. */
#include "train/journal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "store/checkpoints.h"
#include "store/event.h"
#include "store/history.h"
#include "store/run_folder.h"
#include "store/step_table.h"

enum { FIXED_COLUMNS = 3, MOST_COLUMNS = FIXED_COLUMNS + TRAINER_MAX_LOSSES + TASK_MAX_COLUMNS };

struct journal {
  struct run_folder folder;
  struct checkpoints checkpoints;
  struct event_file events;
  struct step_table table;
  bool events_open, table_open;
  struct progress progress;
  double started;   /* when the first step began */
  int64_t samples;  /* since then */
  double score;     /* of the last validation, NaN before */
  const char *best; /* which number it is */
};

static enum status write_config(const struct config *config, const char *path) {
  char *text;
  TRY(config_to_text(config, &text));
  enum status status = file_replace(path, text, strlen(text));
  free(text);
  return status;
}

static enum status open_all(struct journal *journal, const struct config *config) {
  bool resume = strcmp(config->checkpoint.resume, "never") != 0;
  TRY(run_folder_open(&journal->folder, config->output.dir, resume));
  TRY(log_open(journal->folder.log));
  return checkpoints_open(&journal->checkpoints, journal->folder.checkpoints,
                          (int)config->checkpoint.keep);
}

enum status journal_open(struct journal **journal, const struct config *config) {
  *journal = calloc(1, sizeof **journal);
  REQUIRE(*journal, STATUS_FAILED, "%s: out of memory", config->output.dir);
  (*journal)->score = NAN;
  return open_all(*journal, config);
}

const char *journal_checkpoints(const struct journal *journal) {
  return journal->folder.checkpoints;
}

/* Event files and tables are for people: trouble with them is said once and they are given up. */
static void give_up(bool *open, const char *what) {
  log_warning("%s is not written any further: %s", what, status_message());
  *open = false;
}

static void keep_events(struct journal *journal, enum status status) {
  if (status) give_up(&journal->events_open, "the event file");
}

static void start_events(struct journal *journal, const struct trainer *trainer) {
  char *config = NULL;
  journal->events_open = true;
  keep_events(journal,
              event_open(&journal->events, journal->folder.directory, trainer->state.step + 1));
  if (!journal->events_open || config_to_text(trainer->config, &config)) return;
  char *markdown = file_format("```\n%s```\n", config);
  if (markdown)
    keep_events(journal, event_text(&journal->events, "config", trainer->state.step, markdown));
  free(markdown);
  free(config);
}

struct table_names {
  char prefixed[TASK_MAX_COLUMNS][TASK_COLUMN_BYTES + 16];
  const char *list[MOST_COLUMNS];
};

/* loss, learning_rate, gradient_norm, the loss terms, then what validation gives. */
static int name_columns(const struct trainer *trainer, const struct task_columns *columns,
                        struct table_names *names) {
  static const char *const fixed[FIXED_COLUMNS] = {"loss", "learning_rate", "gradient_norm"};
  struct run_loss losses[TRAINER_MAX_LOSSES];
  int terms = run_losses(&trainer->training.run, losses, TRAINER_MAX_LOSSES), count = 0;
  for (int i = 0; i < FIXED_COLUMNS; i++) names->list[count++] = fixed[i];
  for (int i = 0; i < terms; i++) names->list[count++] = losses[i].name;
  for (int i = 0; i < columns->count; i++) {
    snprintf(names->prefixed[i], sizeof names->prefixed[i], "validation_%s", columns->name[i]);
    names->list[count++] = names->prefixed[i];
  }
  return count;
}

static void open_table(struct journal *journal, const struct trainer *trainer,
                       const struct task_columns *columns, struct table_names *names) {
  int count = name_columns(trainer, columns, names);
  journal->table_open = true;
  if (step_table_open(&journal->table, journal->folder.metrics, names->list, count,
                      trainer->state.step + 1))
    give_up(&journal->table_open, journal->folder.metrics);
}

static enum status start_table(struct journal *journal, const struct trainer *trainer) {
  struct task_columns *columns = calloc(1, sizeof *columns);
  struct table_names *names = calloc(1, sizeof *names);
  enum status status = columns && names ? trainer->task->columns(&trainer->task_run, false, columns)
                                        : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                      "%s: out of memory", journal->folder.metrics);
  if (!status) open_table(journal, trainer, columns, names);
  free(columns);
  free(names);
  return status;
}

enum status journal_start(struct journal *journal, const struct trainer *trainer) {
  if (!journal) return STATUS_OK;
  TRY(write_config(trainer->config, journal->folder.config));
  if (trainer->config->output.tensorboard) start_events(journal, trainer);
  TRY(start_table(journal, trainer));
  journal->best = trainer->task->best(&trainer->task_run);
  journal->started = timer_now();
  progress_start(&journal->progress, "train", (long)trainer->time.steps);
  return STATUS_OK;
}

static void write_row(struct journal *journal, const struct trainer *trainer,
                      const struct step_result *result, const struct evaluation *validation) {
  double row[MOST_COLUMNS] = {result->total, result->learning_rate, result->gradient_norm};
  int count = FIXED_COLUMNS;
  for (int i = 0; i < result->loss_count; i++) row[count++] = result->loss[i];
  for (; count < journal->table.columns; count++) row[count] = NAN;
  int first = FIXED_COLUMNS + result->loss_count;
  for (int i = 0; validation && i < validation->columns.count; i++) {
    double deviation;
    evaluation_mean(validation, i, &row[first + i], &deviation);
  }
  if (step_table_append(&journal->table, trainer->state.step, row))
    give_up(&journal->table_open, journal->folder.metrics);
}

static void scalar(struct journal *journal, const struct trainer *trainer, const char *group,
                   const char *name, double value) {
  char tag[128];
  snprintf(tag, sizeof tag, "%s/%s", group, name);
  if (journal->events_open)
    keep_events(journal, event_scalar(&journal->events, tag, trainer->state.step, value));
}

static void write_histograms(struct journal *journal, const struct trainer *trainer) {
  const struct plan *plan = &trainer->training.plan;
  struct saved_block saved[BLOCKS_MOST_SAVED];
  blocks_saved(trainer, saved);
  if (journal->events_open) keep_events(journal, blocks_to_host(trainer, &saved[0]));
  for (int i = 0; i < plan->parameter_count && journal->events_open; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    char tag[sizeof parameter->name + 16];
    snprintf(tag, sizeof tag, "weights/%s", parameter->name);
    keep_events(journal, event_histogram(&journal->events, tag, trainer->state.step,
                                         saved[0].host + parameter->offset, parameter->count));
  }
}

static void write_validation(struct journal *journal, const struct trainer *trainer,
                             const struct evaluation *validation) {
  for (int i = 0; i < validation->columns.count; i++) {
    double mean, deviation;
    if (evaluation_mean(validation, i, &mean, &deviation))
      scalar(journal, trainer, "validation", validation->columns.name[i], mean);
  }
  if (trainer->config->output.histograms) write_histograms(journal, trainer);
  int column = evaluation_column(validation, trainer->task->best(&trainer->task_run));
  double deviation;
  if (column >= 0) evaluation_mean(validation, column, &journal->score, &deviation);
}

static void write_events(struct journal *journal, const struct trainer *trainer,
                         const struct step_result *result, const struct evaluation *validation) {
  bool due = trainer->state.step % trainer->config->output.log_every == 0;
  if (due) {
    scalar(journal, trainer, "train", "loss", result->total);
    for (int i = 0; i < result->loss_count; i++)
      scalar(journal, trainer, "train", result->loss_name[i], result->loss[i]);
    scalar(journal, trainer, "train", "learning_rate", result->learning_rate);
    scalar(journal, trainer, "train", "gradient_norm", result->gradient_norm);
    if (result->loss_scale != 1)
      scalar(journal, trainer, "train", "loss_scale", result->loss_scale);
  }
  if (validation) write_validation(journal, trainer, validation);
}

static void describe(struct journal *journal, const struct trainer *trainer,
                     const struct step_result *result, char *text, size_t bytes) {
  double seconds = timer_now() - journal->started;
  int used = snprintf(text, bytes, "loss %.5f", result->total);
  if (!isnan(journal->score))
    used += snprintf(text + used, bytes - (size_t)used, ", %s %.4f",
                     trainer->task->best(&trainer->task_run), journal->score);
  snprintf(text + used, bytes - (size_t)used, ", %.2f samples/s, %.1f %% waiting for data",
           (double)journal->samples / seconds, 100 * feed_seconds_waited(trainer) / seconds);
}

void journal_step(struct journal *journal, const struct trainer *trainer,
                  const struct step_result *result, const struct evaluation *validation) {
  if (!journal) return;
  journal->samples += (int64_t)timetable_filled_slots(&trainer->time, trainer->state.step - 1) *
                      trainer->time.slot_samples;
  if (journal->table_open) write_row(journal, trainer, result, validation);
  if (journal->events_open) write_events(journal, trainer, result, validation);
  char text[256];
  describe(journal, trainer, result, text, sizeof text);
  progress_update(&journal->progress, (long)trainer->state.step, text);
}

enum status journal_draw(void *context, int64_t index, const struct task_network *network,
                         const void *const *inputs) {
  struct trainer *trainer = context;
  struct journal *journal = trainer->journal;
  if (index != 0 || !journal || !journal->events_open || !trainer->config->output.images)
    return STATUS_OK;
  struct task_image images[TASK_MAX_IMAGES] = {0};
  int count = 0;
  enum status status = trainer->task->draw(&trainer->task_run, network, inputs, images, &count);
  for (int i = 0; i < count; i++) {
    if (!status && journal->events_open)
      keep_events(journal,
                  event_image(&journal->events, images[i].tag, trainer->state.step, images[i].width,
                              images[i].height, images[i].channels, images[i].pixels));
    free(images[i].pixels);
  }
  return status;
}

enum status journal_save(struct journal *journal, const struct trainer *trainer, bool best) {
  if (!journal) return STATUS_OK;
  struct stored_tensor *tensors;
  int count;
  json_t *metadata = NULL;
  TRY(state_tensors(trainer, &tensors, &count));
  enum status status = state_metadata(trainer, &metadata);
  if (!status)
    status = checkpoints_save(&journal->checkpoints, trainer->state.step, best, metadata, tensors,
                              count);
  json_decref(metadata);
  state_free(tensors, count);
  return status;
}

enum status journal_finish(struct journal *journal, const char *detail) {
  if (!journal) return STATUS_OK;
  TRY(checkpoints_wait(&journal->checkpoints));
  progress_finish(&journal->progress, detail);
  if (journal->table_open &&
      history_write(journal->folder.metrics, journal->folder.directory, journal->best))
    log_warning("the history of the run is not written: %s", status_message());
  return STATUS_OK;
}

void journal_close(struct journal *journal) {
  if (!journal) return;
  checkpoints_close(&journal->checkpoints);
  event_close(&journal->events);
  step_table_close(&journal->table);
  run_folder_close(&journal->folder);
  free(journal);
}
