/* gzread does what NIfTI files need: plain files pass through whatever their name is, concatenated
 * gzip members follow each other, garbage behind the last member is ignored, and a bad checksum or
 * a missing end is an error. nifticlib's znz layer offers the same bytes but hides those errors. */
#include "volume/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  LEAST_BUFFER = 4 << 10,
  BUFFER_BYTES = 32 << 10, /* a header's read unpacks twice as much */
  CHUNK_BYTES = 1 << 20,
  TAIL_BYTES = 16 << 20,
  SKIP_BYTES = 65536
};

static enum status open_descriptor(struct stream *stream, int descriptor) {
  struct stat information;
  REQUIRE(fstat(descriptor, &information) == 0 && S_ISREG(information.st_mode), STATUS_FAILED,
          "%s: expected a regular file", stream->path);
  stream->file_bytes = (uint64_t)information.st_size;
  unsigned char magic[2] = {0};
  stream->compressed = pread(descriptor, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
  stream->file = gzdopen(descriptor, "rb");
  stream->descriptor = descriptor;
  REQUIRE(stream->file, STATUS_FAILED, "%s: out of memory", stream->path);
  return STATUS_OK;
}

enum status stream_open(struct stream *stream, const char *path) {
  *stream = (struct stream){.path = strdup(path)};
  REQUIRE(stream->path, STATUS_FAILED, "%s: out of memory", path);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  enum status status = STATUS_OK;
  if (descriptor < 0)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: cannot open: %s", path,
                         strerror(errno));
  else
    status = open_descriptor(stream, descriptor);
  if (status) {
    if (descriptor >= 0 && !stream->file) close(descriptor);
    stream_close(stream);
    return status;
  }
  uint64_t buffer = stream->file_bytes < BUFFER_BYTES ? stream->file_bytes : BUFFER_BYTES;
  gzbuffer(stream->file, buffer < LEAST_BUFFER ? LEAST_BUFFER : (unsigned)buffer);
  return STATUS_OK;
}

enum status stream_read(struct stream *stream, void *data, size_t bytes, size_t *found) {
  char *to = data;
  *found = 0;
  while (*found < bytes) {
    size_t wanted = bytes - *found < CHUNK_BYTES ? bytes - *found : CHUNK_BYTES;
    int done = gzread(stream->file, to + *found, (unsigned)wanted);
    int code = Z_OK;
    const char *reason = gzerror(stream->file, &code);
    if (done > 0) *found += (size_t)done;
    if (done > 0) stream->position += (uint64_t)done;
    if (code == Z_BUF_ERROR)
      FAIL(STATUS_FAILED,
           "%s: the compressed file is truncated: it ends after %llu bytes of content",
           stream->path, (unsigned long long)stream->position);
    REQUIRE(done >= 0 && (code == Z_OK || code == Z_STREAM_END), STATUS_FAILED,
            "%s: damaged %s near byte %llu of its content: %s", stream->path,
            stream->compressed ? "gzip data" : "file", (unsigned long long)stream->position,
            code == Z_ERRNO ? strerror(errno) : reason);
    if (done == 0) break;
  }
  return STATUS_OK;
}

enum status stream_skip(struct stream *stream, uint64_t position, const char *field) {
  char unused[SKIP_BYTES];
  while (stream->position < position) {
    uint64_t left = position - stream->position;
    size_t found = 0;
    TRY(stream_read(stream, unused, left < sizeof unused ? (size_t)left : sizeof unused, &found));
    REQUIRE(found, STATUS_FAILED, "%s: %s: expected at least %llu bytes before it, found %llu",
            stream->path, field, (unsigned long long)position,
            (unsigned long long)stream->position);
  }
  return STATUS_OK;
}

enum status stream_finish(struct stream *stream, uint64_t *left) {
  char unused[4096];
  *left = 0;
  for (size_t found = 1; found && *left < TAIL_BYTES; *left += found)
    TRY(stream_read(stream, unused, sizeof unused, &found));
  return STATUS_OK;
}

uint64_t stream_capacity(const struct stream *stream) {
  if (!stream->compressed) return stream->file_bytes;
  return stream->file_bytes > UINT64_MAX / 1032 ? UINT64_MAX : stream->file_bytes * 1032;
}

void stream_close(struct stream *stream) {
  if (stream->file) gzclose(stream->file);
  free(stream->path);
  *stream = (struct stream){0};
}
