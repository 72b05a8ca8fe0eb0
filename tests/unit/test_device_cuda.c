/* The CUDA device: memory, copies, streams, events and recorded work through its table of
 * functions, on a GPU or under the shim; and what a machine without a GPU is told. Under the shim
 * this program runs itself again with work done as late as may be, and without a device. */
#include <unistd.h>
#include "check.h"
#include "device/device.h"

enum { COUNT = 1000, SKIPPED = 77 };

static struct device device;

static const struct device_ops *cuda_ops(void) {
  for (int i = 0; devices[i]; i++)
    if (devices[i]->kind == DEVICE_CUDA) return devices[i];
  return NULL;
}

/* --- without a device --- */

TEST(an_absent_device_is_named) {
  struct device none;
  CHECK_FAILS(device_open(&none, "cuda", 0, 1, false, 1), "there is no cuda device here: ");
  CHECK(strlen(strrchr(status_message(), ':')) > 3);
  device_close(&none);
}

TEST(auto_falls_back_to_the_cpu) {
  struct device found;
  CHECK_OK(device_open(&found, "auto", 0, 1, false, 1));
  CHECK(found.ops && found.ops->kind == DEVICE_CPU);
  device_close(&found);
}

static int without_device(void) {
  RUN(an_absent_device_is_named);
  RUN(auto_falls_back_to_the_cpu);
  return check_result();
}

/* --- with one --- */

TEST(auto_takes_the_gpu) {
  struct device found;
  CHECK_OK(device_open(&found, "auto", 0, 1, false, 1));
  CHECK(found.ops == cuda_ops() && found.ordinal == 0);
  device_close(&found);
}

TEST(more_ranks_than_gpus_have_to_share) {
  struct device found;
  int count = cuda_ops()->count(NULL);
  CHECK_FAILS(device_open(&found, "cuda", count, count + 1, false, 1), "share_device");
  CHECK_OK(device_open(&found, "cuda", count, count + 1, true, 1));
  CHECK(found.ordinal == 0);
  device_close(&found);
}

/* Two buffers of the device, one of pinned memory, two streams. */
static struct bench {
  unsigned char *a, *b, *pinned;
  struct stream stream, other;
} bench;

static void bench_open(void) {
  void *memory[3];
  CHECK_OK(device.ops->allocate(&device, COUNT, &memory[0]));
  CHECK_OK(device.ops->allocate(&device, COUNT, &memory[1]));
  CHECK_OK(device.ops->allocate_host(&device, COUNT, &memory[2]));
  bench = (struct bench){.a = memory[0], .b = memory[1], .pinned = memory[2]};
  CHECK_OK(device.ops->stream_open(&device, &bench.stream));
  CHECK_OK(device.ops->stream_open(&device, &bench.other));
}

static void bench_close(void) {
  device.ops->stream_close(&bench.stream);
  device.ops->stream_close(&bench.other);
  device.ops->release(&device, bench.a, COUNT);
  device.ops->release(&device, bench.b, COUNT);
  device.ops->release_host(&device, bench.pinned, COUNT);
}

static void copy(struct stream *stream, void *to, const void *from) {
  CHECK_OK(device.ops->copy(stream, to, from, COUNT));
}

static int count_of(const unsigned char *bytes, int byte) {
  int count = 0;
  for (int i = 0; i < COUNT; i++) count += bytes[i] == byte;
  return count;
}

TEST(copies_and_fills_in_order) {
  unsigned char host[COUNT];
  bench_open();
  memset(host, 3, COUNT);
  copy(&bench.stream, bench.a, host);
  memset(host, 0, COUNT); /* it was pageable: may be given up */
  copy(&bench.stream, bench.b, bench.a);
  CHECK_OK(device.ops->fill(&bench.stream, bench.b, 7, COUNT / 2));
  copy(&bench.stream, bench.pinned, bench.b);
  CHECK_OK(device.ops->synchronize(&bench.stream));
  CHECK(count_of(bench.pinned, 7) == COUNT / 2 && count_of(bench.pinned, 3) == COUNT / 2);
  CHECK_OK(device_copy(&device, host, bench.a, COUNT));
  CHECK(count_of(host, 3) == COUNT);
  bench_close();
}

TEST(events_order_streams) {
  struct event start, filled;
  double seconds = -1;
  bool done = false;
  bench_open();
  CHECK_OK(device.ops->event_open(&device, &start));
  CHECK_OK(device.ops->event_open(&device, &filled));
  CHECK_OK(device.ops->event_record(&start, &bench.stream));
  CHECK_OK(device.ops->fill(&bench.stream, bench.a, 5, COUNT));
  CHECK_OK(device.ops->event_record(&filled, &bench.stream));
  CHECK_OK(device.ops->event_wait(&bench.other, &filled));
  copy(&bench.other, bench.pinned, bench.a);
  CHECK_OK(device.ops->synchronize(&bench.other));
  CHECK(count_of(bench.pinned, 5) == COUNT);
  for (int i = 0; i < 1000000 && !done; i++) CHECK_OK(device.ops->event_done(&filled, &done));
  CHECK(done);
  CHECK_OK(device.ops->event_seconds(&start, &filled, &seconds));
  CHECK(seconds >= 0 && seconds < 10);
  device.ops->event_close(&start);
  device.ops->event_close(&filled);
  bench_close();
}

TEST(recorded_work_is_done_again) {
  struct capture capture = {0};
  bench_open();
  CHECK_OK(device.ops->fill(&bench.stream, bench.a, 1, COUNT));
  CHECK_OK(device.ops->fill(&bench.stream, bench.b, 2, COUNT));
  CHECK_OK(device.ops->synchronize(&bench.stream));
  CHECK_OK(device.ops->capture_begin(&bench.stream));
  copy(&bench.stream, bench.pinned, bench.a);
  copy(&bench.stream, bench.a, bench.b);
  memset(bench.pinned, 0, COUNT);
  CHECK_OK(device.ops->capture_end(&bench.stream, &capture));
  CHECK(count_of(bench.pinned, 0) == COUNT);
  for (int round = 1; round <= 2; round++) {
    CHECK_OK(device.ops->capture_launch(&capture, &bench.stream));
    CHECK_OK(device.ops->synchronize(&bench.stream));
    CHECK(count_of(bench.pinned, round) == COUNT);
  }
  device.ops->capture_close(&capture);
  bench_close();
}

TEST(too_much_memory_says_what_is_left) {
  void *memory = NULL;
  CHECK_FAILS(device.ops->allocate(&device, (size_t)1 << 50, &memory), "which has ");
  CHECK(!memory);
  CHECK_OK(device.ops->allocate(&device, 1, &memory)); /* the error does not stay */
  device.ops->release(&device, memory, 1);
}

static int with_device(void) {
  RUN(auto_takes_the_gpu);
  RUN(more_ranks_than_gpus_have_to_share);
  CHECK_OK(device_open(&device, "cuda", 0, 1, false, 1));
  RUN(copies_and_fills_in_order);
  RUN(events_order_streams);
  RUN(recorded_work_is_done_again);
  RUN(too_much_memory_says_what_is_left);
  device_close(&device);
  device_close(&device);
  return check_result();
}

/* Runs this program again under other settings of the shim. */
static void run_self(const char *settings) {
  char self[512] = "", command[1024];
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) abort();
  snprintf(command, sizeof command, "%s TEST_DEVICE_ALONE=1 '%s'", settings, self);
  CHECK_SAY(system(command) == 0, " (%s)", settings);
}

int main(void) {
  if (!cuda_ops()) {
    puts("skip: this build has no CUDA device");
    return SKIPPED;
  }
#ifdef MEDTRAIN_CUDA_SHIM
  if (!getenv("TEST_DEVICE_ALONE")) {
    run_self("CUDA_SHIM_DEVICES=0");
    run_self("CUDA_SHIM_DEVICES=1 CUDA_SHIM_LAZY=1");
    run_self("CUDA_SHIM_DEVICES=3");
    return check_result();
  }
#else
  (void)run_self;
#endif
  return cuda_ops()->count(NULL) > 0 ? with_device() : without_device();
}
