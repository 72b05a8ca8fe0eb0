/* Errors. Every function that can fail returns an `enum status`; the reason is a trace of lines
 * kept per thread, started by FAIL/REQUIRE and lengthened by TRY as it passes up. Nothing but main
 * prints or exits. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum status {
  STATUS_OK = 0,
  STATUS_FAILED = 1,   /* the machine, a file or the data is at fault */
  STATUS_USAGE = 2,    /* the command line or the config is at fault */
  STATUS_STOPPED = 85, /* stopped on request; the run can be resumed */
};

#define CHECKED __attribute__((warn_unused_result))

/* Starts a trace with a message (printf style) and returns `code`. Call through FAIL. */
enum status status_fail(enum status code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds a line "in FUNCTION (FILE:LINE)" to the current trace and returns `code`. Call through TRY.
 */
enum status status_pass(enum status code, const char *function, const char *file, int line);

/* The first line of the calling thread's trace (the message), or "" when there is none. */
const char *status_message(void);

/* The whole trace of the calling thread, message first, one line per frame. */
const char *status_trace(void);

/* Replaces the calling thread's trace: how a worker thread's error is carried to its owner. */
void status_restore(const char *trace);

void status_clear(void);

/* FAIL(STATUS_USAGE, "%s: expected %d, found %d", ...): returns from the calling function with an
 * error. */
#define FAIL(code, ...) return status_fail((code), __FILE__, __LINE__, __VA_ARGS__)

/* REQUIRE(condition, code, message...): FAIL unless the condition holds. */
#define REQUIRE(condition, code, ...)          \
  do {                                         \
    if (!(condition)) FAIL(code, __VA_ARGS__); \
  } while (0)

/* TRY(call): passes an error on to the caller, with a line of trace. */
#define TRY(call)                                                                                \
  do {                                                                                           \
    enum status try_status_ = (call);                                                            \
    if (try_status_ != STATUS_OK) return status_pass(try_status_, __func__, __FILE__, __LINE__); \
  } while (0)

/* TRY_GOTO(status, label, call): the same where something has to be closed first: stores the code
 * in `variable` (declared by the caller) and jumps to `label`. */
#define TRY_GOTO(variable, label, call)                      \
  do {                                                       \
    (variable) = (call);                                     \
    if ((variable) != STATUS_OK) {                           \
      status_pass((variable), __func__, __FILE__, __LINE__); \
      goto label;                                            \
    }                                                        \
  } while (0)
