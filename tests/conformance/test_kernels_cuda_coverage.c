/* That every CUDA kernel of every operator was tried by the conformance tests before this one:
 * their lines "operator kernel type cases" are in the files *.kernels of the folder CUDA_REPORTS.
 * Under the shim also that every __global__ function was launched by some test: "launches name" is
 * in the files *.launches there. Prints how many. */
#include <ctype.h>
#include <glob.h>
#include "base/file.h"
#include "check.h"
#include "kernels/op.h"

enum { SKIPPED = 77, LARGEST_SOURCE = 1 << 20 };

static char kernel_lines[1 << 20];

/* Appends the files of the reports' folder whose names end in `suffix`, each line between line
 * ends. */
static void read_reports(const char *suffix, char *lines, size_t bytes) {
  char pattern[1024];
  size_t used = 1;
  glob_t files;
  snprintf(pattern, sizeof pattern, "%s/*.%s", getenv("CUDA_REPORTS"), suffix);
  lines[0] = '\n';
  if (glob(pattern, 0, NULL, &files) != 0) return;
  for (size_t i = 0; i < files.gl_pathc; i++) {
    FILE *file = fopen(files.gl_pathv[i], "r");
    if (!file) abort();
    used += fread(lines + used, 1, bytes - used - 1, file);
    fclose(file);
  }
  globfree(&files);
}

/* The sum of the numbers at the ends of the lines that begin with `start`. */
static long cases_of(const char *start) {
  long cases = 0;
  for (const char *at = kernel_lines; (at = strstr(at, start)); at += strlen(start))
    cases += strtol(at + strlen(start), NULL, 10);
  return cases;
}

TEST(every_kernel_was_tried) {
  int kernels = 0;
  long cases = 0;
  for (int i = 0; ops[i]; i++)
    for (int k = 0; ops[i]->kernels[k]; k++) {
      const struct kernel *kernel = ops[i]->kernels[k];
      char start[128];
      if (kernel->device != DEVICE_CUDA) continue;
      snprintf(start, sizeof start, "\n%s %s %s ", ops[i]->name, kernel->name,
               dtype_name(kernel->dtype));
      long own = cases_of(start);
      CHECK_SAY(own > 0, " (no case ran kernel \"%s\" of %s for %s)", kernel->name, ops[i]->name,
                dtype_name(kernel->dtype));
      kernels++;
      cases += own;
    }
  printf("%d kernels of operators, %ld cases on cuda\n", kernels, cases);
}

#ifdef MEDTRAIN_CUDA_SHIM
static char launch_lines[1 << 20];

static bool is_word(char c) {
  return isalnum((unsigned char)c) || c == '_';
}

/* Lines are counts and what was given to CUDA_LAUNCH: a function, or a choice between some. */
static bool was_launched(const char *name) {
  size_t length = strlen(name);
  for (const char *at = launch_lines; (at = strstr(at, name)); at++)
    if (!is_word(at[-1]) && !is_word(at[length])) return true;
  return false;
}

/* The name of the function whose declaration begins behind __global__. */
static void function_name(const char *at, char *name, size_t bytes) {
  size_t length = 0;
  for (;;) {
    while (*at && !isalpha((unsigned char)*at) && *at != '_') at++;
    for (length = 0; is_word(at[length]);) length++;
    bool attribute = strncmp(at, "__launch_bounds__", length) == 0;
    if (at[length] == '(' && !attribute) break;
    at += length;
    if (attribute) at += strcspn(at, ")");
    if (!*at) break;
  }
  snprintf(name, bytes, "%.*s", (int)length, at);
}

static int check_source(const char *path) {
  char *text = NULL, name[128];
  size_t bytes;
  int functions = 0;
  CHECK_OK(file_read(path, LARGEST_SOURCE, &text, &bytes));
  for (const char *at = text; at && (at = strstr(at, "__global__")); functions++) {
    at += strlen("__global__");
    function_name(at, name, sizeof name);
    CHECK_SAY(was_launched(name), " (%s: no test launched %s)", path, name);
  }
  free(text);
  return functions;
}

TEST(every_function_was_launched) {
  char pattern[1024];
  int functions = 0;
  glob_t files;
  snprintf(pattern, sizeof pattern, "%s/kernels/*/*_cuda*", getenv("MEDTRAIN_SOURCE"));
  CHECK(glob(pattern, 0, NULL, &files) == 0);
  for (size_t i = 0; i < files.gl_pathc; i++) functions += check_source(files.gl_pathv[i]);
  globfree(&files);
  printf("%d __global__ functions\n", functions);
}
#endif

int main(void) {
  int devices_here = 0;
  for (int i = 0; devices[i]; i++)
    if (devices[i]->kind == DEVICE_CUDA) devices_here = devices[i]->count(NULL);
  if (devices_here < 1 || !getenv("CUDA_REPORTS")) {
    puts("skip: no CUDA device");
    return SKIPPED;
  }
  read_reports("kernels", kernel_lines, sizeof kernel_lines);
  RUN(every_kernel_was_tried);
#ifdef MEDTRAIN_CUDA_SHIM
  read_reports("launches", launch_lines, sizeof launch_lines);
  RUN(every_function_was_launched);
#endif
  return check_result();
}
