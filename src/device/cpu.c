/* The CPU: memory straight from the kernel on huge pages where it grants them; streams are
 * synchronous, and an event is the time of its record. */
#include <errno.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include "base/text.h"
#include "base/timer.h"
#include "device/cpu_describe.h"
#include "device/device.h"

static int cpu_count(const char **why) {
  if (why) *why = "";
  return 1;
}

static enum status cpu_open(struct device *device, int ordinal) {
  device->ordinal = ordinal;
  if (device->threads > 0) omp_set_num_threads(device->threads);
  device->threads = omp_get_max_threads();
  return STATUS_OK;
}

static void cpu_close(struct device *device) {
  (void)device;
}

enum { HUGE_PAGE = 2 << 20, LEAST_PAGE = 4096 };

/* Gives back what is in front of a multiple of HUGE_PAGE and behind the `length` bytes from there
 * on of `pages`, which have HUGE_PAGE more. */
static void *trim(char *pages, size_t length) {
  size_t before = (HUGE_PAGE - (uintptr_t)pages % HUGE_PAGE) % HUGE_PAGE;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (length + page - 1) / page * page;
  if (before > 0) munmap(pages, before);
  if (whole < length + HUGE_PAGE - before)
    munmap(pages + before + whole, length + HUGE_PAGE - before - whole);
  return pages + before;
}

/* The threads that will compute on it touch huge pages in turn: a tensor is then spread evenly over
 * the memories of all processors that the threads run on, and no page fault is left to a step. */
static void touch(volatile char *memory, size_t length) {
  int64_t pages = (int64_t)((length + HUGE_PAGE - 1) / HUGE_PAGE);
#pragma omp parallel for schedule(static, 1)
  for (int64_t page = 0; page < pages; page++) {
    size_t from = (size_t)page * HUGE_PAGE, to = from + HUGE_PAGE;
    for (size_t i = from; i < length && i < to; i += LEAST_PAGE) memory[i] = 0;
  }
}

static enum status cpu_allocate(struct device *device, size_t bytes, void **memory) {
  (void)device;
  size_t length = bytes ? bytes : 1, more = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
  void *pages =
      mmap(NULL, length + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char text[32];
  REQUIRE(pages != MAP_FAILED, STATUS_FAILED, "cannot allocate %s of memory: %s",
          text_bytes((double)bytes, text), strerror(errno));
  if (more) {
    pages = trim(pages, length);
    madvise(pages, length, MADV_HUGEPAGE); /* a wish: fewer page faults; refusal costs nothing */
    touch(pages, length);
  }
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

static enum status cpu_stream_open(struct device *device, struct stream *stream) {
  *stream = (struct stream){.device = device};
  return STATUS_OK;
}

static void cpu_stream_close(struct stream *stream) {
  *stream = (struct stream){0};
}

static enum status cpu_event_open(struct device *device, struct event *event) {
  *event = (struct event){device, calloc(1, sizeof(double))};
  REQUIRE(event->handle, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

static void cpu_event_close(struct event *event) {
  free(event->handle);
  *event = (struct event){0};
}

static enum status cpu_event_record(struct event *event, struct stream *stream) {
  (void)stream;
  *(double *)event->handle = timer_now();
  return STATUS_OK;
}

static enum status cpu_event_wait(struct stream *stream, const struct event *event) {
  (void)stream;
  (void)event;
  return STATUS_OK;
}

static enum status cpu_event_done(const struct event *event, bool *done) {
  (void)event;
  *done = true;
  return STATUS_OK;
}

static enum status cpu_event_seconds(const struct event *from, const struct event *to,
                                     double *seconds) {
  *seconds = *(const double *)to->handle - *(const double *)from->handle;
  return STATUS_OK;
}

static enum status cpu_memory(struct device *device, size_t *available, size_t *total) {
  struct sysinfo info;
  (void)device;
  REQUIRE(sysinfo(&info) == 0, STATUS_FAILED, "cannot ask for the memory of this machine: %s",
          strerror(errno));
  *available = (size_t)(info.freeram + info.bufferram) * info.mem_unit;
  *total = (size_t)info.totalram * info.mem_unit;
  return STATUS_OK;
}

extern const struct device_ops device_cpu;
const struct device_ops device_cpu = {
    .name = "cpu",
    .kind = DEVICE_CPU,
    .host_memory = true,
    .count = cpu_count,
    .open = cpu_open,
    .close = cpu_close,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .allocate_host = cpu_allocate,
    .release_host = cpu_release,
    .stream_open = cpu_stream_open,
    .stream_close = cpu_stream_close,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .synchronize = cpu_synchronize,
    .event_open = cpu_event_open,
    .event_close = cpu_event_close,
    .event_record = cpu_event_record,
    .event_wait = cpu_event_wait,
    .event_done = cpu_event_done,
    .event_seconds = cpu_event_seconds,
    .memory = cpu_memory,
    .describe = cpu_describe,
};
