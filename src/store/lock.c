/* Who may write in a folder: a lock file, and when a lock left behind may be taken over. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "store/run_folder.h"

enum { LOCK_BYTES = 4096, NAME_BYTES = 256, ATTEMPTS = 5 };

struct owner {
  char host[NAME_BYTES], boot[NAME_BYTES], job[NAME_BYTES];
  long long pid, started, restart;
};

/* When a process started, in clock ticks since boot (field 22 of /proc/PID/stat: proc(5)); 0 when
 * there is no such process. Tells a process from a later one with the same number. */
static long long start_time(long long pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%lld/stat", pid);
  FILE *file = fopen(path, "r");
  size_t bytes = file ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file) fclose(file);
  text[bytes] = 0;
  char *at = strrchr(text, ')'); /* the name before it may hold anything */
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? atoll(at + 1) : 0;
}

static void copy_text(char *to, const char *from) {
  snprintf(to, NAME_BYTES, "%s", from ? from : "");
}

static struct owner describe_self(void) {
  struct owner self = {.pid = getpid()};
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (file && !fgets(self.boot, sizeof self.boot, file)) self.boot[0] = 0;
  if (file) fclose(file);
  self.boot[strcspn(self.boot, "\n")] = 0;
  gethostname(self.host, sizeof self.host - 1);
  self.started = start_time(self.pid);
  copy_text(self.job, getenv("SLURM_JOB_ID"));
  self.restart = getenv("SLURM_RESTART_COUNT") ? atoll(getenv("SLURM_RESTART_COUNT")) : 0;
  return self;
}

static char *owner_to_text(const struct owner *owner) {
  json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "host", owner->host, "boot",
                           owner->boot, "job", owner->job, "pid", (json_int_t)owner->pid, "started",
                           (json_int_t)owner->started, "restart", (json_int_t)owner->restart);
  char *text = json ? json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
  json_decref(json);
  return text;
}

static bool owner_from_text(const char *text, struct owner *owner) {
  const char *host, *boot, *job;
  json_int_t pid, started, restart;
  json_t *json = json_loads(text, 0, NULL);
  bool good =
      json && json_unpack(json, "{s:s, s:s, s:s, s:I, s:I, s:I}", "host", &host, "boot", &boot,
                          "job", &job, "pid", &pid, "started", &started, "restart", &restart) == 0;
  if (good) {
    *owner = (struct owner){.pid = pid, .started = started, .restart = restart};
    copy_text(owner->host, host);
    copy_text(owner->boot, boot);
    copy_text(owner->job, job);
  }
  json_decref(json);
  return good;
}

/* Why the owner cannot be running any more; NULL if it may be. */
static const char *find_staleness(const struct owner *owner, const struct owner *self) {
  bool same_job = owner->job[0] && strcmp(owner->job, self->job) == 0;
  if (same_job && self->restart > owner->restart) return "this Slurm job was started again";
  if (strcmp(owner->host, self->host) != 0) return NULL;
  if (owner->boot[0] && self->boot[0] && strcmp(owner->boot, self->boot) != 0)
    return "this machine was started again";
  bool gone = kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH;
  if (gone || start_time(owner->pid) != owner->started) return "that process is gone";
  return NULL;
}

static enum status refuse(const char *path, const struct owner *owner) {
  FAIL(STATUS_USAGE,
       "%s: another run uses this folder (process %lld on %s%s%s); choose another output.dir, or "
       "remove the file if that run is over",
       path, owner->pid, owner->host, owner->job[0] ? ", job " : "", owner->job);
}

/* Moves the lock away before removing it, and looks at what was moved: somebody else may have taken
 * the stale lock over in the meantime. */
static enum status remove_stale(const char *path, const char *text, const char *reason) {
  char *aside = file_format("%s.stale-%ld", path, (long)getpid());
  char *moved = NULL;
  size_t bytes;
  REQUIRE(aside, STATUS_FAILED, "%s: out of memory", path);
  bool mine = rename(path, aside) == 0 && file_read(aside, LOCK_BYTES, &moved, &bytes) == STATUS_OK;
  if (mine && strcmp(moved, text) != 0) {
    mine = false;
    if (link(aside, path) != 0) log_warning("%s: cannot put the lock back", path);
  }
  if (mine) log_warning("%s: taken over from an earlier run: %s", path, reason);
  unlink(aside);
  free(moved);
  free(aside);
  status_clear();
  return STATUS_OK; /* whoever creates the lock next has it */
}

static enum status handle_existing(const char *path, const struct owner *self) {
  struct owner owner;
  char *text;
  size_t bytes;
  if (file_read(path, LOCK_BYTES, &text, &bytes) != STATUS_OK) {
    REQUIRE(!file_exists(path), STATUS_FAILED, "%s: cannot read the lock", path);
    status_clear();
    return STATUS_OK; /* released in the meantime */
  }
  enum status status = STATUS_OK;
  const char *reason = NULL;
  if (!owner_from_text(text, &owner))
    status =
        status_fail(STATUS_USAGE, __FILE__, __LINE__,
                    "%s: another run uses this folder, but the lock does not say which; remove "
                    "the file if no run does",
                    path);
  else if (!(reason = find_staleness(&owner, self)))
    status = refuse(path, &owner);
  else
    status = remove_stale(path, text, reason);
  free(text);
  return status;
}

static enum status create(const char *path, const char *text, bool *taken) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  *taken = descriptor >= 0;
  REQUIRE(*taken || errno == EEXIST, STATUS_FAILED, "%s: cannot create the lock: %s", path,
          strerror(errno));
  if (!*taken) return STATUS_OK;
  ssize_t length = (ssize_t)strlen(text), written = write(descriptor, text, (size_t)length);
  int reason = written < 0 ? errno : ENOSPC;
  close(descriptor);
  if (written == length) return STATUS_OK;
  unlink(path);
  FAIL(STATUS_FAILED, "%s: cannot write the lock: %s", path, strerror(reason));
}

enum status lock_take(const char *path) {
  struct owner self = describe_self();
  char *text = owner_to_text(&self);
  REQUIRE(text, STATUS_FAILED, "%s: out of memory", path);
  enum status status = STATUS_OK;
  bool taken = false;
  for (int attempt = 0; attempt < ATTEMPTS && !taken && !status; attempt++) {
    status = create(path, text, &taken);
    if (!taken && !status) status = handle_existing(path, &self);
  }
  free(text);
  TRY(status);
  REQUIRE(taken, STATUS_FAILED, "%s: other runs keep taking this lock", path);
  return STATUS_OK;
}

void lock_release(const char *path) {
  struct owner self = describe_self(), owner;
  char *text;
  size_t bytes;
  if (file_read(path, LOCK_BYTES, &text, &bytes) != STATUS_OK) {
    status_clear();
    return;
  }
  if (owner_from_text(text, &owner) && owner.pid == self.pid && owner.started == self.started &&
      strcmp(owner.host, self.host) == 0)
    unlink(path);
  free(text);
}
