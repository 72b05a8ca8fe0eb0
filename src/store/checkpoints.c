/* What the names in a checkpoint folder mean, and in which order the files come and go. Each state
 * is written once; last and best are further names (hard links) of the same bytes. */
#include "store/checkpoints.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "store/checkpoints_parts.h"

#define STEP_PREFIX "step-"
#define PART_MARK CHECKPOINT_SUFFIX ".part-" /* temporary names of base/file.h, and ours */

char *checkpoints_last_path(const char *directory) {
  return file_join(directory, "last" CHECKPOINT_SUFFIX);
}

char *checkpoints_best_path(const char *directory) {
  return file_join(directory, "best" CHECKPOINT_SUFFIX);
}

static char *step_path(const char *directory, int64_t step) {
  return file_format("%s/" STEP_PREFIX "%07lld" CHECKPOINT_SUFFIX, directory, (long long)step);
}

/* The step in a name like step-0000120.medtrain; negative for other names. */
static int64_t step_of(const char *name) {
  long long step;
  int end = 0;
  if (sscanf(name, STEP_PREFIX "%lld" CHECKPOINT_SUFFIX "%n", &step, &end) != 1) return -1;
  return end && !name[end] && step >= 0 ? step : -1;
}

static enum status list_steps(const char *directory, int64_t **steps, int *count) {
  char **names;
  int total;
  *count = 0;
  TRY(file_list(directory, CHECKPOINT_SUFFIX, &names, &total));
  *steps = calloc((size_t)total + 1, sizeof **steps);
  for (int i = 0; *steps && i < total; i++)
    if (step_of(names[i]) >= 0) (*steps)[(*count)++] = step_of(names[i]);
  file_list_free(names, total);
  REQUIRE(*steps, STATUS_FAILED, "%s: out of memory", directory);
  return STATUS_OK;
}

static int newest_first(const void *a, const void *b) {
  int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left < right) - (left > right);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static enum status sync_folder(const char *directory) {
  int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(descriptor >= 0, STATUS_FAILED, "%s: cannot open the folder: %s", directory,
          strerror(errno));
  int failed = fsync(descriptor);
  close(descriptor);
  REQUIRE(!failed, STATUS_FAILED, "%s: cannot sync the folder: %s", directory, strerror(errno));
  return STATUS_OK;
}

static enum status link_over(const char *from, const char *to, const char *temporary) {
  unlink(temporary);
  REQUIRE(link(from, temporary) == 0, STATUS_FAILED, "%s: cannot link %s: %s", to, from,
          strerror(errno));
  if (rename(temporary, to) == 0) {
    unlink(temporary); /* still there if both were names of the same file already */
    return STATUS_OK;
  }
  int reason = errno;
  unlink(temporary);
  FAIL(STATUS_FAILED, "%s: cannot rename %s: %s", to, temporary, strerror(reason));
}

/* Another name for the file, or another file where the file system has no hard links. */
static enum status copy_name(const char *from, char *to, const struct checkpoint_save *save) {
  char *temporary = to ? file_format("%s.part-%ld", to, (long)getpid()) : NULL;
  enum status status = STATUS_FAILED;
  if (temporary)
    status = link_over(from, to, temporary);
  else
    status = status_fail(status, __FILE__, __LINE__, "%s: out of memory", from);
  if (temporary && status)
    status = checkpoint_write(to, save->metadata, save->tensors, save->count);
  free(temporary);
  free(to);
  return status;
}

/* Removes all but the `keep` newest step files up to `step`; later ones belong to somebody else. */
static enum status remove_old(const char *directory, int64_t step, int keep) {
  int64_t *steps;
  int count, kept = 0;
  TRY(list_steps(directory, &steps, &count));
  qsort(steps, (size_t)count, sizeof *steps, newest_first);
  for (int i = 0; i < count; i++) {
    if (steps[i] > step || kept++ < keep) continue;
    char *path = step_path(directory, steps[i]);
    if (path && unlink(path) != 0 && errno != ENOENT)
      log_warning("%s: cannot remove the old checkpoint: %s", path, strerror(errno));
    free(path);
  }
  free(steps);
  return STATUS_OK;
}

static enum status write_names(const char *directory, const char *path,
                               const struct checkpoint_save *save) {
  TRY(checkpoint_write(path, save->metadata, save->tensors, save->count));
  TRY(copy_name(path, checkpoints_last_path(directory), save));
  if (save->best) TRY(copy_name(path, checkpoints_best_path(directory), save));
  TRY(sync_folder(directory));
  return remove_old(directory, save->step, save->keep);
}

enum status checkpoint_save_write(const char *directory, const struct checkpoint_save *save) {
  char *path = step_path(directory, save->step);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", directory);
  enum status status = write_names(directory, path, save);
  free(path);
  return status;
}

enum status checkpoints_remove_leftovers(const char *directory) {
  char **names;
  int count;
  TRY(file_list(directory, "", &names, &count));
  for (int i = 0; i < count; i++) {
    if (!strstr(names[i], PART_MARK)) continue;
    char *path = file_join(directory, names[i]);
    if (path && unlink(path) == 0)
      log_info("%s: removed, a crashed run left it half-written", path);
    free(path);
  }
  file_list_free(names, count);
  return STATUS_OK;
}

/* --- reading -----------------------------------------------------------------------------------
 */

struct search {
  const char *directory;
  struct checkpoint *checkpoint;
  int present;
  bool found;
};

/* Takes ownership of `path`. */
static void try_reading(struct search *search, char *path) {
  if (path && !search->found && file_exists(path)) {
    search->present++;
    search->found = checkpoint_read(path, search->checkpoint) == STATUS_OK;
    if (!search->found)
      log_warning("%s; an older checkpoint is used if there is one", status_message());
    if (search->found && search->present > 1) log_warning("%s is used instead", path);
  }
  free(path);
}

enum status checkpoints_load_latest(const char *directory, struct checkpoint *checkpoint,
                                    bool *found) {
  struct search search = {.directory = directory, .checkpoint = checkpoint};
  int64_t *steps;
  int count;
  *checkpoint = (struct checkpoint){0};
  *found = false;
  if (!file_is_directory(directory)) return STATUS_OK;
  TRY(list_steps(directory, &steps, &count));
  qsort(steps, (size_t)count, sizeof *steps, newest_first);
  try_reading(&search, checkpoints_last_path(directory));
  for (int i = 0; i < count; i++) try_reading(&search, step_path(directory, steps[i]));
  try_reading(&search, checkpoints_best_path(directory));
  free(steps);
  *found = search.found;
  if (search.found) status_clear();
  REQUIRE(search.found || !search.present, STATUS_FAILED,
          "%s: all %d checkpoints are damaged; the run cannot be resumed", directory,
          search.present);
  return STATUS_OK;
}
