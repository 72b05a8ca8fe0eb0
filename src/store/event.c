/* The messages of an event file, and its records. */
#include "store/event.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "store/bytes.h"
#include "store/event_histogram.h"
#include "store/picture.h"

/* Field numbers of event.proto, summary.proto, tensor.proto. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { EVENT_SESSION_LOG = 7, EVENT_SOURCE = 10, SOURCE_WRITER = 1, SESSION_STATUS = 1 };
enum { SESSION_START = 1, SESSION_STOP = 2 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4, VALUE_HISTOGRAM = 5 };
enum { VALUE_TENSOR = 8, VALUE_METADATA = 9, METADATA_PLUGIN = 1, METADATA_CLASS = 4 };
enum { PLUGIN_NAME = 1, CLASS_TENSOR = 2 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLORS = 3, IMAGE_PNG = 4 };
enum { TENSOR_DTYPE = 1, TENSOR_SHAPE = 2, TENSOR_STRING = 8, SHAPE_DIM = 2, DIM_SIZE = 1 };
enum { DTYPE_STRING = 7 };
enum { LENGTH_BYTES = 8, CRC_BYTES = 4 };

/* --- records ------------------------------------------------------------------------------------
 */

static uint32_t masked_checksum(const void *data, size_t bytes) {
  uint32_t crc = file_checksum(0, data, bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* A record is built in one buffer, behind room for its length and checksum, and written at once. */
static void begin_event(struct event_file *file, int64_t step) {
  static const unsigned char room[LENGTH_BYTES + CRC_BYTES];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  message_clear(&file->record);
  message_append(&file->record, room, sizeof room);
  message_double(&file->record, EVENT_WALL_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  if (step) message_varint(&file->record, EVENT_STEP, (uint64_t)step);
}

static enum status write_record(const struct event_file *file) {
  const unsigned char *from = file->record.data;
  ssize_t written = write(file->descriptor, from, file->record.used);
  REQUIRE(written == (ssize_t)file->record.used, STATUS_FAILED, "%s: cannot write a record: %s",
          file->path, strerror(written < 0 ? errno : ENOSPC));
  return STATUS_OK;
}

static enum status end_event(struct event_file *file) {
  struct message *record = &file->record;
  unsigned char crc[CRC_BYTES];
  size_t head = LENGTH_BYTES + CRC_BYTES;
  REQUIRE(file->descriptor >= 0, STATUS_FAILED, "%s: an earlier record could not be written",
          file->path);
  if (!record->failed) {
    put_u64(record->data, record->used - head);
    put_u32(record->data + LENGTH_BYTES, masked_checksum(record->data, LENGTH_BYTES));
    put_u32(crc, masked_checksum(record->data + head, record->used - head));
    message_append(record, crc, CRC_BYTES);
  }
  REQUIRE(!record->failed, STATUS_FAILED, "%s: out of memory", file->path);
  enum status status = write_record(file);
  if (status) { /* half a record: nothing behind it could be read */
    close(file->descriptor);
    file->descriptor = -1;
  }
  return status;
}

/* --- opening and closing ------------------------------------------------------------------------
 */

static enum status write_session(struct event_file *file, int64_t step, int session_status) {
  begin_event(file, step);
  size_t log = message_begin(&file->record, EVENT_SESSION_LOG);
  message_varint(&file->record, SESSION_STATUS, (uint64_t)session_status);
  message_end(&file->record, log);
  return end_event(file);
}

static enum status write_version(struct event_file *file) {
  begin_event(file, 0);
  message_text(&file->record, EVENT_FILE_VERSION, "brain.Event:2");
  size_t source = message_begin(&file->record, EVENT_SOURCE);
  message_text(&file->record, SOURCE_WRITER, "medtrain-dist");
  message_end(&file->record, source);
  return end_event(file);
}

/* Never an existing file: a reader may have met half a record at the end of an old one. */
static enum status create(struct event_file *file, const char *directory) {
  char host[256] = "host";
  gethostname(host, sizeof host - 1);
  for (int number = 0;; number++) {
    file->path = file_format("%s/events.out.tfevents.%010lld.%s.%ld.%d", directory,
                             (long long)time(NULL), host, (long)getpid(), number);
    REQUIRE(file->path, STATUS_FAILED, "%s: out of memory", directory);
    file->descriptor = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (file->descriptor >= 0) return STATUS_OK;
    REQUIRE(errno == EEXIST, STATUS_FAILED, "%s: cannot create: %s", file->path, strerror(errno));
    free(file->path);
  }
}

static void release(struct event_file *file) {
  if (file->path && file->descriptor >= 0) close(file->descriptor);
  free(file->path);
  message_free(&file->record);
  *file = (struct event_file){.descriptor = -1};
}

enum status event_open(struct event_file *file, const char *directory, int64_t step) {
  *file = (struct event_file){.descriptor = -1};
  enum status status;
  TRY_GOTO(status, fail, create(file, directory));
  TRY_GOTO(status, fail, write_version(file));
  TRY_GOTO(status, fail, write_session(file, step, SESSION_START));
  return STATUS_OK;
fail:
  release(file);
  return status;
}

void event_close(struct event_file *file) {
  if (file->path && file->descriptor >= 0 &&
      write_session(file, file->step, SESSION_STOP) != STATUS_OK)
    status_clear(); /* the end mark is a courtesy */
  release(file);
}

/* --- values
 * --------------------------------------------------------------------------------------- */

struct value {
  size_t summary, value;
};

static struct value begin_value(struct event_file *file, const char *tag, int64_t step) {
  struct value begun;
  begin_event(file, step);
  if (step > file->step) file->step = step;
  begun.summary = message_begin(&file->record, EVENT_SUMMARY);
  begun.value = message_begin(&file->record, SUMMARY_VALUE);
  message_text(&file->record, VALUE_TAG, tag);
  return begun;
}

static enum status end_value(struct event_file *file, struct value begun) {
  message_end(&file->record, begun.value);
  message_end(&file->record, begun.summary);
  return end_event(file);
}

enum status event_scalar(struct event_file *file, const char *tag, int64_t step, double value) {
  struct value begun = begin_value(file, tag, step);
  message_float(&file->record, VALUE_SIMPLE, (float)value);
  return end_value(file, begun);
}

enum status event_image(struct event_file *file, const char *tag, int64_t step, int width,
                        int height, int channels, const uint8_t *pixels) {
  unsigned char *png;
  size_t bytes;
  TRY(picture_encode(width, height, channels, pixels, &png, &bytes));
  struct value begun = begin_value(file, tag, step);
  size_t image = message_begin(&file->record, VALUE_IMAGE);
  message_varint(&file->record, IMAGE_HEIGHT, (uint64_t)height);
  message_varint(&file->record, IMAGE_WIDTH, (uint64_t)width);
  message_varint(&file->record, IMAGE_COLORS, (uint64_t)channels);
  message_bytes(&file->record, IMAGE_PNG, png, bytes);
  message_end(&file->record, image);
  free(png);
  return end_value(file, begun);
}

enum status event_histogram(struct event_file *file, const char *tag, int64_t step,
                            const float *values, int64_t count) {
  struct event_histogram histogram;
  if (!event_histogram_count(&histogram, values, count)) return STATUS_OK;
  struct value begun = begin_value(file, tag, step);
  size_t inner = message_begin(&file->record, VALUE_HISTOGRAM);
  event_histogram_encode(&histogram, &file->record);
  message_end(&file->record, inner);
  return end_value(file, begun);
}

enum status event_text(struct event_file *file, const char *tag, int64_t step, const char *text) {
  struct message *record = &file->record;
  struct value begun = begin_value(file, tag, step);
  size_t metadata = message_begin(record, VALUE_METADATA);
  size_t plugin = message_begin(record, METADATA_PLUGIN);
  message_text(record, PLUGIN_NAME, "text");
  message_end(record, plugin);
  message_varint(record, METADATA_CLASS, CLASS_TENSOR);
  message_end(record, metadata);
  size_t tensor = message_begin(record, VALUE_TENSOR);
  message_varint(record, TENSOR_DTYPE, DTYPE_STRING);
  size_t shape = message_begin(record, TENSOR_SHAPE);
  size_t extent = message_begin(record, SHAPE_DIM);
  message_varint(record, DIM_SIZE, 1);
  message_end(record, extent);
  message_end(record, shape);
  message_text(record, TENSOR_STRING, text);
  message_end(record, tensor);
  return end_value(file, begun);
}
