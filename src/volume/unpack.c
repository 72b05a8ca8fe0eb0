/* Whole contents at once. What is not exactly as it should be is left to stream_read, which knows
 * all oddities and has the messages; here is only what intact files need. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "volume/memory.h"
#include "volume/stream.h"
#ifdef MEDTRAIN_LIBDEFLATE
#include <libdeflate.h>
#endif

/* More in front of the voxels than this is odd. */
enum { FRONT_BYTES = 1 << 20 };

static bool load(const struct stream *stream, unsigned char *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t got = pread(stream->descriptor, data + done, bytes - done, (off_t)done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (size_t)got;
  }
  return true;
}

#ifdef MEDTRAIN_LIBDEFLATE
enum { MEMBER_LEAST_BYTES = 18, FLAGS = 3, FLAG_HEADER_CHECKSUM = 2 };

static bool is_member(const unsigned char *packed, size_t bytes) {
  return bytes >= 2 && packed[0] == 0x1f && packed[1] == 0x8b;
}

/* All members one after the other; what follows the last one and is none is ignored, as gzip does.
 * libdeflate does not verify checksums of headers, which hardly any file has. */
static bool inflate_members(struct libdeflate_decompressor *inflater, const unsigned char *packed,
                            size_t packed_bytes, unsigned char *content, size_t bytes) {
  size_t taken = 0, made = 0;
  while (is_member(packed, packed_bytes)) {
    if (packed_bytes < MEMBER_LEAST_BYTES || packed[FLAGS] & FLAG_HEADER_CHECKSUM) return false;
    if (libdeflate_gzip_decompress_ex(inflater, packed, packed_bytes, content, bytes, &taken,
                                      &made) != LIBDEFLATE_SUCCESS)
      return false;
    packed += taken;
    packed_bytes -= taken;
    content += made;
    bytes -= made;
  }
  return bytes == 0;
}

static bool inflate_all(const struct stream *stream, unsigned char *content, size_t bytes) {
  struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor();
  size_t packed_bytes = (size_t)stream->file_bytes;
  unsigned char *packed = inflater ? memory_large(packed_bytes) : NULL;
  bool good = packed && load(stream, packed, packed_bytes) &&
              inflate_members(inflater, packed, packed_bytes, content, bytes);
  memory_return(packed);
  libdeflate_free_decompressor(inflater);
  return good;
}
#else
static bool inflate_all(const struct stream *stream, unsigned char *content, size_t bytes) {
  (void)stream;
  (void)content;
  (void)bytes;
  return false;
}
#endif

/* No more memory is asked for than the file may well need: a packed file is smaller than what it
 * holds, a plain one is exactly that. */
static bool is_plausible(const struct stream *stream, uint64_t bytes) {
#ifndef MEDTRAIN_LIBDEFLATE
  if (stream->compressed) return false;
#endif
  return bytes <= PTRDIFF_MAX &&
         (stream->compressed ? stream->file_bytes / 2 <= bytes : stream->file_bytes == bytes);
}

unsigned char *stream_unpack(struct stream *stream, uint64_t position, size_t bytes) {
  if (position > FRONT_BYTES || bytes > SIZE_MAX - FRONT_BYTES ||
      !is_plausible(stream, position + bytes))
    return NULL;
  size_t whole = (size_t)position + bytes;
  unsigned char *content = memory_large(whole);
  bool good = content && (stream->compressed ? inflate_all(stream, content, whole)
                                             : load(stream, content, whole));
  if (good) return content;
  memory_return(content);
  return NULL;
}
