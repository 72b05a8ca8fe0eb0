/* A save that is struck at its k-th operation on the disk, for every k: a failure there (once, or
 * from there on, as on a full disk), a kill, a power cut. Whatever happens, the checkpoint before
 * it or the new one loads, bit for bit; and what is left lying about is removed at the next start.
 */
#include "check.h"
#include "fault/io_shim.h"
#include <jansson.h>
#include <stdint.h>
#include <sys/wait.h>
#include "base/file.h"
#include "base/log.h"
#include "store/checkpoints.h"

static char *folder;
static int keep;

enum { ELEMENTS = 5000, OLD_STEP = 10, NEW_STEP = 20, MOST_OPERATIONS = 500 };

static void fill(float *weights, int64_t step) {
  for (int i = 0; i < ELEMENTS; i++) weights[i] = (float)(step * i);
}

static enum status save(int64_t step, int *failures) {
  static float weights[ELEMENTS];
  struct checkpoints checkpoints = {0};
  fill(weights, step);
  struct stored_tensor tensor = {"weights", "F32", 1, {ELEMENTS}, weights, sizeof weights};
  json_t *metadata = json_pack("{s:I}", "step", (json_int_t)step);
  enum status status = checkpoints_open(&checkpoints, folder, keep);
  if (!status) status = checkpoints_save(&checkpoints, step, true, metadata, &tensor, 1);
  if (!status) status = checkpoints_wait(&checkpoints);
  *failures = checkpoints.failures;
  checkpoints_close(&checkpoints);
  json_decref(metadata);
  return status;
}

static bool is_whole(const struct checkpoint *checkpoint, int64_t step) {
  static float expected[ELEMENTS];
  const struct stored_tensor *weights = checkpoint_find(checkpoint, "weights");
  fill(expected, step);
  return weights && weights->bytes == sizeof expected &&
         memcmp(weights->data, expected, sizeof expected) == 0;
}

/* The step that a restart would find; negative when there is none. */
static int64_t find_step(void) {
  struct checkpoint checkpoint;
  bool found = false;
  if (checkpoints_load_latest(folder, &checkpoint, &found) != STATUS_OK || !found) return -1;
  int64_t step = json_integer_value(json_object_get(checkpoint.metadata, "step"));
  if (!is_whole(&checkpoint, step)) step = -2;
  checkpoint_close(&checkpoint);
  return step;
}

static int count_leftovers(void) {
  char **names;
  int count, leftovers = 0;
  if (file_list(folder, "", &names, &count) != STATUS_OK) return -1;
  for (int i = 0; i < count; i++) leftovers += strstr(names[i], ".part-") != NULL;
  file_list_free(names, count);
  return leftovers;
}

static void start_over(void) {
  char command[512];
  int failures;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) abort();
  shim_arm(SHIM_NONE, 0, 0, folder);
  CHECK_OK(save(OLD_STEP, &failures));
}

/* Returns whether the fault struck at all. */
static bool save_with_failure(enum shim_fault fault, int at, int error) {
  int failures = 0;
  start_over();
  shim_arm(fault, at, error, folder);
  enum status status = save(NEW_STEP, &failures);
  bool struck = shim.count >= at;
  shim_arm(SHIM_NONE, 0, 0, folder);
  CHECK_SAY(!status || strstr(status_message(), strerror(error)), ": operation %d: %s", at,
            status_message());
  int64_t step = find_step();
  CHECK_SAY(step == NEW_STEP || (status && step == OLD_STEP), ": operation %d: found step %lld", at,
            (long long)step);
  CHECK_OK(save(NEW_STEP, &failures));
  CHECK(failures == 0 && find_step() == NEW_STEP && count_leftovers() == 0);
  return struck;
}

static bool save_with_kill(enum shim_fault fault, int at) {
  int failures = 0, result;
  start_over();
  pid_t child = fork();
  if (child == 0) {
    shim_arm(fault, at, 0, folder);
    save(NEW_STEP, &failures) == STATUS_OK ? _exit(0) : _exit(1);
  }
  if (child < 0 || waitpid(child, &result, 0) != child) abort();
  bool struck = WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL;
  CHECK(struck || (WIFEXITED(result) && WEXITSTATUS(result) == 0));
  int64_t step = find_step();
  CHECK_SAY(step == NEW_STEP || (struck && step == OLD_STEP), ": operation %d: found step %lld", at,
            (long long)step);
  CHECK_OK(save(NEW_STEP, &failures));
  CHECK(failures == 0 && find_step() == NEW_STEP && count_leftovers() == 0);
  return struck;
}

/* Every operation of a save, until one save is left alone. */
static void strike_everywhere(enum shim_fault fault, int error) {
  int at = 1;
  while (at < MOST_OPERATIONS &&
         (fault >= SHIM_KILL ? save_with_kill(fault, at) : save_with_failure(fault, at, error)))
    at++;
  CHECK_SAY(at > 15 && at < MOST_OPERATIONS, ": %d operations", at - 1);
}

TEST(one_operation_fails) {
  strike_everywhere(SHIM_FAIL_ONCE, EIO);
}

TEST(the_disk_is_full_from_some_point_on) {
  strike_everywhere(SHIM_FAIL_FROM, ENOSPC);
}

TEST(the_process_is_killed) {
  strike_everywhere(SHIM_KILL, 0);
}

TEST(the_power_goes) {
  strike_everywhere(SHIM_POWER_CUT, 0);
}

/* The test itself: a save whose fsync does nothing must not pass it. */
TEST(a_missing_fsync_would_be_noticed) {
  int failures, result, lost = 0;
  bool struck = true;
  keep = 0;
  for (int at = 1; struck && at < MOST_OPERATIONS; at++) {
    start_over();
    pid_t child = fork();
    if (child == 0) {
      shim_arm(SHIM_POWER_CUT, at, 0, folder);
      shim.fsync_lies = true;
      save(NEW_STEP, &failures) == STATUS_OK ? _exit(0) : _exit(1);
    }
    if (child < 0 || waitpid(child, &result, 0) != child) abort();
    struck = WIFSIGNALED(result);
    lost += find_step() < 0;
  }
  CHECK(lost > 0);
}

int main(void) {
  log_setup(0, 1, LOG_ERROR + 1); /* hundreds of warnings are the expected thing here */
  char *parent = check_make_folder();
  folder = file_join(parent, "checkpoints");
  RUN(a_missing_fsync_would_be_noticed);
  for (keep = 0; keep < 2; keep++) {
    RUN(one_operation_fails);
    RUN(the_disk_is_full_from_some_point_on);
    RUN(the_process_is_killed);
    RUN(the_power_goes);
  }
  free(folder);
  check_remove_folder(parent);
  return check_result();
}
