/* One mutex, two conditions. A request goes through a ring of `depth` entries: requested -> filling
 * -> ready -> taken; the buffer of entry i is memory + i * stride, and an entry is free again when
 * its buffer is released. */
#include "data/prefetch.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/timer.h"

enum { TRACE_BYTES = 8192, ALIGNMENT = 64 };

enum state { STATE_FREE, STATE_REQUESTED, STATE_READY, STATE_TAKEN };

struct entry {
  enum state state;
  int64_t ticket;
  enum status status;
  char trace[TRACE_BYTES];
};

struct prefetch_shared {
  pthread_mutex_t mutex;
  pthread_cond_t requested, ready;
  pthread_t thread;
  bool closing;
  prefetch_fill *fill;
  void *context;
  unsigned char *memory, *own; /* own: to be freed, NULL where the memory is the owner's */
  size_t stride;
  int depth, wanted; /* wanted: how many entries of the queue wait to be taken */
  int *queue;        /* entries in the order of their requests: a ring of depth */
  int first, next;   /* of the queue: the oldest that was not taken, the next one to fill */
  struct entry *entries;
};

/* Fills the queue's next entry. The mutex is held on entry and on return, not while filling. */
static void fill_next(struct prefetch_shared *shared) {
  int index = shared->queue[shared->next];
  struct entry *entry = &shared->entries[index];
  shared->next = (shared->next + 1) % shared->depth;
  pthread_mutex_unlock(&shared->mutex);
  status_clear();
  enum status status =
      shared->fill(shared->context, entry->ticket, shared->memory + shared->stride * (size_t)index);
  pthread_mutex_lock(&shared->mutex);
  entry->status = status;
  if (status) snprintf(entry->trace, TRACE_BYTES, "%s", status_trace());
  entry->state = STATE_READY;
  pthread_cond_signal(&shared->ready);
}

static bool has_request(const struct prefetch_shared *shared) {
  return shared->wanted > 0 &&
         shared->entries[shared->queue[shared->next]].state == STATE_REQUESTED;
}

static void *run(void *argument) {
  struct prefetch_shared *shared = argument;
  pthread_mutex_lock(&shared->mutex);
  while (!shared->closing) {
    if (has_request(shared))
      fill_next(shared);
    else
      pthread_cond_wait(&shared->requested, &shared->mutex);
  }
  pthread_mutex_unlock(&shared->mutex);
  return NULL;
}

static void free_shared(struct prefetch_shared *shared) {
  pthread_mutex_destroy(&shared->mutex);
  pthread_cond_destroy(&shared->requested);
  pthread_cond_destroy(&shared->ready);
  free(shared->own);
  free(shared->queue);
  free(shared->entries);
  free(shared);
}

size_t prefetch_stride(size_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static enum status allocate(struct prefetch_shared *shared, size_t bytes) {
  size_t depth = (size_t)shared->depth;
  shared->stride = prefetch_stride(bytes);
  REQUIRE(bytes <= SIZE_MAX - ALIGNMENT && shared->stride <= SIZE_MAX / depth, STATUS_FAILED,
          "%d buffers of %zu bytes to load ahead do not fit in memory", shared->depth, bytes);
  shared->queue = calloc(depth, sizeof *shared->queue);
  shared->entries = calloc(depth, sizeof *shared->entries);
  void *memory = NULL;
  if (!shared->memory &&
      posix_memalign(&memory, ALIGNMENT, shared->stride * depth + ALIGNMENT) == 0)
    shared->memory = shared->own = memory;
  REQUIRE(shared->queue && shared->entries && shared->memory, STATUS_FAILED,
          "out of memory for %d buffers of %zu bytes to load ahead", shared->depth, bytes);
  return STATUS_OK;
}

static enum status start(struct prefetch_shared *shared, size_t bytes) {
  TRY(allocate(shared, bytes));
  int failed = pthread_create(&shared->thread, NULL, run, shared);
  REQUIRE(!failed, STATUS_FAILED, "cannot start the loading thread: %s", strerror(failed));
  return STATUS_OK;
}

enum status prefetch_open(struct prefetch *prefetch, int depth, size_t bytes, prefetch_fill *fill,
                          void *context) {
  return prefetch_open_in(prefetch, NULL, depth, bytes, fill, context);
}

enum status prefetch_open_in(struct prefetch *prefetch, void *memory, int depth, size_t bytes,
                             prefetch_fill *fill, void *context) {
  *prefetch = (struct prefetch){0};
  REQUIRE(depth >= 1 && bytes >= 1, STATUS_USAGE,
          "loading ahead: expected at least 1 buffer of at least 1 byte, found %d of %zu", depth,
          bytes);
  struct prefetch_shared *shared = calloc(1, sizeof *shared);
  REQUIRE(shared, STATUS_FAILED, "out of memory for loading ahead");
  shared->depth = depth;
  shared->memory = memory;
  shared->fill = fill;
  shared->context = context;
  pthread_mutex_init(&shared->mutex, NULL);
  pthread_cond_init(&shared->requested, NULL);
  pthread_cond_init(&shared->ready, NULL);
  enum status status = start(shared, bytes);
  if (status) {
    free_shared(shared);
    return status;
  }
  prefetch->shared = shared;
  return STATUS_OK;
}

static int find_free(const struct prefetch_shared *shared) {
  for (int i = 0; i < shared->depth; i++)
    if (shared->entries[i].state == STATE_FREE) return i;
  return -1;
}

enum status prefetch_request(struct prefetch *prefetch, int64_t ticket) {
  struct prefetch_shared *shared = prefetch->shared;
  pthread_mutex_lock(&shared->mutex);
  int index = find_free(shared);
  if (index >= 0) {
    shared->entries[index].state = STATE_REQUESTED;
    shared->entries[index].ticket = ticket;
    shared->queue[(shared->first + shared->wanted++) % shared->depth] = index;
    pthread_cond_signal(&shared->requested);
  }
  pthread_mutex_unlock(&shared->mutex);
  REQUIRE(index >= 0, STATUS_FAILED, "loading ahead: all %d buffers are in use", shared->depth);
  return STATUS_OK;
}

/* Removes the oldest entry from the queue once it is ready; the mutex is held. */
static struct entry *wait_oldest(struct prefetch_shared *shared) {
  struct entry *entry = &shared->entries[shared->queue[shared->first]];
  while (entry->state != STATE_READY) pthread_cond_wait(&shared->ready, &shared->mutex);
  entry->state = entry->status ? STATE_FREE : STATE_TAKEN;
  shared->first = (shared->first + 1) % shared->depth;
  shared->wanted--;
  return entry;
}

bool prefetch_ready(struct prefetch *prefetch) {
  struct prefetch_shared *shared = prefetch->shared;
  pthread_mutex_lock(&shared->mutex);
  bool ready =
      shared->wanted > 0 && shared->entries[shared->queue[shared->first]].state == STATE_READY;
  pthread_mutex_unlock(&shared->mutex);
  return ready;
}

enum status prefetch_take(struct prefetch *prefetch, void **memory, int64_t *ticket) {
  struct prefetch_shared *shared = prefetch->shared;
  double before = timer_now();
  pthread_mutex_lock(&shared->mutex);
  struct entry *entry = shared->wanted ? wait_oldest(shared) : NULL;
  pthread_mutex_unlock(&shared->mutex);
  prefetch->seconds_waited += timer_now() - before;
  REQUIRE(entry, STATUS_FAILED, "loading ahead: nothing was requested");
  *ticket = entry->ticket;
  *memory = shared->memory + shared->stride * (size_t)(entry - shared->entries);
  if (!entry->status) return STATUS_OK;
  *memory = NULL;
  status_restore(entry->trace);
  return status_pass(entry->status, __func__, __FILE__, __LINE__);
}

void prefetch_release(struct prefetch *prefetch, void *memory) {
  struct prefetch_shared *shared = prefetch->shared;
  size_t index = (size_t)((unsigned char *)memory - shared->memory) / shared->stride;
  pthread_mutex_lock(&shared->mutex);
  shared->entries[index].state = STATE_FREE;
  pthread_mutex_unlock(&shared->mutex);
}

void prefetch_close(struct prefetch *prefetch) {
  struct prefetch_shared *shared = prefetch->shared;
  if (!shared) return;
  pthread_mutex_lock(&shared->mutex);
  shared->closing = true;
  pthread_cond_signal(&shared->requested);
  pthread_mutex_unlock(&shared->mutex);
  pthread_join(shared->thread, NULL);
  free_shared(shared);
  *prefetch = (struct prefetch){0};
}
