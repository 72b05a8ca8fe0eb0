/* What the kernel says about the processor and its memory (/proc, /sys of Linux). */
#include "device/cpu_describe.h"
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include "base/text.h"

/* What follows the colon of the first line of a file that starts with `key`; "unknown" if none. */
static void find_line(const char *path, const char *key, char *value, size_t bytes) {
  FILE *file = fopen(path, "r");
  char *line = NULL;
  size_t capacity = 0;
  snprintf(value, bytes, "unknown");
  while (file && getline(&line, &capacity, file) > 0) {
    const char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
    colon += 1 + strspn(colon + 1, " \t");
    snprintf(value, bytes, "%.*s", (int)strcspn(colon, "\n"), colon);
    break;
  }
  free(line);
  if (file) fclose(file);
}

const char *cpu_instruction_set(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return "AVX-512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "AVX2";
#endif
  return "plain vectors";
}

void cpu_model(char *name, size_t bytes) {
  find_line("/proc/cpuinfo", "model name", name, bytes);
}

static void print_huge_pages(FILE *out) {
  char line[128] = "unknown", *open, *close;
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  if (file && !fgets(line, sizeof line, file)) line[0] = 0;
  if (file) fclose(file);
  open = strchr(line, '[');
  close = open ? strchr(open, ']') : NULL;
  if (close) *close = 0;
  const char *mode = close ? open + 1 : line;
  fprintf(out, "  %-22s %s\n", "huge pages", mode);
  if (strcmp(mode, "never") == 0)
    fprintf(out,
            "  advice: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled saves page "
            "faults\n");
}

void cpu_describe(FILE *out) {
  char model[128], total[32], available[32];
  struct sysinfo info = {0};
  cpu_model(model, sizeof model);
  fprintf(out, "  %-22s %s\n", "processor", model);
  fprintf(out, "  %-22s %ld online, kernels for %s\n", "cores", sysconf(_SC_NPROCESSORS_ONLN),
          cpu_instruction_set());
  if (sysinfo(&info) == 0)
    fprintf(out, "  %-22s %s, %s free\n", "memory",
            text_bytes((double)info.totalram * info.mem_unit, total),
            text_bytes((double)(info.freeram + info.bufferram) * info.mem_unit, available));
  print_huge_pages(out);
}
