/* Configs as text: the resolved file, the differences between two, and the help. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "config/table.h"

enum status config_print(const struct config *config, FILE *out) {
  const char *section = "root";
  for (int i = 0; i < config_key_count; i++) {
    const struct key *key = &config_keys[i];
    bool root = strcmp(key->section, "root") == 0;
    if (strcmp(section, key->section) != 0) {
      fprintf(out, "%s%s: {\n", strcmp(section, "root") == 0 ? "\n" : "};\n\n", key->section);
      section = key->section;
    }
    char *value = key_format(key, config);
    REQUIRE(value, STATUS_FAILED, "config: out of memory");
    fprintf(out, "%s%s = %s;\n", root ? "" : "  ", key->name, value);
    free(value);
  }
  fprintf(out, "};\n");
  REQUIRE(!ferror(out), STATUS_FAILED, "config: cannot write it");
  return STATUS_OK;
}

enum status config_to_text(const struct config *config, char **text) {
  size_t bytes;
  *text = NULL;
  FILE *memory = open_memstream(text, &bytes);
  REQUIRE(memory, STATUS_FAILED, "config: out of memory");
  enum status status = config_print(config, memory);
  if (fclose(memory) != 0 && !status)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "config: out of memory");
  if (status) {
    free(*text);
    *text = NULL;
  }
  return status;
}

static enum status compare_key(const struct key *key, const struct config *before,
                               const struct config *now, FILE *out) {
  char *old_value = key_format(key, before), *new_value = key_format(key, now), path[128];
  enum status status = STATUS_OK;
  if (!old_value || !new_value) {
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "config: out of memory");
  } else if (strcmp(old_value, new_value) != 0) {
    fprintf(out, "%s: %s in the checkpoint, %s now\n", key_path(key, path), old_value, new_value);
  }
  free(old_value);
  free(new_value);
  return status;
}

enum status config_compare(const struct config *before, const struct config *now,
                           char **differences) {
  size_t bytes;
  *differences = NULL;
  FILE *memory = open_memstream(differences, &bytes);
  REQUIRE(memory, STATUS_FAILED, "config: out of memory");
  enum status status = STATUS_OK;
  for (int i = 0; i < config_key_count && !status; i++)
    if (config_keys[i].same) status = compare_key(&config_keys[i], before, now, memory);
  fclose(memory);
  if (status) {
    free(*differences);
    *differences = NULL;
  }
  return status;
}

const char *config_forced_kernel(void *context, const char *op) {
  const struct config *config = context;
  char path[128];
  snprintf(path, sizeof path, "kernels.%s", op);
  const struct key *key = key_find(path);
  const char *name = key ? *(char *const *)((const char *)config + key->offset) : "auto";
  return strcmp(name, "auto") == 0 ? NULL : name;
}

static void print_range(const struct key *key, FILE *out) {
  if (key->choices) fprintf(out, " (%s)", key->choices);
  if (key->maximum > key->minimum) fprintf(out, " (%g to %g)", key->minimum, key->maximum);
  if (*key->unit) fprintf(out, " [%s]", key->unit);
}

void config_help(FILE *out) {
  for (int i = 0; i < config_key_count; i++) {
    const struct key *key = &config_keys[i];
    char path[128];
    bool list = key->type == KEY_INTS || key->type == KEY_REALS;
    fprintf(out, "  %s = %s%s%s\n      %s", key_path(key, path), list ? "[" : "",
            key->default_value, list ? "]" : "", key->help);
    print_range(key, out);
    fputc('\n', out);
  }
}
