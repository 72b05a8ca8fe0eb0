/* Faults on demand: this program's own open, write, fsync, rename, link, unlink and close, which
 * take the place of the C library's (also for the libraries it is linked with) and count their
 * calls. From the k-th on, or at the k-th, they fail, or the process is killed as by a power cut:
 * what was written to a file but not fsynced is torn first. Include once, in the test's only source
 * file. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum shim_fault { SHIM_NONE, SHIM_FAIL_ONCE, SHIM_FAIL_FROM, SHIM_KILL, SHIM_POWER_CUT };

static struct {
  enum shim_fault fault;
  int at;           /* number of the faulty operation, from 1 */
  int error;        /* errno of a failure */
  int count;        /* operations so far */
  bool fsync_lies;  /* it says yes and does nothing */
  char folder[256]; /* only files in it count */
} shim;

/* Open files by descriptor, then those that were closed before they were synced. */
enum { SHIM_DESCRIPTORS = 64, SHIM_FILES = 128 };
static struct {
  bool dirty;
  char path[512];
} shim_files[SHIM_FILES];
static int shim_closed;

static void shim_arm(enum shim_fault fault, int at, int error, const char *folder) {
  shim.fault = fault;
  shim.at = at;
  shim.error = error;
  shim.count = 0;
  snprintf(shim.folder, sizeof shim.folder, "%s", folder);
  shim_closed = 0;
  memset(shim_files, 0, sizeof shim_files);
}

/* Half of what was not synced never reached the disk. */
static void shim_tear(void) {
  for (int i = 0; i < SHIM_FILES; i++) {
    struct stat information;
    if (!shim_files[i].dirty || stat(shim_files[i].path, &information) != 0) continue;
    if (truncate(shim_files[i].path, information.st_size / 2) != 0) _exit(99);
  }
}

/* Counts one operation; true when it has to fail. */
static bool shim_strikes(void) {
  if (shim.fault == SHIM_NONE) return false;
  int number = ++shim.count;
  if (shim.fault == SHIM_FAIL_FROM ? number < shim.at : number != shim.at) return false;
  if (shim.fault == SHIM_POWER_CUT) shim_tear();
  if (shim.fault >= SHIM_KILL) kill(getpid(), SIGKILL);
  errno = shim.error;
  return true;
}

static bool shim_concerns(const char *path) {
  return shim.fault != SHIM_NONE && strncmp(path, shim.folder, strlen(shim.folder)) == 0;
}

static bool shim_concerns_descriptor(int descriptor) {
  return shim.fault != SHIM_NONE && descriptor >= 0 && descriptor < SHIM_DESCRIPTORS &&
         shim_files[descriptor].path[0];
}

static void shim_renamed(const char *from, const char *to) {
  for (int i = 0; i < SHIM_FILES; i++)
    if (strcmp(shim_files[i].path, from) == 0)
      snprintf(shim_files[i].path, sizeof shim_files[i].path, "%s", to);
}

int open(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  if (shim_concerns(path) && shim_strikes()) return -1;
  int descriptor = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (shim_concerns(path) && descriptor >= 0 && descriptor < SHIM_DESCRIPTORS) {
    shim_files[descriptor].dirty = false;
    snprintf(shim_files[descriptor].path, sizeof shim_files[descriptor].path, "%s", path);
  }
  return descriptor;
}

ssize_t write(int descriptor, const void *data, size_t bytes) {
  if (shim_concerns_descriptor(descriptor)) {
    shim_files[descriptor].dirty = true;
    if (shim_strikes()) return -1;
  }
  return syscall(SYS_write, descriptor, data, bytes);
}

int fsync(int descriptor) {
  if (shim_concerns_descriptor(descriptor)) {
    if (shim_strikes()) return -1;
    if (!shim.fsync_lies) shim_files[descriptor].dirty = false;
  }
  return (int)syscall(SYS_fsync, descriptor);
}

/* A failing close has closed: the descriptor is gone either way (close(2)). */
int close(int descriptor) {
  bool concerned = shim_concerns_descriptor(descriptor);
  bool fails = concerned && shim_strikes();
  if (concerned && shim_files[descriptor].dirty && shim_closed < SHIM_FILES - SHIM_DESCRIPTORS)
    shim_files[SHIM_DESCRIPTORS + shim_closed++] = shim_files[descriptor];
  if (concerned) memset(&shim_files[descriptor], 0, sizeof shim_files[descriptor]);
  int result = (int)syscall(SYS_close, descriptor);
  if (fails) errno = shim.error;
  return fails ? -1 : result;
}

int rename(const char *from, const char *to) {
  if (shim_concerns(to) && shim_strikes()) return -1;
  int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (result == 0) shim_renamed(from, to);
  return result;
}

int link(const char *from, const char *to) {
  if (shim_concerns(to) && shim_strikes()) return -1;
  return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
  if (shim_concerns(path) && shim_strikes()) return -1;
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
