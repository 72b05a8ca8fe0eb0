/* Large pieces of memory. */
#include "volume/memory.h"
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20 };

void *memory_large(size_t bytes) {
  if (bytes < 2 * HUGE_BYTES) return malloc(bytes);
  void *memory = NULL;
  if (posix_memalign(&memory, HUGE_BYTES, bytes)) return NULL;
  madvise(memory, bytes / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE); /* only advice */
  return memory;
}
