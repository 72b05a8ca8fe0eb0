/* Whole-file reading, folders, and replacement that survives a crash at any instruction. */
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *file_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = NULL;
  int length = vasprintf(&text, format, arguments);
  va_end(arguments);
  return length < 0 ? NULL : text;
}

char *file_join(const char *directory, const char *name) {
  return file_format("%s/%s", directory, name);
}

bool file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

bool file_is_directory(const char *path) {
  struct stat information;
  return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

static enum status make_one_directory(const char *path) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST || errno == EISDIR) return STATUS_OK;
  FAIL(STATUS_FAILED, "%s: cannot make the folder: %s", path, strerror(errno));
}

enum status file_make_directory(const char *path) {
  REQUIRE(*path, STATUS_USAGE, "expected the name of a folder, found an empty one");
  char *partial = strdup(path);
  REQUIRE(partial, STATUS_FAILED, "%s: out of memory", path);
  enum status status = STATUS_OK;
  for (char *slash = strchr(partial + 1, '/'); slash && !status; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    status = make_one_directory(partial);
    *slash = '/';
  }
  if (!status) status = make_one_directory(partial);
  free(partial);
  if (!status && !file_is_directory(path))
    FAIL(STATUS_FAILED, "%s: expected a folder, found a file", path);
  return status;
}

static enum status read_all(FILE *file, const char *path, char *data, size_t bytes) {
  REQUIRE(fread(data, 1, bytes, file) == bytes, STATUS_FAILED, "%s: cannot read %zu bytes: %s",
          path, bytes, strerror(errno));
  data[bytes] = 0;
  return STATUS_OK;
}

enum status file_read(const char *path, size_t limit, char **data, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  REQUIRE(file, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
  struct stat information;
  enum status status = STATUS_OK;
  char *buffer = NULL;
  if (fstat(fileno(file), &information) != 0 || !S_ISREG(information.st_mode)) {
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: not a regular file", path);
  } else if ((uint64_t)information.st_size > limit) {
    status =
        status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: expected at most %zu bytes, found %lld",
                    path, limit, (long long)information.st_size);
  } else if (!(buffer = malloc((size_t)information.st_size + 1))) {
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  } else {
    status = read_all(file, path, buffer, (size_t)information.st_size);
  }
  fclose(file);
  if (status) {
    free(buffer);
    return status;
  }
  *data = buffer;
  *bytes = (size_t)information.st_size;
  return STATUS_OK;
}

static bool ends_with(const char *name, const char *suffix) {
  size_t length = strlen(name), tail = strlen(suffix);
  return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status collect_names(DIR *folder, const char *directory, const char *suffix,
                                 char ***names, int *count) {
  for (struct dirent *entry; (entry = readdir(folder));) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !ends_with(name, suffix)) continue;
    char **longer = realloc(*names, sizeof(char *) * (size_t)(*count + 1));
    REQUIRE(longer, STATUS_FAILED, "%s: out of memory", directory);
    *names = longer;
    REQUIRE((longer[*count] = strdup(name)), STATUS_FAILED, "%s: out of memory", directory);
    ++*count;
  }
  return STATUS_OK;
}

enum status file_list(const char *directory, const char *suffix, char ***names, int *count) {
  DIR *folder = opendir(directory);
  REQUIRE(folder, STATUS_FAILED, "%s: cannot open the folder: %s", directory, strerror(errno));
  *names = NULL;
  *count = 0;
  enum status status = collect_names(folder, directory, suffix, names, count);
  closedir(folder);
  if (status) {
    file_list_free(*names, *count);
    *names = NULL;
    *count = 0;
    return status;
  }
  if (*count) qsort(*names, (size_t)*count, sizeof **names, compare_names);
  return STATUS_OK;
}

void file_list_free(char **names, int count) {
  for (int i = 0; i < count; i++) free(names[i]);
  free(names);
}

enum status file_create(struct file_writer *writer, const char *path) {
  *writer = (struct file_writer){.descriptor = -1};
  writer->path = strdup(path);
  writer->temporary = file_format("%s.part-%ld", path, (long)getpid());
  REQUIRE(writer->path && writer->temporary, STATUS_FAILED, "%s: out of memory", path);
  writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (writer->descriptor < 0) {
    enum status status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: cannot create: %s",
                                     writer->temporary, strerror(errno));
    file_abandon(writer);
    return status;
  }
  return STATUS_OK;
}

enum status file_write(struct file_writer *writer, const void *data, size_t bytes) {
  const char *from = data;
  while (bytes > 0) {
    ssize_t done = write(writer->descriptor, from, bytes);
    if (done < 0 && errno == EINTR) continue;
    REQUIRE(done > 0, STATUS_FAILED, "%s: cannot write %zu bytes: %s", writer->path, bytes,
            strerror(errno));
    from += done;
    bytes -= (size_t)done;
    writer->written += (uint64_t)done;
  }
  return STATUS_OK;
}

static enum status sync_folder_of(const char *path) {
  char *folder = strdup(path);
  REQUIRE(folder, STATUS_FAILED, "%s: out of memory", path);
  char *slash = strrchr(folder, '/');
  if (slash) *(slash == folder ? slash + 1 : slash) = 0;
  int descriptor = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  REQUIRE(descriptor >= 0, STATUS_FAILED, "%s: cannot open its folder: %s", path, strerror(errno));
  int failed = fsync(descriptor);
  close(descriptor);
  REQUIRE(!failed, STATUS_FAILED, "%s: cannot sync its folder: %s", path, strerror(errno));
  return STATUS_OK;
}

static void forget(struct file_writer *writer) {
  free(writer->path);
  free(writer->temporary);
  *writer = (struct file_writer){.descriptor = -1};
}

enum status file_commit(struct file_writer *writer) {
  REQUIRE(fsync(writer->descriptor) == 0, STATUS_FAILED, "%s: cannot sync: %s", writer->path,
          strerror(errno));
  int failed = close(writer->descriptor);
  writer->descriptor = -1;
  REQUIRE(!failed, STATUS_FAILED, "%s: cannot close: %s", writer->path, strerror(errno));
  REQUIRE(rename(writer->temporary, writer->path) == 0, STATUS_FAILED, "%s: cannot rename %s: %s",
          writer->path, writer->temporary, strerror(errno));
  enum status status = sync_folder_of(writer->path);
  forget(writer);
  return status;
}

void file_abandon(struct file_writer *writer) {
  if (!writer->path) return;
  if (writer->descriptor >= 0) close(writer->descriptor);
  if (writer->temporary) unlink(writer->temporary);
  forget(writer);
}

enum status file_replace(const char *path, const void *data, size_t bytes) {
  struct file_writer writer;
  TRY(file_create(&writer, path));
  enum status status = file_write(&writer, data, bytes);
  if (!status) status = file_commit(&writer);
  if (status) file_abandon(&writer);
  return status;
}
