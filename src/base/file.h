/* Files: reading whole ones, making folders, writing so that a crash leaves the old file or the new
 * one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* dir/name in a new string (caller frees); NULL when out of memory. */
char *file_join(const char *directory, const char *name);

/* printf into a new string (caller frees); NULL when out of memory. */
char *file_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool file_exists(const char *path);
bool file_is_directory(const char *path);

/* Makes a folder and its parents; fine if it is there. */
CHECKED enum status file_make_directory(const char *path);

/* Reads a whole file into a new buffer with a 0 byte after its end (caller frees). At most `limit`
 * bytes. */
CHECKED enum status file_read(const char *path, size_t limit, char **data, size_t *bytes);

/* The names in a folder that end in `suffix` ("" for all; never "." and ".."), sorted by byte
 * value. */
CHECKED enum status file_list(const char *directory, const char *suffix, char ***names, int *count);
void file_list_free(char **names, int count);

/* A file being replaced: written under a temporary name beside `path`, then fsync, rename, and
 * fsync of the folder. Until file_commit() succeeds, what was at `path` is untouched. */
struct file_writer {
  int descriptor;
  char *path, *temporary;
  uint64_t written;
};
CHECKED enum status file_create(struct file_writer *writer, const char *path);
CHECKED enum status file_write(struct file_writer *writer, const void *data, size_t bytes);
CHECKED enum status file_commit(struct file_writer *writer);
/* Removes the temporary file of a writer that was not committed. Accepts a zeroed or closed writer.
 */
void file_abandon(struct file_writer *writer);

/* file_create + file_write + file_commit. */
CHECKED enum status file_replace(const char *path, const void *data, size_t bytes);

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as in iSCSI (RFC 3720) and TensorBoard
 * records. Start with crc = 0; feed pieces one after another. */
uint32_t file_checksum(uint32_t crc, const void *data, size_t bytes);
