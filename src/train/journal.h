/* What rank 0 of a run writes: run directory, log, event file, metrics.csv, checkpoints. On other
 * ranks a journal is NULL, and every function here then does nothing. Trouble with event files or
 * tables is warned about once and does not end the run; a checkpoint that cannot be written is an
 * error only at the end. */
#pragma once
#include "train/evaluate.h"
#include "train/trainer.h"

struct journal;

/* Takes the run directory's lock, opens the log (until log_close(): the run's last words go there,
 * too) and the checkpoints folder. */
CHECKED enum status journal_open(struct journal **journal, const struct config *config);

/* The folder of the checkpoints. */
const char *journal_checkpoints(const struct journal *journal);

/* Writes config.cfg, opens event file and table for a run that continues after `step`. */
CHECKED enum status journal_start(struct journal *journal, const struct trainer *trainer);

/* One step; `validation` NULL when there was none after it. */
void journal_step(struct journal *journal, const struct trainer *trainer,
                  const struct step_result *result, const struct evaluation *validation);

/* Pictures of a validation sample: an evaluation_visitor's visit with the trainer as context. */
enum status journal_draw(void *trainer, int64_t index, const struct task_network *network,
                         const void *const *inputs);

/* Starts to write a checkpoint of the trainer's state. */
CHECKED enum status journal_save(struct journal *journal, const struct trainer *trainer, bool best);

/* Waits for the last checkpoint: its error is the run's. Writes the history of the run so far
 * (store/history.h). */
CHECKED enum status journal_finish(struct journal *journal, const char *detail);

/* Accepts NULL. */
void journal_close(struct journal *journal);
