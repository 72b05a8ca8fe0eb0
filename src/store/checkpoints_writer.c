/* Saving in the background: one snapshot, one thread at a time. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "store/checkpoints.h"
#include "store/checkpoints_parts.h"

enum { ALIGNMENT = 64, TRACE_BYTES = 4096 };

struct checkpoints_writer {
  const char *directory;
  struct checkpoint_save save;
  unsigned char *snapshot;
  size_t snapshot_bytes;
  pthread_t thread;
  bool running; /* the thread has to be joined */
  atomic_bool busy;
  enum status status; /* of the latest save */
  char trace[TRACE_BYTES];
};

static void release_tensors(struct checkpoint_save *save) {
  for (int i = 0; i < save->count; i++) free((char *)save->tensors[i].name);
  free(save->tensors);
  save->tensors = NULL;
  save->count = 0;
  json_decref(save->metadata);
  save->metadata = NULL;
}

enum status checkpoints_open(struct checkpoints *checkpoints, const char *directory, int keep) {
  *checkpoints = (struct checkpoints){.keep = keep};
  TRY(file_make_directory(directory));
  TRY(checkpoints_remove_leftovers(directory));
  checkpoints->directory = strdup(directory);
  checkpoints->writer = calloc(1, sizeof *checkpoints->writer);
  if (checkpoints->directory && checkpoints->writer) {
    checkpoints->writer->directory = checkpoints->directory;
    return STATUS_OK;
  }
  checkpoints_close(checkpoints);
  FAIL(STATUS_FAILED, "%s: out of memory", directory);
}

/* --- the snapshot ------------------------------------------------------------------------------
 */

static size_t aligned(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static enum status make_room(struct checkpoints_writer *writer, const struct stored_tensor *tensors,
                             int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += aligned(tensors[i].bytes);
  if (bytes <= writer->snapshot_bytes) return STATUS_OK;
  free(writer->snapshot);
  writer->snapshot_bytes = 0;
  writer->snapshot = aligned_alloc(ALIGNMENT, bytes);
  REQUIRE(writer->snapshot, STATUS_FAILED, "out of memory for a checkpoint's snapshot (%zu bytes)",
          bytes);
  writer->snapshot_bytes = bytes;
  return STATUS_OK;
}

static enum status copy_tensors(struct checkpoints_writer *writer,
                                const struct stored_tensor *tensors, int count) {
  struct checkpoint_save *save = &writer->save;
  unsigned char *to = writer->snapshot;
  save->tensors = calloc((size_t)count + 1, sizeof *save->tensors);
  REQUIRE(save->tensors, STATUS_FAILED, "out of memory");
  for (int i = 0; i < count; i++) {
    struct stored_tensor *copy = &save->tensors[save->count++];
    *copy = tensors[i];
    copy->data = to;
    copy->name = strdup(tensors[i].name);
    REQUIRE(copy->name, STATUS_FAILED, "out of memory");
    if (copy->bytes) memcpy(to, tensors[i].data, copy->bytes);
    to += aligned(copy->bytes);
  }
  return STATUS_OK;
}

static enum status take_snapshot(struct checkpoints_writer *writer, const json_t *metadata,
                                 const struct stored_tensor *tensors, int count) {
  TRY(make_room(writer, tensors, count));
  TRY(copy_tensors(writer, tensors, count));
  writer->save.metadata = json_deep_copy(metadata);
  REQUIRE(writer->save.metadata, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

/* --- the thread --------------------------------------------------------------------------------
 */

static void *write_in_background(void *argument) {
  struct checkpoints_writer *writer = argument;
  writer->status = checkpoint_save_write(writer->directory, &writer->save);
  strncpy(writer->trace, writer->status ? status_trace() : "", TRACE_BYTES - 1);
  atomic_store(&writer->busy, false);
  return NULL;
}

static void finish_save(struct checkpoints *checkpoints) {
  struct checkpoints_writer *writer = checkpoints->writer;
  release_tensors(&writer->save);
  if (!writer->status) return;
  checkpoints->failures++;
  log_warning("the checkpoint of step %lld was not saved (failure %d): %.*s",
              (long long)writer->save.step, checkpoints->failures,
              (int)strcspn(writer->trace, "\n"), writer->trace);
}

static void join(struct checkpoints *checkpoints) {
  struct checkpoints_writer *writer = checkpoints->writer;
  if (!writer->running) return;
  pthread_join(writer->thread, NULL);
  writer->running = false;
  finish_save(checkpoints);
}

enum status checkpoints_save(struct checkpoints *checkpoints, int64_t step, bool best,
                             const json_t *metadata, const struct stored_tensor *tensors,
                             int count) {
  struct checkpoints_writer *writer = checkpoints->writer;
  join(checkpoints);
  writer->save = (struct checkpoint_save){.step = step, .best = best, .keep = checkpoints->keep};
  enum status status = take_snapshot(writer, metadata, tensors, count);
  if (status) {
    release_tensors(&writer->save);
    return status;
  }
  atomic_store(&writer->busy, true);
  writer->running = pthread_create(&writer->thread, NULL, write_in_background, writer) == 0;
  if (writer->running) return STATUS_OK;
  write_in_background(writer); /* no thread to be had: the run waits, the checkpoint is written */
  finish_save(checkpoints);
  return STATUS_OK;
}

enum status checkpoints_wait(struct checkpoints *checkpoints) {
  join(checkpoints);
  if (checkpoints->writer->status) status_restore(checkpoints->writer->trace);
  return checkpoints->writer->status;
}

bool checkpoints_busy(const struct checkpoints *checkpoints) {
  return atomic_load(&checkpoints->writer->busy);
}

void checkpoints_close(struct checkpoints *checkpoints) {
  if (checkpoints->writer) {
    join(checkpoints);
    release_tensors(&checkpoints->writer->save);
    free(checkpoints->writer->snapshot);
    free(checkpoints->writer);
  }
  free(checkpoints->directory);
  *checkpoints = (struct checkpoints){0};
}
