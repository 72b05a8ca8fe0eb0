/* Messages to people: levels, one prefix, stderr and (rank 0 of a run) a log file. stdout is for
 * results. */
#pragma once
#include <stdbool.h>
#include "base/status.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Which rank speaks, and from which level on. Ranks other than 0 print warnings and errors only. */
void log_setup(int rank, int size, enum log_level level);

/* Also append every line to `path` (created if missing). log_close() ends that. */
CHECKED enum status log_open(const char *path);
void log_close(void);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* A progress display: a bar that redraws itself on a terminal, and a plain line every few seconds
 * elsewhere. `detail` is free text (loss, samples/s ...). Only rank 0 shows it. Start with a zeroed
 * struct. */
struct progress {
  const char *title;
  long done, total;
  double started, shown;
};
void progress_start(struct progress *progress, const char *title, long total);
void progress_update(struct progress *progress, long done, const char *detail);
void progress_finish(struct progress *progress, const char *detail);
