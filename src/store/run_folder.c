/* The names in a run's folder, and the right to use it. */
#include "store/run_folder.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "store/checkpoint.h"

static enum status name_files(struct run_folder *folder, const char *directory) {
  folder->directory = strdup(directory);
  folder->checkpoints = file_join(directory, "checkpoints");
  folder->log = file_join(directory, "log.txt");
  folder->metrics = file_join(directory, "metrics.csv");
  folder->config = file_join(directory, "config.cfg");
  folder->lock = file_join(directory, "lock");
  REQUIRE(folder->directory && folder->checkpoints && folder->log && folder->metrics &&
              folder->config && folder->lock,
          STATUS_FAILED, "%s: out of memory", directory);
  return STATUS_OK;
}

static enum status refuse_used_folder(const struct run_folder *folder) {
  char **names;
  int count;
  if (!file_is_directory(folder->checkpoints)) return STATUS_OK;
  TRY(file_list(folder->checkpoints, CHECKPOINT_SUFFIX, &names, &count));
  file_list_free(names, count);
  REQUIRE(!count, STATUS_USAGE,
          "%s: holds the checkpoints of an earlier run; resume it, choose another output.dir, or "
          "remove the folder",
          folder->directory);
  return STATUS_OK;
}

static enum status open_folder(struct run_folder *folder, const char *directory, bool resume) {
  TRY(name_files(folder, directory));
  TRY(file_make_directory(directory));
  TRY(lock_take(folder->lock));
  folder->locked = true;
  if (!resume) TRY(refuse_used_folder(folder));
  return STATUS_OK;
}

enum status run_folder_open(struct run_folder *folder, const char *directory, bool resume) {
  *folder = (struct run_folder){0};
  enum status status = open_folder(folder, directory, resume);
  if (status) run_folder_close(folder);
  return status;
}

void run_folder_close(struct run_folder *folder) {
  if (folder->locked) lock_release(folder->lock);
  free(folder->directory);
  free(folder->checkpoints);
  free(folder->log);
  free(folder->metrics);
  free(folder->config);
  free(folder->lock);
  *folder = (struct run_folder){0};
}
