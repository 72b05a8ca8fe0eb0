/* Every device of the build through its table of functions: memory, streams, events, recording,
 * words. A stand-in for a GPU is asked for; a device that is not there is passed over. */
#include <stdint.h>
#include "check.h"
#include "device/device.h"

enum { COUNT = 1000, BYTES = COUNT * (int)sizeof(int) };

static struct device device;
static const struct device_ops *table;

TEST(copies_both_ways_and_fills) {
  int from[COUNT], to[COUNT] = {0};
  void *first, *second;
  for (int i = 0; i < COUNT; i++) from[i] = i * i;
  CHECK_OK(table->allocate(&device, BYTES, &first));
  CHECK_OK(table->allocate(&device, BYTES, &second));
  CHECK((uintptr_t)first % 64 == 0 && (uintptr_t)second % 64 == 0);
  CHECK_OK(device_copy(&device, first, from, BYTES));
  CHECK_OK(device_copy(&device, second, first, BYTES));
  CHECK_OK(device_copy(&device, to, second, BYTES));
  CHECK(memcmp(from, to, BYTES) == 0);
  struct stream stream = {.device = &device};
  CHECK_OK(table->fill(&stream, second, 0x11, BYTES / 2));
  CHECK_OK(table->synchronize(&stream));
  CHECK_OK(device_copy(&device, to, second, BYTES));
  CHECK(to[0] == 0x11111111 && to[COUNT / 2 - 1] == 0x11111111 && to[COUNT / 2] == from[COUNT / 2]);
  table->release(&device, first, BYTES);
  table->release(&device, second, BYTES);
  table->release(&device, NULL, BYTES);
}

/* One stream writes, the other waits for its event and reads. */
TEST(streams_wait_for_events) {
  struct stream writer, reader;
  struct event begin, written;
  void *memory, *host;
  bool done = false;
  double seconds = -1, back = 1;
  CHECK_OK(table->stream_open(&device, &writer));
  CHECK_OK(table->stream_open(&device, &reader));
  CHECK_OK(table->event_open(&device, &begin));
  CHECK_OK(table->event_open(&device, &written));
  CHECK_OK(table->allocate(&device, BYTES, &memory));
  CHECK_OK(table->allocate_host(&device, BYTES, &host));
  for (int round = 1; round < 4; round++) {
    CHECK_OK(table->event_record(&begin, &writer));
    CHECK_OK(table->fill(&writer, memory, round, BYTES));
    CHECK_OK(table->event_record(&written, &writer));
    CHECK_OK(table->event_wait(&reader, &written));
    CHECK_OK(table->copy(&reader, host, memory, BYTES));
    CHECK_OK(table->synchronize(&reader));
    CHECK(((unsigned char *)host)[BYTES - 1] == round);
  }
  CHECK_OK(table->event_done(&written, &done));
  CHECK(done);
  CHECK_OK(table->event_seconds(&begin, &written, &seconds));
  CHECK_OK(table->event_seconds(&written, &begin, &back));
  CHECK(seconds >= 0 && seconds < 60 && back <= 0);
  table->release(&device, memory, BYTES);
  table->release_host(&device, host, BYTES);
  table->event_close(&begin);
  table->event_close(&written);
  table->event_close(&written);
  table->stream_close(&writer);
  table->stream_close(&reader);
  table->stream_close(&reader);
}

/* What is recorded is not done, and then done as often as it is launched, with what memory holds at
 * that time. */
TEST(records_work) {
  if (!table->capture_begin) return;
  struct stream stream;
  struct capture capture = {0};
  void *memory, *from, *to;
  CHECK_OK(table->stream_open(&device, &stream));
  CHECK_OK(table->allocate(&device, BYTES, &memory));
  CHECK_OK(table->allocate_host(&device, BYTES, &from));
  CHECK_OK(table->allocate_host(&device, BYTES, &to));
  memset(from, 1, BYTES);
  memset(to, 9, BYTES);
  CHECK_OK(table->capture_begin(&stream));
  CHECK_OK(table->copy(&stream, memory, from, BYTES));
  CHECK_OK(table->fill(&stream, memory, 7, 1));
  CHECK_OK(table->copy(&stream, to, memory, BYTES));
  CHECK_OK(table->capture_end(&stream, &capture));
  CHECK_OK(table->synchronize(&stream));
  CHECK(*(unsigned char *)to == 9);
  for (int round = 1; round < 4; round++) {
    memset(from, round, BYTES);
    CHECK_OK(table->capture_launch(&capture, &stream));
    CHECK_OK(table->synchronize(&stream));
    CHECK(((unsigned char *)to)[0] == 7 && ((unsigned char *)to)[1] == round);
  }
  table->capture_close(&capture);
  table->capture_close(&capture);
  CHECK(!capture.handle);
  table->release(&device, memory, BYTES);
  table->release_host(&device, from, BYTES);
  table->release_host(&device, to, BYTES);
  table->stream_close(&stream);
}

TEST(knows_its_memory) {
  size_t available = 0, less = 0, total = 0;
  void *memory;
  CHECK_OK(table->memory(&device, &available, &total));
  CHECK(available > 0 && available <= total && total > (size_t)1 << 26);
  if (table->host_memory) return;
  CHECK_OK(table->allocate(&device, (size_t)1 << 26, &memory));
  CHECK_OK(table->memory(&device, &less, &total));
  CHECK(less + ((size_t)1 << 25) < available);
  table->release(&device, memory, (size_t)1 << 26);
  CHECK_FAILS(table->allocate(&device, total * 2, &memory), "cannot allocate");
}

TEST(describes_itself) {
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  table->describe(out);
  fclose(out);
  CHECK(strstr(text, table->host_memory ? "cores" : "compute capability"));
  free(text);
}

TEST(is_found_by_name) {
  const struct device_ops *found;
  CHECK_OK(device_find(table->name, &found));
  CHECK(found == table);
  CHECK_OK(device_find("auto", &found));
  CHECK(found->count(NULL) > 0);
  CHECK_FAILS(device_find("abacus", &found), "found \"abacus\"");
}

int main(void) {
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  for (int i = 0; devices[i]; i++) {
    table = devices[i];
    const char *why;
    if (table->count(&why) == 0) {
      printf("no %s device: %s\n", table->name, why);
      continue;
    }
    printf("%s\n", table->name);
    CHECK_OK(device_open(&device, table->name, 0, 1, false, 1));
    RUN(copies_both_ways_and_fills);
    RUN(streams_wait_for_events);
    RUN(records_work);
    RUN(knows_its_memory);
    RUN(describes_itself);
    RUN(is_found_by_name);
    device_close(&device);
  }
  return check_result();
}
