/* Large pieces of memory. What was given back last is kept for whoever asks next, since the system
 * hands out pages that it has to clear first. */
#include "volume/memory.h"
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20, LARGE = 2 * HUGE_BYTES, LARGEST_KEPT = 64 << 20, PIECES = 8 };

static struct {
  pthread_mutex_t lock;
  void *piece[PIECES]; /* in the order in which they came */
  int count;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Piece `index` is taken out. */
static void *take(int index) {
  void *piece = kept.piece[index];
  kept.count--;
  memmove(kept.piece + index, kept.piece + index + 1,
          (size_t)(kept.count - index) * sizeof *kept.piece);
  return piece;
}

/* The smallest that is large enough, unless it is more than twice that; NULL without one. */
static void *take_kept(size_t bytes) {
  size_t least = 2 * bytes;
  int best = -1;
  pthread_mutex_lock(&kept.lock);
  for (int i = 0; i < kept.count; i++) {
    size_t found = malloc_usable_size(kept.piece[i]);
    if (found < bytes || found > least) continue;
    least = found;
    best = i;
  }
  void *piece = best < 0 ? NULL : take(best);
  pthread_mutex_unlock(&kept.lock);
  return piece;
}

/* Whole huge pages. */
static void *take_new(size_t bytes) {
  void *memory = NULL;
  size_t whole = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
  if (posix_memalign(&memory, HUGE_BYTES, whole)) return NULL;
  madvise(memory, whole, MADV_HUGEPAGE); /* only advice */
  return memory;
}

void *memory_large(size_t bytes) {
  if (bytes < LARGE) return malloc(bytes);
  if (bytes > SIZE_MAX / 4) return NULL;
  void *memory = bytes <= LARGEST_KEPT ? take_kept(bytes) : NULL;
  return memory ? memory : take_new(bytes);
}

void memory_return(void *memory) {
  size_t bytes = memory ? malloc_usable_size(memory) : 0;
  if (bytes >= LARGE && bytes <= LARGEST_KEPT) {
    pthread_mutex_lock(&kept.lock);
    void *oldest = kept.count == PIECES ? take(0) : NULL;
    kept.piece[kept.count++] = memory;
    pthread_mutex_unlock(&kept.lock);
    memory = oldest;
  }
  free(memory);
}

void volume_forget_memory(void) {
  pthread_mutex_lock(&kept.lock);
  while (kept.count > 0) free(take(kept.count - 1));
  pthread_mutex_unlock(&kept.lock);
}
