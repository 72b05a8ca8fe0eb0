/* What a training run went through, for people: training_history.json and training_history.png,
 * made of its metrics.csv (step_table.h). */
#pragma once
#include "base/status.h"

/* Writes (or replaces) both files in `directory`. table: the metrics.csv; its columns called
 * validation_NAME are those of validation, all others of training steps. A long run's steps are put
 * together in blocks of equal length, at most HISTORY_POINTS of them, by their means; validations
 * are all kept. score: the NAME that is drawn; NULL or not there: none. A table without rows gives
 * no files. */
enum { HISTORY_POINTS = 1000 };
CHECKED enum status history_write(const char *table, const char *directory, const char *score);
