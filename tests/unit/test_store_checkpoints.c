/* The checkpoint folder: which files there are after which save, and which one is read. */
#include "check.h"
#include <jansson.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "store/checkpoints.h"

static char *folder;

enum { ELEMENTS = 1000 };

static enum status save(struct checkpoints *checkpoints, int64_t step, bool best) {
  static float weights[ELEMENTS];
  for (int i = 0; i < ELEMENTS; i++) weights[i] = (float)(step + i);
  struct stored_tensor tensor = {"weights", "F32", 1, {ELEMENTS}, weights, sizeof weights};
  json_t *metadata = json_pack("{s:I}", "step", (json_int_t)step);
  enum status status = checkpoints_save(checkpoints, step, best, metadata, &tensor, 1);
  json_decref(metadata);
  memset(weights, 0, sizeof weights); /* the snapshot must not notice */
  return status;
}

static bool holds(const char *name, int64_t step) {
  struct checkpoint checkpoint;
  char *path = file_join(folder, name);
  bool good = checkpoint_read(path, &checkpoint) == STATUS_OK;
  if (good) {
    const float *weights = checkpoint_find(&checkpoint, "weights")->data;
    good = json_integer_value(json_object_get(checkpoint.metadata, "step")) == step &&
           weights[ELEMENTS - 1] == (float)(step + ELEMENTS - 1);
  }
  checkpoint_close(&checkpoint);
  free(path);
  return good;
}

static bool is_there(const char *name) {
  char *path = file_join(folder, name);
  bool there = file_exists(path);
  free(path);
  return there;
}

static void put(const char *name, const char *text) {
  char *path = file_join(folder, name);
  CHECK_OK(file_replace(path, text, strlen(text)));
  free(path);
}

static int64_t load_step(void) {
  struct checkpoint checkpoint;
  bool found;
  CHECK_OK(checkpoints_load_latest(folder, &checkpoint, &found));
  int64_t step = found ? json_integer_value(json_object_get(checkpoint.metadata, "step")) : -1;
  checkpoint_close(&checkpoint);
  return step;
}

TEST(names_follow_the_saves) {
  struct checkpoints checkpoints;
  CHECK_OK(checkpoints_open(&checkpoints, folder, 2));
  CHECK_OK(save(&checkpoints, 10, true));
  CHECK_OK(save(&checkpoints, 20, true));
  CHECK_OK(save(&checkpoints, 30, false));
  CHECK_OK(save(&checkpoints, 30, false)); /* again, as at the end of training */
  CHECK_OK(checkpoints_wait(&checkpoints));
  CHECK(!checkpoints_busy(&checkpoints));
  CHECK(holds("last.medtrain", 30) && holds("best.medtrain", 20));
  CHECK(holds("step-0000030.medtrain", 30) && holds("step-0000020.medtrain", 20));
  CHECK(!is_there("step-0000010.medtrain"));
  CHECK(checkpoints.failures == 0);
  checkpoints_close(&checkpoints);
  checkpoints_close(&checkpoints);
  char **names;
  int count;
  CHECK_OK(file_list(folder, "", &names, &count));
  CHECK(count == 4);
  file_list_free(names, count);
  CHECK(load_step() == 30);
}

TEST(the_same_bytes_are_stored_once) {
  struct stat last, step;
  char *last_path = checkpoints_last_path(folder),
       *step_path = file_join(folder, "step-0000030.medtrain");
  CHECK(stat(last_path, &last) == 0 && stat(step_path, &step) == 0 && last.st_ino == step.st_ino);
  free(last_path);
  free(step_path);
}

TEST(damaged_ones_are_passed_over) {
  put("last.medtrain", "MEDTRAIN, but not really");
  CHECK(load_step() == 30);
  put("step-0000030.medtrain", "");
  CHECK(load_step() == 20);
  put("step-0000020.medtrain", "");
  CHECK(load_step() == 20); /* best */
  put("best.medtrain", "");
  struct checkpoint checkpoint;
  bool found;
  CHECK_FAILS(checkpoints_load_latest(folder, &checkpoint, &found),
              "all 4 checkpoints are damaged");
  CHECK(!found);
}

TEST(leftovers_are_removed_and_later_steps_are_not) {
  struct checkpoints checkpoints;
  put("last.medtrain.part-1", "half");
  put("step-0000090.medtrain", "somebody's");
  put("step-notes.medtrain", "mine");
  CHECK_OK(checkpoints_open(&checkpoints, folder, 0));
  CHECK(!is_there("last.medtrain.part-1"));
  CHECK_OK(save(&checkpoints, 40, false));
  CHECK_OK(checkpoints_wait(&checkpoints));
  CHECK(holds("last.medtrain", 40) && !is_there("step-0000040.medtrain"));
  CHECK(!is_there("step-0000020.medtrain"));
  CHECK(is_there("step-0000090.medtrain") && is_there("step-notes.medtrain"));
  CHECK(load_step() == 40);
  checkpoints_close(&checkpoints);
}

TEST(a_failed_save_is_reported_and_survived) {
  struct checkpoints checkpoints;
  char *gone = file_join(folder, "gone");
  CHECK_OK(checkpoints_open(&checkpoints, gone, 1));
  CHECK(rmdir(gone) == 0);
  CHECK_OK(save(&checkpoints, 1, false));
  CHECK_FAILS(checkpoints_wait(&checkpoints), "cannot create");
  CHECK(checkpoints.failures == 1);
  CHECK_FAILS(checkpoints_wait(&checkpoints), "cannot create");
  CHECK_OK(save(&checkpoints, 2, false));
  CHECK_FAILS(checkpoints_wait(&checkpoints), "cannot create");
  CHECK(checkpoints.failures == 2);
  CHECK_OK(file_make_directory(gone));
  CHECK_OK(save(&checkpoints, 3, false));
  CHECK_OK(checkpoints_wait(&checkpoints));
  CHECK(checkpoints.failures == 2);
  checkpoints_close(&checkpoints);
  free(gone);
}

TEST(an_empty_or_missing_folder_holds_none) {
  struct checkpoint checkpoint;
  bool found = true;
  CHECK_OK(checkpoints_load_latest("/no/such/folder", &checkpoint, &found));
  CHECK(!found);
  char *empty = file_join(folder, "empty");
  CHECK_OK(file_make_directory(empty));
  CHECK_OK(checkpoints_load_latest(empty, &checkpoint, &found));
  CHECK(!found);
  free(empty);
}

int main(void) {
  log_setup(0, 1, LOG_ERROR); /* warnings are the expected thing here */
  folder = check_make_folder();
  RUN(names_follow_the_saves);
  RUN(the_same_bytes_are_stored_once);
  RUN(damaged_ones_are_passed_over);
  RUN(leftovers_are_removed_and_later_steps_are_not);
  RUN(a_failed_save_is_reported_and_survived);
  RUN(an_empty_or_missing_folder_holds_none);
  check_remove_folder(folder);
  return check_result();
}
