/* The bytes of a file that may be gzip-compressed, read in order. Whether it is compressed is seen
 * from its first bytes. Private to the volume room. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>
#include "base/status.h"

struct stream {
  gzFile file;
  int descriptor; /* file's own */
  char *path;
  uint64_t file_bytes; /* the size on disk */
  uint64_t position;   /* in the uncompressed bytes */
  bool compressed;
};

/* On failure *stream is left zeroed. */
CHECKED enum status stream_open(struct stream *stream, const char *path);

/* Reads up to `bytes`; *found is less only at the end of the file. Damage is an error. */
CHECKED enum status stream_read(struct stream *stream, void *data, size_t bytes, size_t *found);

/* Reads on until `position`; an error that names `field` if the file ends before. */
CHECKED enum status stream_skip(struct stream *stream, uint64_t position, const char *field);

/* The whole content (caller frees), much faster than by stream_read, if it is `position` + `bytes`
 * long: position for what is in front of the voxels. NULL when it is not, when the file is damaged
 * or memory is short; stream_read, which is where it was, finds out and says what it is. No more
 * memory is touched than that, whatever the file says about its size. */
unsigned char *stream_unpack(struct stream *stream, uint64_t position, size_t bytes);

/* Reads what follows, so that gzip's checksum of the whole is verified; *left is how much that was.
 * Stops after 16 MiB: a file with that much behind its voxels is odd, but no reason to wait. */
CHECKED enum status stream_finish(struct stream *stream, uint64_t *left);

/* The most bytes that the rest of the file can hold: deflate's best ratio is 1032. */
uint64_t stream_capacity(const struct stream *stream);

void stream_close(struct stream *stream);
