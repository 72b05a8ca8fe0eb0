/* The error trace: a fixed buffer per thread, so that reporting "out of memory" needs none. */
#include "base/status.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_BYTES = 8192 };
static _Thread_local char trace[TRACE_BYTES];
static _Thread_local char first_line[TRACE_BYTES];

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void append(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void append(const char *format, ...) {
  size_t used = strlen(trace);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(trace + used, TRACE_BYTES - used, format, arguments);
  va_end(arguments);
}

enum status status_fail(enum status code, const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(trace, TRACE_BYTES, format, arguments);
  va_end(arguments);
  append("\n  at %s:%d", base_name(file), line);
  return code;
}

enum status status_pass(enum status code, const char *function, const char *file, int line) {
  append("\n  in %s (%s:%d)", function, base_name(file), line);
  return code;
}

const char *status_message(void) {
  size_t length = strcspn(trace, "\n");
  memcpy(first_line, trace, length);
  first_line[length] = 0;
  return first_line;
}

const char *status_trace(void) {
  return trace;
}

void status_restore(const char *text) {
  snprintf(trace, TRACE_BYTES, "%s", text);
}

void status_clear(void) {
  trace[0] = 0;
}
