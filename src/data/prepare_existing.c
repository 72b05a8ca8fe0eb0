/* What an earlier run left behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "data/prepare_parts.h"

char *prepare_beside(const struct preparation *preparation, const char *name) {
  const char *slash = strrchr(preparation->master, '/');
  if (!slash) return strdup(name);
  return file_format("%.*s/%s", (int)(slash - preparation->master), preparation->master, name);
}

/* A shard that cannot be read is a missing one: it will be written again. */
static void read_shard(struct preparation *preparation, int index, int count) {
  char *path = shard_path(preparation->master, index, count);
  if (path && file_exists(path)) {
    struct shard *shard = &preparation->existing[preparation->existing_count];
    if (shard_read(shard, path) == STATUS_OK)
      preparation->existing_count++;
    else
      log_warning("%s; it is made again", status_message());
    status_clear();
  }
  free(path);
}

/* How many shards the master stands for; 0 without a readable one. */
static int count_of_master(const struct preparation *preparation) {
  int count = 0;
  uint64_t manifest;
  if (!file_exists(preparation->master)) return 0;
  if (shard_read_master(preparation->master, &count, &manifest) == STATUS_OK) return count;
  status_clear();
  return 0;
}

enum status prepare_find_existing(struct preparation *preparation) {
  int wanted = (int)preparation->config->data.shard_count;
  if (wanted > preparation->source_count) wanted = preparation->source_count;
  int before = count_of_master(preparation);
  if (before == wanted) before = 0;
  preparation->existing = calloc((size_t)(before + wanted), sizeof *preparation->existing);
  REQUIRE(preparation->existing, STATUS_FAILED, "%s: out of memory for %d shards",
          preparation->master, before + wanted);
  /* an interrupted run's shards have no master yet: they are found by the count that is wanted now
   */
  for (int index = 0; index < wanted; index++) read_shard(preparation, index, wanted);
  for (int index = 0; index < before; index++) read_shard(preparation, index, before);
  return STATUS_OK;
}
