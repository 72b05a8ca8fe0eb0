/* The run's folder, its lock, and metrics.csv. */
#include "check.h"
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "store/run_folder.h"
#include "store/step_table.h"

static char *folder;

static char *read_text(const char *path) {
  char *text;
  size_t bytes;
  return file_read(path, 1 << 20, &text, &bytes) == STATUS_OK ? text : strdup("(unreadable)");
}

static void check_text(const char *path, const char *expected) {
  char *text = read_text(path);
  CHECK_SAY(strcmp(text, expected) == 0, ": found '%s'", text);
  free(text);
}

/* Replaces the first `from` in a file. */
static void edit(const char *path, const char *from, const char *to) {
  char *text = read_text(path), *at = strstr(text, from);
  CHECK(at != NULL);
  char *edited = at ? file_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) : NULL;
  if (edited) CHECK_OK(file_replace(path, edited, strlen(edited)));
  free(edited);
  free(text);
}

TEST(the_folder_is_made_and_named) {
  struct run_folder run;
  char *directory = file_join(folder, "runs/with a space/\xc3\xa9");
  CHECK_OK(run_folder_open(&run, directory, false));
  CHECK(file_is_directory(directory) && file_exists(run.lock));
  CHECK(strncmp(run.metrics, directory, strlen(directory)) == 0);
  char *lock = strdup(run.lock);
  run_folder_close(&run);
  run_folder_close(&run);
  CHECK(!file_exists(lock));
  free(lock);
  free(directory);
}

TEST(a_second_run_is_refused) {
  struct run_folder run, second;
  char *directory = file_join(folder, "busy"), host[256] = "", expected[400];
  gethostname(host, sizeof host - 1);
  CHECK_OK(run_folder_open(&run, directory, false));
  snprintf(expected, sizeof expected, "process %ld on %s", (long)getpid(), host);
  for (int resume = 0; resume < 2; resume++) {
    CHECK_FAILS(run_folder_open(&second, directory, resume), expected);
    CHECK(!second.directory && file_exists(run.lock));
  }
  run_folder_close(&run);
  CHECK_OK(run_folder_open(&second, directory, false));
  run_folder_close(&second);
  free(directory);
}

TEST(checkpoints_are_not_overwritten_unless_resuming) {
  struct run_folder run;
  char *directory = file_join(folder, "used");
  char *last = file_join(directory, "checkpoints/last.medtrain");
  CHECK_OK(run_folder_open(&run, directory, false));
  CHECK_OK(file_make_directory(run.checkpoints));
  run_folder_close(&run);
  CHECK_OK(run_folder_open(&run, directory, false));
  run_folder_close(&run);
  CHECK_OK(file_replace(last, "x", 1));
  CHECK_FAILS(run_folder_open(&run, directory, false), "checkpoints of an earlier run");
  CHECK_OK(run_folder_open(&run, directory, true));
  run_folder_close(&run);
  free(last);
  free(directory);
}

/* Leaves the lock of a process that was killed. */
static void make_stale_lock(const char *path) {
  int result;
  pid_t child = fork();
  if (child == 0) {
    if (lock_take(path)) _exit(1);
    kill(getpid(), SIGKILL);
  }
  if (child < 0 || waitpid(child, &result, 0) != child) abort();
  CHECK(WIFSIGNALED(result) && file_exists(path));
}

TEST(the_lock_of_a_dead_process_is_taken_over) {
  char *path = file_join(folder, "stale-lock"), expected[64];
  make_stale_lock(path);
  CHECK_OK(lock_take(path));
  snprintf(expected, sizeof expected, "\"pid\": %ld", (long)getpid());
  char *text = read_text(path);
  CHECK(strstr(text, expected));
  free(text);
  lock_release(path);
  CHECK(!file_exists(path));
  free(path);
}

TEST(a_reused_process_number_is_no_owner) {
  char *path = file_join(folder, "reused-lock"), dead[64], living[64];
  make_stale_lock(path);
  char *text = read_text(path), *at = strstr(text, "\"pid\": ");
  snprintf(dead, sizeof dead, "\"pid\": %ld", at ? atol(at + 7) : 0);
  snprintf(living, sizeof living, "\"pid\": %ld", (long)getppid());
  edit(path, dead, living);
  CHECK_OK(lock_take(path));
  lock_release(path);
  free(text);
  free(path);
}

TEST(other_hosts_are_believed_unless_the_job_restarted) {
  char *path = file_join(folder, "far-lock"), host[256] = "", own[300];
  setenv("SLURM_JOB_ID", "4711", 1);
  unsetenv("SLURM_RESTART_COUNT");
  make_stale_lock(path);
  gethostname(host, sizeof host - 1);
  snprintf(own, sizeof own, "\"host\": \"%s\"", host);
  edit(path, own, "\"host\": \"node17\"");
  CHECK_FAILS(lock_take(path), "on node17, job 4711");
  lock_release(path); /* not ours: stays */
  CHECK(file_exists(path));
  setenv("SLURM_RESTART_COUNT", "1", 1);
  CHECK_OK(lock_take(path));
  lock_release(path);
  unsetenv("SLURM_JOB_ID");
  unsetenv("SLURM_RESTART_COUNT");
  free(path);
}

TEST(an_unreadable_lock_is_respected) {
  char *path = file_join(folder, "odd-lock");
  CHECK_OK(file_replace(path, "{}", 2));
  CHECK_FAILS(lock_take(path), "does not say which");
  CHECK(file_exists(path));
  CHECK_FAILS(lock_take("/no/such/folder/lock"), "cannot create the lock");
  free(path);
}

/* --- metrics.csv
 * ------------------------------------------------------------------------------------- */

static const char *const names[] = {"loss", "dice"};

TEST(rows_are_appended_and_read_back_exactly) {
  struct step_table table;
  char *path = file_join(folder, "metrics.csv");
  double values[] = {0.1 + 0.2, NAN};
  CHECK_OK(step_table_open(&table, path, names, 2, 0));
  CHECK_OK(step_table_append(&table, 1, values));
  values[0] = -INFINITY;
  values[1] = 1e-300 / 3;
  CHECK_OK(step_table_append(&table, 2, values));
  step_table_close(&table);
  step_table_close(&table);
  char *text = read_text(path);
  CHECK(strncmp(text, "step,loss,dice\n1,0.30000000000000004,\n2,-inf,", 45) == 0);
  CHECK(strtod(text + 45, NULL) == 1e-300 / 3);
  free(text);
  free(path);
}

TEST(resuming_drops_what_will_come_again) {
  struct step_table table;
  char *path = file_join(folder, "resumed.csv");
  const char *old = "step,loss,dice\n1,1,1\n2,2,2\n3,3,3\n1000,4,4\ngarbage\n2,half";
  CHECK_OK(file_replace(path, old, strlen(old)));
  CHECK_OK(step_table_open(&table, path, names, 2, 3));
  check_text(path, "step,loss,dice\n1,1,1\n2,2,2\n");
  CHECK_OK(step_table_append(&table, 3, (double[]){0.5, 2}));
  step_table_close(&table);
  check_text(path, "step,loss,dice\n1,1,1\n2,2,2\n3,0.5,2\n");
  free(path);
}

TEST(other_columns_are_kept_aside) {
  struct step_table table;
  char *path = file_join(folder, "other.csv"), *aside = file_format("%s.before-7", path);
  CHECK_OK(file_replace(path, "step,loss\n1,1\n", 14));
  CHECK_OK(step_table_open(&table, path, names, 2, 7));
  step_table_close(&table);
  check_text(path, "step,loss,dice\n");
  check_text(aside, "step,loss\n1,1\n");
  CHECK_OK(file_replace(path, "", 0));
  CHECK_OK(step_table_open(&table, path, names, 2, 7));
  check_text(path, "step,loss,dice\n");
  step_table_close(&table);
  CHECK_FAILS(step_table_open(&table, "/no/such/folder/m.csv", names, 2, 0), "cannot create");
  step_table_close(&table);
  free(path);
  free(aside);
}

int main(void) {
  log_setup(0, 1, LOG_ERROR + 1);
  folder = check_make_folder();
  RUN(the_folder_is_made_and_named);
  RUN(a_second_run_is_refused);
  RUN(checkpoints_are_not_overwritten_unless_resuming);
  RUN(the_lock_of_a_dead_process_is_taken_over);
  RUN(a_reused_process_number_is_no_owner);
  RUN(other_hosts_are_believed_unless_the_job_restarted);
  RUN(an_unreadable_lock_is_respected);
  RUN(rows_are_appended_and_read_back_exactly);
  RUN(resuming_drops_what_will_come_again);
  RUN(other_columns_are_kept_aside);
  check_remove_folder(folder);
  return check_result();
}
