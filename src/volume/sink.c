/* Deflate in front of base/file.h's atomic replacement. */
#include "volume/sink.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_BYTES = 256 << 10, GZIP_WINDOW = 15 + 16, CHUNK_BYTES = 1 << 30 };

static enum status start_deflate(struct sink *sink, const char *path, int level) {
  unsigned char *buffer = malloc(BUFFER_BYTES);
  REQUIRE(buffer, STATUS_FAILED, "%s: out of memory", path);
  if (deflateInit2(&sink->deflate, level, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    free(buffer);
    FAIL(STATUS_FAILED, "%s: cannot start gzip at level %d", path, level);
  }
  sink->buffer = buffer;
  return STATUS_OK;
}

enum status sink_open(struct sink *sink, const char *path, int level) {
  *sink = (struct sink){.writer = {.descriptor = -1}};
  size_t length = strlen(path);
  enum status status = STATUS_OK;
  if (length >= 3 && strcasecmp(path + length - 3, ".gz") == 0)
    status = start_deflate(sink, path, level);
  if (!status) status = file_create(&sink->writer, path);
  if (status) sink_close(sink);
  return status;
}

static enum status pump(struct sink *sink, int flush) {
  do {
    sink->deflate.next_out = sink->buffer;
    sink->deflate.avail_out = BUFFER_BYTES;
    int code = deflate(&sink->deflate, flush);
    REQUIRE(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR, STATUS_FAILED,
            "%s: gzip failed with code %d", sink->writer.path, code);
    size_t made = BUFFER_BYTES - sink->deflate.avail_out;
    if (made) TRY(file_write(&sink->writer, sink->buffer, made));
  } while (sink->deflate.avail_out == 0);
  return STATUS_OK;
}

enum status sink_write(struct sink *sink, const void *data, size_t bytes) {
  if (!sink->buffer) return file_write(&sink->writer, data, bytes);
  const unsigned char *from = data;
  while (bytes) {
    size_t part = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
    sink->deflate.next_in = (unsigned char *)(uintptr_t)from; /* zlib only reads it */
    sink->deflate.avail_in = (unsigned)part;
    TRY(pump(sink, Z_NO_FLUSH));
    from += part;
    bytes -= part;
  }
  return STATUS_OK;
}

enum status sink_commit(struct sink *sink) {
  if (sink->buffer) {
    sink->deflate.avail_in = 0;
    TRY(pump(sink, Z_FINISH));
  }
  return file_commit(&sink->writer);
}

void sink_close(struct sink *sink) {
  if (sink->buffer) deflateEnd(&sink->deflate);
  free(sink->buffer);
  file_abandon(&sink->writer);
  *sink = (struct sink){.writer = {.descriptor = -1}};
}
