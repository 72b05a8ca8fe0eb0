/* CSV rows: one write each, and what to keep of an earlier run's file. */
#include "store/step_table.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"

enum { FIELD_BYTES = 32 };

/* "step,name,name\n"; caller frees. */
static char *make_header(const char *const *names, int count) {
  size_t bytes = sizeof "step\n";
  for (int i = 0; i < count; i++) bytes += strlen(names[i]) + 1;
  char *header = malloc(bytes), *to = header;
  if (!header) return NULL;
  to = stpcpy(to, "step");
  for (int i = 0; i < count; i++) to = stpcpy(stpcpy(to, ","), names[i]);
  stpcpy(to, "\n");
  return header;
}

/* Moves the rows that stay to the front; returns their bytes, the header's included. */
static size_t keep_rows(char *text, size_t header_bytes, int64_t first_step) {
  char *to = text + header_bytes, *row = to;
  for (char *end; (end = strchr(row, '\n')); row = end + 1) {
    char *field_end;
    long long step = strtoll(row, &field_end, 10);
    if (field_end == row || *field_end != ',' || step >= first_step) continue;
    memmove(to, row, (size_t)(end + 1 - row));
    to += end + 1 - row;
  }
  return (size_t)(to - text);
}

static enum status set_aside(const char *path, int64_t first_step) {
  char *other = file_format("%s.before-%lld", path, (long long)first_step);
  REQUIRE(other, STATUS_FAILED, "%s: out of memory", path);
  bool moved = rename(path, other) == 0;
  int reason = errno;
  if (moved) log_warning("%s: has other columns; kept as %s", path, other);
  free(other);
  REQUIRE(moved, STATUS_FAILED, "%s: cannot rename: %s", path, strerror(reason));
  return STATUS_OK;
}

static enum status take_over(const char *path, const char *header, int64_t first_step) {
  char *text;
  size_t bytes, header_bytes = strlen(header);
  TRY(file_read(path, SIZE_MAX - 1, &text, &bytes));
  enum status status = STATUS_OK;
  if (strncmp(text, header, header_bytes) != 0) {
    if (bytes) status = set_aside(path, first_step);
    if (!status) status = file_replace(path, header, header_bytes);
  } else {
    size_t kept = keep_rows(text, header_bytes, first_step);
    if (kept < bytes) status = file_replace(path, text, kept);
  }
  free(text);
  return status;
}

static enum status prepare(const char *path, const char *header, int64_t first_step) {
  REQUIRE(header, STATUS_FAILED, "%s: out of memory", path);
  if (file_exists(path)) return take_over(path, header, first_step);
  return file_replace(path, header, strlen(header));
}

enum status step_table_open(struct step_table *table, const char *path, const char *const *names,
                            int count, int64_t first_step) {
  *table = (struct step_table){.descriptor = -1, .columns = count};
  char *header = make_header(names, count);
  enum status status = prepare(path, header, first_step);
  free(header);
  TRY(status);
  table->path = strdup(path);
  table->row = malloc((size_t)(count + 1) * (FIELD_BYTES + 1) + 2);
  if (!table->path || !table->row) step_table_close(table);
  REQUIRE(table->path, STATUS_FAILED, "%s: out of memory", path);
  table->descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (table->descriptor >= 0) return STATUS_OK;
  int reason = errno;
  step_table_close(table);
  FAIL(STATUS_FAILED, "%s: cannot open for appending: %s", path, strerror(reason));
}

/* The shortest of three lengths that reads back as the same double. */
static int print_number(char *to, double value) {
  if (isnan(value)) return 0;
  for (int digits = 9;; digits += 4) {
    int length = snprintf(to, FIELD_BYTES, "%.*g", digits, value);
    if (digits >= 17 || strtod(to, NULL) == value) return length;
  }
}

enum status step_table_append(struct step_table *table, int64_t step, const double *values) {
  char *row = table->row;
  int used = snprintf(row, FIELD_BYTES, "%lld", (long long)step);
  for (int i = 0; i < table->columns; i++) {
    row[used++] = ',';
    used += print_number(row + used, values[i]);
  }
  row[used++] = '\n';
  ssize_t written = write(table->descriptor, row, (size_t)used);
  int reason = written < 0 ? errno : ENOSPC;
  REQUIRE(written == used, STATUS_FAILED, "%s: cannot append a row: %s", table->path,
          strerror(reason));
  return STATUS_OK;
}

void step_table_close(struct step_table *table) {
  if (table->path && table->descriptor >= 0) close(table->descriptor);
  free(table->path);
  free(table->row);
  *table = (struct step_table){.descriptor = -1};
}
