/* keys.def as an array, lookup by path, and the text form of a value. */
#include "config/table.h"
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/text.h"

enum { SAME = 1, FREE = 0 };

#define ROW(s, n, kind, ...) \
  {.section = #s, .name = #n, .type = kind, .offset = offsetof(struct config, s.n), __VA_ARGS__},
#define SECTION(section)
#define END_SECTION(section)
#define BOOL_KEY(s, n, value, keep, text) \
  ROW(s, n, KEY_BOOL, .default_value = #value, .same = keep, .unit = "", .help = text)
#define INT_KEY(s, n, value, low, high, u, keep, text)                                    \
  ROW(s, n, KEY_INT, .default_value = #value, .minimum = low, .maximum = high, .unit = u, \
      .same = keep, .help = text)
#define REAL_KEY(s, n, value, low, high, u, keep, text)                                    \
  ROW(s, n, KEY_REAL, .default_value = #value, .minimum = low, .maximum = high, .unit = u, \
      .same = keep, .help = text)
#define TEXT_KEY(s, n, value, keep, text) \
  ROW(s, n, KEY_TEXT, .default_value = value, .same = keep, .unit = "", .help = text)
#define CHOICE_KEY(s, n, value, list, keep, text)                                          \
  ROW(s, n, KEY_CHOICE, .default_value = value, .choices = list, .same = keep, .unit = "", \
      .help = text)
#define INTS_KEY(s, n, value, low, high, u, keep, text)                                   \
  ROW(s, n, KEY_INTS, .default_value = value, .minimum = low, .maximum = high, .unit = u, \
      .same = keep, .help = text)
#define REALS_KEY(s, n, value, low, high, u, keep, text)                                   \
  ROW(s, n, KEY_REALS, .default_value = value, .minimum = low, .maximum = high, .unit = u, \
      .same = keep, .help = text)

const struct key config_keys[] = {
#include "config/keys.def"
};
const int config_key_count = sizeof config_keys / sizeof config_keys[0];

enum { PATH_BYTES = 128 };

char *key_path(const struct key *key, char *path) {
  bool root = strcmp(key->section, "root") == 0;
  snprintf(path, PATH_BYTES, "%s%s%s", root ? "" : key->section, root ? "" : ".", key->name);
  return path;
}

const struct key *key_find(const char *path) {
  char candidate[PATH_BYTES];
  for (int i = 0; i < config_key_count; i++)
    if (strcmp(path, key_path(&config_keys[i], candidate)) == 0) return &config_keys[i];
  return NULL;
}

const char *key_nearest(const char *path, char *nearest) {
  int best = (int)strlen(path) / 2 + 2;
  const char *found = NULL;
  for (int i = 0; i < config_key_count; i++) {
    char candidate[PATH_BYTES];
    int distance = text_distance(path, key_path(&config_keys[i], candidate));
    int last_part = text_distance(path, config_keys[i].name) + 1;
    if (last_part < distance) distance = last_part;
    if (distance >= best) continue;
    best = distance;
    memcpy(nearest, candidate, PATH_BYTES);
    found = nearest;
  }
  return found;
}

static char *format_ints(const struct int_list *list) {
  char *text = strdup("[");
  for (int i = 0; i < list->count && text; i++) {
    char *longer = file_format("%s%s%lld", text, i ? ", " : "", (long long)list->value[i]);
    free(text);
    text = longer;
  }
  char *closed = text ? file_format("%s]", text) : NULL;
  free(text);
  return closed;
}

/* The shortest decimal form that reads back as the same double, with a point so that libconfig sees
 * a real. */
static void format_real(double value, char text[40]) {
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, 40, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  if (!strpbrk(text, ".e")) strcat(text, ".0");
}

static char *format_reals(const struct real_list *list) {
  char *text = strdup("[");
  for (int i = 0; i < list->count && text; i++) {
    char number[40];
    format_real(list->value[i], number);
    char *longer = file_format("%s%s%s", text, i ? ", " : "", number);
    free(text);
    text = longer;
  }
  char *closed = text ? file_format("%s]", text) : NULL;
  free(text);
  return closed;
}

static char *format_text(const char *value) {
  char *quoted = malloc(2 * strlen(value) + 3);
  if (!quoted) return NULL;
  char *at = quoted;
  *at++ = '"';
  for (; *value; value++) {
    if (*value == '"' || *value == '\\') *at++ = '\\';
    *at++ = *value;
  }
  *at++ = '"';
  *at = 0;
  return quoted;
}

static char *format_int(int64_t value) {
  return file_format(value > INT32_MAX || value < INT32_MIN ? "%lldL" : "%lld", (long long)value);
}

char *key_format(const struct key *key, const struct config *config) {
  const void *member = (const char *)config + key->offset;
  char number[40];
  switch (key->type) {
    case KEY_BOOL:
      return strdup(*(const bool *)member ? "true" : "false");
    case KEY_INT:
      return format_int(*(const int64_t *)member);
    case KEY_REAL:
      format_real(*(const double *)member, number);
      return strdup(number);
    case KEY_TEXT:
    case KEY_CHOICE:
      return format_text(*(char *const *)member);
    case KEY_INTS:
      return format_ints(member);
    case KEY_REALS:
      return format_reals(member);
  }
  return NULL;
}
