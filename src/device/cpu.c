/* The CPU: memory straight from the kernel on huge pages where it grants them, synchronous streams.
 */
#include <errno.h>
#include <omp.h>
#include <string.h>
#include <sys/mman.h>
#include "base/text.h"
#include "device/device.h"

static enum status cpu_open(struct device *device, int ordinal) {
  device->ordinal = ordinal;
  if (device->threads > 0) omp_set_num_threads(device->threads);
  device->threads = omp_get_max_threads();
  return STATUS_OK;
}

static void cpu_close(struct device *device) {
  (void)device;
}

static enum status cpu_allocate(struct device *device, size_t bytes, void **memory) {
  (void)device;
  size_t length = bytes ? bytes : 1;
  void *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char text[32];
  REQUIRE(pages != MAP_FAILED, STATUS_FAILED, "cannot allocate %s of memory: %s",
          text_bytes((double)bytes, text), strerror(errno));
  madvise(pages, length, MADV_HUGEPAGE); /* a wish: fewer page faults; refusal costs nothing */
  *memory = pages;
  return STATUS_OK;
}

static void cpu_release(struct device *device, void *memory, size_t bytes) {
  (void)device;
  if (memory) munmap(memory, bytes ? bytes : 1);
}

static enum status cpu_copy(struct stream *stream, void *to, const void *from, size_t bytes) {
  (void)stream;
  memcpy(to, from, bytes);
  return STATUS_OK;
}

static enum status cpu_fill(struct stream *stream, void *memory, int byte, size_t bytes) {
  (void)stream;
  memset(memory, byte, bytes);
  return STATUS_OK;
}

static enum status cpu_synchronize(struct stream *stream) {
  (void)stream;
  return STATUS_OK;
}

extern const struct device_ops device_cpu;
const struct device_ops device_cpu = {
    .name = "cpu",
    .kind = DEVICE_CPU,
    .open = cpu_open,
    .close = cpu_close,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .synchronize = cpu_synchronize,
};
