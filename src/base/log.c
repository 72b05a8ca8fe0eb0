/* Log lines and the progress display. One mutex: worker threads may log, too. */
#include "base/log.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/timer.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int own_rank, rank_count = 1;
static enum log_level lowest = LOG_INFO;
static FILE *file;
static bool bar_on_screen;

static const double SECONDS_BETWEEN_LINES = 10.0, SECONDS_BETWEEN_BARS = 0.2;

void log_setup(int rank, int size, enum log_level level) {
  own_rank = rank;
  rank_count = size;
  lowest = level;
}

enum status log_open(const char *path) {
  log_close();
  file = fopen(path, "a");
  REQUIRE(file, STATUS_FAILED, "%s: cannot open the log file for writing", path);
  return STATUS_OK;
}

void log_close(void) {
  if (file) fclose(file);
  file = NULL;
}

static void write_to_file(const char *text) {
  if (!file) return;
  char stamp[32];
  time_t now = time(NULL);
  struct tm local;
  strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &local));
  fprintf(file, "%s %s\n", stamp, text);
  fflush(file);
}

void log_line(enum log_level level, const char *format, ...) {
  static const char *const prefix[] = {"debug: ", "", "warning: ", "error: "};
  if (level < lowest || (own_rank != 0 && level < LOG_WARNING)) return;
  char text[4096];
  int used = snprintf(text, sizeof text, "%s", prefix[level]);
  if (rank_count > 1 && own_rank != 0)
    used += snprintf(text + used, sizeof text - (size_t)used, "rank %d: ", own_rank);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
  va_end(arguments);
  pthread_mutex_lock(&mutex);
  fprintf(stderr, "%s%s\n", bar_on_screen ? "\r\033[K" : "", text);
  bar_on_screen = false;
  write_to_file(text);
  pthread_mutex_unlock(&mutex);
}

void progress_start(struct progress *progress, const char *title, long total) {
  *progress = (struct progress){.title = title, .total = total, .started = timer_now()};
}

static void format_duration(double seconds, char *text, size_t bytes) {
  long whole = (long)(seconds + 0.5);
  if (whole >= 3600) {
    snprintf(text, bytes, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    snprintf(text, bytes, "%ld:%02ld", whole / 60, whole % 60);
  }
}

static void draw_bar(const struct progress *progress, double share, const char *left,
                     const char *detail) {
  enum { WIDTH = 24 };
  char bar[WIDTH + 1];
  int filled = (int)(share * WIDTH);
  for (int i = 0; i < WIDTH; i++) bar[i] = i < filled ? '#' : '.';
  bar[WIDTH] = 0;
  pthread_mutex_lock(&mutex);
  fprintf(stderr, "\r\033[K%s [%s] %ld/%ld, %s left%s%s", progress->title, bar, progress->done,
          progress->total, left, *detail ? ", " : "", detail);
  fflush(stderr);
  bar_on_screen = true;
  pthread_mutex_unlock(&mutex);
}

void progress_update(struct progress *progress, long done, const char *detail) {
  progress->done = done;
  if (own_rank != 0) return;
  double now = timer_now();
  bool terminal = isatty(STDERR_FILENO) == 1;
  if (now - progress->shown < (terminal ? SECONDS_BETWEEN_BARS : SECONDS_BETWEEN_LINES)) return;
  progress->shown = now;
  double share = progress->total > 0 ? (double)done / (double)progress->total : 0.0;
  char left[32] = "?";
  if (share > 0)
    format_duration((now - progress->started) * (1 - share) / share, left, sizeof left);
  if (terminal) {
    draw_bar(progress, share, left, detail);
  } else {
    log_info("%s %ld/%ld, %s left%s%s", progress->title, done, progress->total, left,
             *detail ? ", " : "", detail);
  }
}

void progress_finish(struct progress *progress, const char *detail) {
  char spent[32];
  format_duration(timer_now() - progress->started, spent, sizeof spent);
  log_info("%s %ld/%ld done in %s%s%s", progress->title, progress->done, progress->total, spent,
           *detail ? ", " : "", detail);
}
