/* A list of names in one text. */
#include "data/label_names.h"
#include <stdlib.h>
#include <string.h>
#include "data/shard.h"

static const char blanks[] = " \t\n";

int label_names_count(const struct config *config) {
  const char *at = config->data.label_names;
  int count = at[strspn(at, blanks)] ? 1 : 0;
  for (; *at && count; at++) count += *at == ',';
  return count;
}

void label_names_free(char **names, int count) {
  for (int i = 0; names && i < count; i++) free(names[i]);
  free(names);
}

/* names[number] from text of that length. */
static enum status take_name(const char *text, size_t length, char **names, int number) {
  while (length && strchr(blanks, text[length - 1])) length--;
  REQUIRE(length > 0, STATUS_USAGE, "data.label_names: expected a name for class %d, found none",
          number + 1);
  names[number] = strndup(text, length);
  REQUIRE(names[number], STATUS_FAILED, "out of memory for the classes' names");
  for (int i = 0; i < number; i++)
    REQUIRE(strcmp(names[i], names[number]) != 0, STATUS_USAGE,
            "data.label_names: expected each name once, found \"%s\" for classes %d and %d",
            names[i], i + 1, number + 1);
  return STATUS_OK;
}

static enum status take_names(const char *text, char **names, int count) {
  for (int i = 0; i < count; i++) {
    text += strspn(text, blanks);
    size_t length = strcspn(text, ",");
    TRY(take_name(text, length, names, i));
    text += length + (text[length] == ',');
  }
  return STATUS_OK;
}

enum status label_names_parse(const struct config *config, char ***names, int *count) {
  int wanted = config->data.labels.count, found = label_names_count(config);
  *names = NULL;
  *count = 0;
  if (!found) return STATUS_OK;
  REQUIRE(!wanted || wanted == found, STATUS_USAGE,
          "data.label_names: expected names of %d classes as data.labels has, found %d", wanted,
          found);
  REQUIRE(found < SHARD_CLASS_LIMIT, STATUS_USAGE,
          "data.label_names: expected at most %d names, found %d", SHARD_CLASS_LIMIT - 1, found);
  *names = calloc((size_t)found, sizeof **names);
  REQUIRE(*names, STATUS_FAILED, "out of memory for the classes' names");
  *count = found;
  enum status status = take_names(config->data.label_names, *names, found);
  if (!status) return STATUS_OK;
  label_names_free(*names, found);
  *names = NULL;
  *count = 0;
  return status_pass(status, __func__, __FILE__, __LINE__);
}
