/* The name of a cache file contains the manifest of its shard, so that what was unpacked from other
 * data is never taken for it. Processes wait for each other by a lock on the unfinished file. */
#include "data/cache.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "data/shard_write.h"

static const char magic[16] = "medtrain-cache1";

struct header {
  char magic[16];
  uint64_t manifest, bytes;
};

uint64_t cache_offset(const struct shard *shard, enum shard_array array) {
  uint64_t offset = CACHE_HEADER_BYTES;
  for (int before = 0; before < (int)array; before++)
    offset += (uint64_t)shard->subject_count * shard_array_bytes(shard, (enum shard_array)before);
  return offset;
}

uint64_t cache_bytes(const struct shard *shard) {
  return cache_offset(shard, SHARD_MAPPED_COUNT);
}

static struct header header_of(const struct shard *shard) {
  struct header header = {.manifest = shard_manifest(shard, 1), .bytes = cache_bytes(shard)};
  memcpy(header.magic, magic, sizeof magic);
  return header;
}

/* Whether `path` is the whole cache of this shard. */
static bool is_whole(const struct shard *shard, const char *path) {
  struct header wanted = header_of(shard), found = {0};
  struct stat information;
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  bool whole = fstat(descriptor, &information) == 0 &&
               (uint64_t)information.st_size == wanted.bytes &&
               read(descriptor, &found, sizeof found) == (ssize_t)sizeof found &&
               memcmp(&found, &wanted, sizeof found) == 0;
  close(descriptor);
  return whole;
}

struct output {
  int descriptor;
  const char *path;
};

static enum status put(const struct output *output, uint64_t offset, const void *data,
                       size_t bytes) {
  for (const char *from = data; bytes > 0;) {
    ssize_t done = pwrite(output->descriptor, from, bytes, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    REQUIRE(done > 0, STATUS_FAILED, "%s: cannot write %zu bytes: %s", output->path, bytes,
            strerror(errno));
    from += done;
    offset += (uint64_t)done;
    bytes -= (size_t)done;
  }
  return STATUS_OK;
}

static enum status unpack_array(const struct shard *shard, const struct output *output,
                                enum shard_array array) {
  size_t bytes = shard_array_bytes(shard, array);
  if (!bytes) return STATUS_OK;
  void *values = malloc(bytes);
  REQUIRE(values, STATUS_FAILED, "%s: out of memory to unpack %zu bytes", shard->path, bytes);
  uint64_t offset = cache_offset(shard, array);
  enum status status = STATUS_OK;
  for (int row = 0; row < shard->subject_count && !status; row++) {
    status = shard_read_subject(shard, row, array, values);
    if (!status) status = put(output, offset + (uint64_t)row * bytes, values, bytes);
  }
  free(values);
  return status;
}

static enum status unpack(const struct shard *shard, const struct output *output) {
  struct header header = header_of(shard);
  TRY(put(output, 0, &header, sizeof header));
  for (int array = 0; array < SHARD_MAPPED_COUNT; array++)
    TRY(unpack_array(shard, output, (enum shard_array)array));
  return STATUS_OK;
}

/* The lock is held. Another process may have finished while we waited for it. */
static enum status make(const struct shard *shard, const struct output *output, const char *path) {
  if (is_whole(shard, path)) return STATUS_OK;
  REQUIRE(ftruncate(output->descriptor, 0) == 0, STATUS_FAILED, "%s: cannot cut to nothing: %s",
          output->path, strerror(errno));
  enum status status = unpack(shard, output);
  if (!status) status = shard_publish(output->path, path);
  /* it stays, empty: removing it would take it from under those who wait for its lock */
  if (status && ftruncate(output->descriptor, 0) != 0)
    return status_pass(status, __func__, __FILE__, __LINE__);
  return status;
}

static enum status make_locked(const struct shard *shard, const char *path) {
  char *temporary = file_format("%s.part", path);
  REQUIRE(temporary, STATUS_FAILED, "%s: out of memory", path);
  struct output output = {open(temporary, O_RDWR | O_CREAT | O_CLOEXEC, 0666), temporary};
  enum status status;
  if (output.descriptor < 0 || flock(output.descriptor, LOCK_EX) != 0)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: cannot create and lock: %s",
                         temporary, strerror(errno));
  else
    status = make(shard, &output, path);
  if (output.descriptor >= 0) close(output.descriptor);
  free(temporary);
  return status;
}

static char *name_of(const struct shard *shard, const char *folder) {
  const char *slash = strrchr(shard->path, '/');
  unsigned long long manifest = shard_manifest(shard, 1);
  if (!folder || !folder[0]) return file_format("%s.%016llx.cache", shard->path, manifest);
  return file_format("%s/%s.%016llx.cache", folder, slash ? slash + 1 : shard->path, manifest);
}

enum status cache_open(const struct shard *shard, const char *folder, char **path) {
  if (folder && folder[0]) TRY(file_make_directory(folder));
  char *name = name_of(shard, folder);
  REQUIRE(name, STATUS_FAILED, "%s: out of memory", shard->path);
  enum status status = is_whole(shard, name) ? STATUS_OK : make_locked(shard, name);
  if (status) {
    free(name);
    return status_pass(status, __func__, __FILE__, __LINE__);
  }
  *path = name;
  return STATUS_OK;
}
