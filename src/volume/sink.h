/* A file being written, gzip-compressed or not, that replaces the old one only when it is complete.
 * Private to the volume room. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>
#include "base/file.h"
#include "base/status.h"

struct sink {
  struct file_writer writer;
  z_stream deflate;
  unsigned char *buffer; /* NULL: not compressed */
};

/* Compressed when the path ends in .gz. On failure nothing is left to close. */
CHECKED enum status sink_open(struct sink *sink, const char *path, int level);
CHECKED enum status sink_write(struct sink *sink, const void *data, size_t bytes);
/* Completes the file and puts it in place. */
CHECKED enum status sink_commit(struct sink *sink);
/* Frees everything; a file that was not committed is removed. Accepts a zeroed sink. */
void sink_close(struct sink *sink);
