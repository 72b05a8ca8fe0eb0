/* doctor: what this machine and this build have, and what to do about what they lack. */
#include <mpi.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "command/options.h"
#include "command/reduction.h"
#include "comm/tree.h"
#include "device/device.h"

#define LIBRARY(name, version) size_t version(void);
#define LIBRARY_ABSENT(name)
#include "command/libraries.def"
#undef LIBRARY
#undef LIBRARY_ABSENT

static const struct {
  const char *name;
  size_t (*version)(void);
} libraries[] = {
#define LIBRARY(name, version) {name, version},
#define LIBRARY_ABSENT(name) {name, NULL},
#include "command/libraries.def"
#undef LIBRARY
#undef LIBRARY_ABSENT
};

static void print_build(void) {
  printf("build\n  %-22s " MEDTRAIN_VERSION ", compiler %s\n", "version", __VERSION__);
  printf("  %-22s", "devices");
  for (int i = 0; devices[i]; i++) printf(" %s", devices[i]->name);
  printf("\n  %-22s", "gradients travel by");
  for (int i = 0; tree_transports[i]; i++) {
    char text[128];
    tree_transport_describe(tree_transports[i], text, sizeof text);
    printf("%s %s", i ? ";" : "", text);
  }
  printf("\n");
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
    if (libraries[i].version)
      printf("  %-22s %zu\n", libraries[i].name, libraries[i].version());
    else
      printf("  %-22s absent\n", libraries[i].name);
}

static void print_mpi(const struct comm *comm) {
  static const char *const levels[] = {"single", "funneled", "serialized", "multiple"};
  char version[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0, initialized = 0, level = -1;
  MPI_Get_library_version(version, &length);
  MPI_Initialized(&initialized);
  printf("ranks\n  %-22s %.*s\n", "MPI", (int)strcspn(version, ",\n"), version);
  if (initialized && MPI_Query_thread(&level) == MPI_SUCCESS)
    for (int i = 0; i < 4; i++)
      if (level == (int[]){MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED,
                           MPI_THREAD_MULTIPLE}[i])
        printf("  %-22s %s\n", "thread support", levels[i]);
  printf("  %-22s %d, %d of them on this node\n", "started", comm->size, comm->local_size);
}

/* The ranks of other nodes, one line each; nothing for a rank alone. */
static enum status print_places(struct comm *comm) {
  char host[256] = "", line[320];
  const char *lines[1] = {line};
  char **all;
  int count;
  if (comm->size == 1) return STATUS_OK;
  gethostname(host, sizeof host - 1);
  snprintf(line, sizeof line, "rank %d", comm->rank);
  size_t used = strlen(line);
  snprintf(line + used, sizeof line - used, "%*s node %s, local rank %d", (int)(22 - used), "",
           host, comm->local_rank);
  TRY(comm_gather_lines(comm, lines, 1, 0, &all, &count));
  for (int i = 0; i < count; i++) printf("  %s\n", all[i]);
  file_list_free(all, count);
  return STATUS_OK;
}

static void print_space(const char *what, const char *path, double least) {
  struct statvfs disk;
  char available[32];
  if (statvfs(path, &disk) != 0) return;
  double bytes = (double)disk.f_bavail * (double)disk.f_frsize;
  printf("  %-22s %s free (%s)\n", what, text_bytes(bytes, available), path);
  if (bytes < least)
    printf("  advice: make room in %s: %s are wanted\n", path, text_bytes(least, available));
}

static void print_limit(const char *what, int resource, double least, const char *advice) {
  struct rlimit limit;
  char text[32];
  if (getrlimit(resource, &limit) != 0) return;
  bool endless = limit.rlim_cur == RLIM_INFINITY;
  printf("  %-22s %s\n", what, endless ? "unlimited" : text_bytes((double)limit.rlim_cur, text));
  if (!endless && (double)limit.rlim_cur < least) printf("  advice: %s\n", advice);
}

static void print_limits(void) {
  printf("limits\n");
  print_limit("locked memory", RLIMIT_MEMLOCK, 0x1p30,
              "ulimit -l unlimited, for InfiniBand (in containers: --ulimit memlock=-1)");
  print_limit("stack", RLIMIT_STACK, 0x1p20, "ulimit -s 8192");
  print_space("shared memory", "/dev/shm", 0x1p26);
  print_space("disk", ".", 0x1p30);
}

static void print_machine(const struct comm *comm) {
  print_build();
  for (int i = 0; devices[i]; i++) {
    const char *why = "";
    int count = devices[i]->count(&why);
    printf("%s: %d device%s%s%s\n", devices[i]->name, count, count == 1 ? "" : "s",
           count ? "" : ", ", count ? "" : why);
    devices[i]->describe(stdout);
  }
  print_limits();
  print_mpi(comm);
}

static enum status examine(struct comm *comm, const struct config *config) {
  if (comm->rank == 0) print_machine(comm);
  TRY(print_places(comm));
  return config && comm->size > 1 ? reduction_report(config, comm, stdout) : STATUS_OK;
}

static enum status doctor_command(const struct invocation *invocation) {
  struct config config = {0};
  struct words words;
  if (invocation->count == 0) return examine(invocation->comm, NULL);
  enum status status = options_open_config(invocation, NULL, &words, &config);
  if (!status) status = examine(invocation->comm, &config);
  config_close(&config);
  return status;
}

extern const struct command command_doctor;
const struct command command_doctor = {
    .name = "doctor",
    .usage = "[CONFIG] [key=value ...]",
    .help =
        "what build, devices, ranks and limits there are and what they lack; with a config and "
        "several ranks, how fast its gradient travels",
    .run = doctor_command,
    .parallel = true,
};
