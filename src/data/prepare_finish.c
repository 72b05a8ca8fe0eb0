/* The last stage, by rank 0: the master over all shards, and no shards beside it that it does not
 * name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "data/prepare_parts.h"
#include "data/shard_write.h"

/* Shards were written by other ranks too: what is in the files is what counts. */
static enum status read_again(struct preparation *preparation) {
  for (int s = 0; s < preparation->shard_count; s++) {
    struct shard *shard = &preparation->shards[s];
    struct shard found;
    TRY(shard_read(&found, shard->path));
    shard_close(shard);
    *shard = found;
  }
  return STATUS_OK;
}

/* Shards made anew may have fields that the earlier ones had not. */
static bool master_fits(const struct preparation *preparation) {
  int count;
  uint64_t manifest;
  bool fits = !preparation->stale_count && file_exists(preparation->master) &&
              shard_read_master(preparation->master, &count, &manifest) == STATUS_OK &&
              count == preparation->shard_count &&
              manifest == shard_manifest(preparation->shards, count);
  status_clear();
  return fits;
}

/* Whether `name` is STEM-ddddd-of-ddddd.h5 with another count than the wanted one. */
static bool is_orphan(const char *name, const char *stem, int wanted) {
  size_t length = strlen(stem);
  int index, count, end = 0;
  if (strncmp(name, stem, length) != 0) return false;
  int found = sscanf(name + length, "-%5d-of-%5d.h5%n", &index, &count, &end);
  return found == 2 && end == 18 && name[length + 18] == 0 && count != wanted;
}

/* The master's file name without folder and suffix (caller frees). */
static char *stem_of(const char *master) {
  char *path = shard_path(master, 0, 1);
  const char *slash = path ? strrchr(path, '/') : NULL;
  char *stem = path ? strdup(slash ? slash + 1 : path) : NULL;
  if (stem) stem[strlen(stem) - strlen("-00000-of-00001.h5")] = 0;
  free(path);
  return stem;
}

static enum status remove_orphans(const struct preparation *preparation) {
  char *stem = stem_of(preparation->master), *folder = prepare_beside(preparation, ".");
  char **names = NULL;
  int count = 0, removed = 0;
  enum status status = stem && folder ? file_list(folder, ".h5", &names, &count)
                                      : status_fail(STATUS_FAILED, __FILE__, __LINE__,
                                                    "%s: out of memory", preparation->master);
  for (int i = 0; !status && i < count; i++) {
    char *path =
        is_orphan(names[i], stem, preparation->shard_count) ? file_join(folder, names[i]) : NULL;
    if (path && unlink(path) == 0) removed++;
    free(path);
  }
  if (removed) log_info("%s: removed %d shards of an earlier number of shards", folder, removed);
  file_list_free(names, count);
  free(stem);
  free(folder);
  return status;
}

enum status prepare_finish(struct preparation *preparation) {
  TRY(read_again(preparation));
  if (!master_fits(preparation))
    TRY(master_write(preparation->master, preparation->shards, preparation->shard_count));
  return remove_orphans(preparation);
}
