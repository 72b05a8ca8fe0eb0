/* The whole test harness: checks that count, and a main that lists its cases.
 *   TEST(reads_a_header) { CHECK(x == 3); CHECK_OK(volume_read(...)); CHECK_FAILS(call,
 * "expected"); } int main(void) { RUN(reads_a_header); return check_result(); } */
#pragma once
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/status.h"

static int check_failures, check_count;

/* Under AddressSanitizer some tests repeat less: what it looks for is the same every time, and the
 * other builds do the rest. */
#if defined __SANITIZE_ADDRESS__
enum { CHECK_WATCHED = 1 };
#else
enum { CHECK_WATCHED = 0 };
#endif

#define TEST(name) static void name(void)

#define CHECK_SAY(condition, ...)                                           \
  do {                                                                      \
    check_count++;                                                          \
    if (!(condition)) {                                                     \
      check_failures++;                                                     \
      fprintf(stderr, "%s:%d: failed: %s", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__);                                         \
      fputc('\n', stderr);                                                  \
    }                                                                       \
  } while (0)

#define CHECK(condition) CHECK_SAY(condition, " ")

#define CHECK_NEAR(a, b, tolerance)                                                             \
  CHECK_SAY(fabs((double)(a) - (double)(b)) <= (tolerance), ": %.9g against %.9g", (double)(a), \
            (double)(b))

#define CHECK_OK(call)                                             \
  do {                                                             \
    enum status check_status_ = (call);                            \
    CHECK_SAY(check_status_ == STATUS_OK, ": %s", status_trace()); \
  } while (0)

/* The call must fail, and its message must contain `part`. */
#define CHECK_FAILS(call, part)                                                               \
  do {                                                                                        \
    status_clear();                                                                           \
    enum status check_status_ = (call);                                                       \
    CHECK_SAY(check_status_ != STATUS_OK && strstr(status_message(), part), ": message '%s'", \
              status_message());                                                              \
  } while (0)

#define RUN(name)                                                          \
  do {                                                                     \
    int before_ = check_failures;                                          \
    name();                                                                \
    printf("%s %s\n", check_failures == before_ ? "ok  " : "FAIL", #name); \
  } while (0)

static inline int check_result(void) {
  printf("%d checks, %d failed\n", check_count, check_failures);
  fflush(stdout);
  return check_failures || !check_count ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A new empty folder for the test's files, removed with everything in it by check_remove_folder. */
static inline char *check_make_folder(void) {
  char *folder = strdup("/tmp/medtrain-test-XXXXXX");
  if (!folder || !mkdtemp(folder)) abort();
  return folder;
}

static inline void check_remove_folder(char *folder) {
  char command[512];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) check_failures++;
  free(folder);
}
