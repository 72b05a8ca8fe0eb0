/* Reading a config: libconfig parses, the table checks. Every error names file and line. */
#include "config/config.h"
#include <errno.h>
#include <libconfig.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/text.h"
#include "config/table.h"

enum { DEEPEST_BASE = 8 };

/* Where a setting stands, for messages: "FILE:LINE: " or the override's own words. */
struct origin {
  const char *name; /* of a text that is no file, or NULL */
  char text[512];
};

static const char *origin_of(struct origin *origin, const config_setting_t *setting) {
  const char *file = config_setting_source_file(setting);
  if (origin->name) {
    snprintf(origin->text, sizeof origin->text, "%s", origin->name);
  } else {
    snprintf(origin->text, sizeof origin->text, "%s:%u", file ? file : "config",
             config_setting_source_line(setting));
  }
  return origin->text;
}

static const char *type_word(int type) {
  switch (type) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
      return "an integer";
    case CONFIG_TYPE_FLOAT:
      return "a real number";
    case CONFIG_TYPE_STRING:
      return "a string";
    case CONFIG_TYPE_BOOL:
      return "a boolean";
    case CONFIG_TYPE_GROUP:
      return "a group";
    default:
      return "a list";
  }
}

static const char *const expected_word[] = {
    [KEY_BOOL] = "true or false",      [KEY_INT] = "an integer",  [KEY_REAL] = "a number",
    [KEY_TEXT] = "a string",           [KEY_CHOICE] = "a string", [KEY_INTS] = "a list of integers",
    [KEY_REALS] = "a list of numbers",
};

static bool is_int(const config_setting_t *setting) {
  int type = config_setting_type(setting);
  return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static bool is_number(const config_setting_t *setting) {
  return is_int(setting) || config_setting_type(setting) == CONFIG_TYPE_FLOAT;
}

static double number_of(const config_setting_t *setting) {
  return is_int(setting) ? (double)config_setting_get_int64(setting)
                         : config_setting_get_float(setting);
}

static enum status check_range(const struct key *key, double value, const char *where) {
  char path[128];
  REQUIRE(value >= key->minimum && value <= key->maximum, STATUS_USAGE,
          "%s: %s: expected %g to %g%s%s, found %g", where, key_path(key, path), key->minimum,
          key->maximum, *key->unit ? " " : "", key->unit, value);
  return STATUS_OK;
}

static bool is_choice(const char *choices, const char *word) {
  size_t length = strlen(word);
  for (const char *at = choices; *at;) {
    size_t end = strcspn(at, "|");
    if (end == length && strncmp(at, word, length) == 0) return true;
    at += end + (at[end] == '|');
  }
  return false;
}

static enum status store_text(char **member, const char *value) {
  char *copy = strdup(value);
  REQUIRE(copy, STATUS_FAILED, "config: out of memory");
  free(*member);
  *member = copy;
  return STATUS_OK;
}

static enum status wrong_type(const struct key *key, const config_setting_t *setting,
                              const char *where) {
  char path[128];
  FAIL(STATUS_USAGE, "%s: %s: expected %s, found %s", where, key_path(key, path),
       expected_word[key->type], type_word(config_setting_type(setting)));
}

static enum status set_text(const struct key *key, void *member, const config_setting_t *setting,
                            const char *where) {
  if (config_setting_type(setting) != CONFIG_TYPE_STRING) return wrong_type(key, setting, where);
  const char *value = config_setting_get_string(setting);
  char path[128];
  if (key->type == KEY_CHOICE)
    REQUIRE(is_choice(key->choices, value), STATUS_USAGE,
            "%s: %s: expected one of %s, found \"%s\"", where, key_path(key, path), key->choices,
            value);
  return store_text(member, value);
}

static enum status set_scalar(const struct key *key, void *member, const config_setting_t *setting,
                              const char *where) {
  if (key->type == KEY_BOOL) {
    if (config_setting_type(setting) != CONFIG_TYPE_BOOL) return wrong_type(key, setting, where);
    *(bool *)member = config_setting_get_bool(setting);
    return STATUS_OK;
  }
  if (key->type == KEY_INT ? !is_int(setting) : !is_number(setting))
    return wrong_type(key, setting, where);
  TRY(check_range(key, number_of(setting), where));
  if (key->type == KEY_INT) {
    *(int64_t *)member = config_setting_get_int64(setting);
  } else {
    *(double *)member = number_of(setting);
  }
  return STATUS_OK;
}

static enum status set_list(const struct key *key, void *member, const config_setting_t *setting,
                            const char *where) {
  int type = config_setting_type(setting);
  if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) return wrong_type(key, setting, where);
  int count = config_setting_length(setting);
  char path[128];
  REQUIRE(count <= CONFIG_LIST_LENGTH, STATUS_USAGE, "%s: %s: expected at most %d values, found %d",
          where, key_path(key, path), CONFIG_LIST_LENGTH, count);
  struct int_list *ints = member;
  struct real_list *reals = member;
  for (int i = 0; i < count; i++) {
    const config_setting_t *item = config_setting_get_elem(setting, (unsigned)i);
    if (key->type == KEY_INTS ? !is_int(item) : !is_number(item))
      return wrong_type(key, item, where);
    TRY(check_range(key, number_of(item), where));
    if (key->type == KEY_INTS) {
      ints->value[i] = config_setting_get_int64(item);
    } else {
      reals->value[i] = number_of(item);
    }
  }
  *(int *)member = count; /* the first member of both lists */
  return STATUS_OK;
}

static enum status (*const setters[])(const struct key *, void *, const config_setting_t *,
                                      const char *) = {
    [KEY_BOOL] = set_scalar, [KEY_INT] = set_scalar, [KEY_REAL] = set_scalar, [KEY_TEXT] = set_text,
    [KEY_CHOICE] = set_text, [KEY_INTS] = set_list,  [KEY_REALS] = set_list,
};

static enum status unknown_key(const char *path, const char *where) {
  char nearest[128];
  const char *found = key_nearest(path, nearest);
  FAIL(STATUS_USAGE, "%s: unknown key %s%s%s%s", where, path, found ? "; did you mean " : "",
       found ? found : "", found ? "?" : "");
}

static enum status take_setting(struct config *config, const config_setting_t *setting,
                                const char *prefix, struct origin *origin) {
  char path[128];
  int length = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "",
                        config_setting_name(setting));
  const char *where = origin_of(origin, setting);
  REQUIRE(length < (int)sizeof path, STATUS_USAGE, "%s: a key of more than 127 characters", where);
  const struct key *key = key_find(path);
  if (key) return setters[key->type](key, (char *)config + key->offset, setting, where);
  if (config_setting_type(setting) != CONFIG_TYPE_GROUP) return unknown_key(path, where);
  for (int i = 0; i < config_setting_length(setting); i++)
    TRY(take_setting(config, config_setting_get_elem(setting, (unsigned)i), path, origin));
  return STATUS_OK;
}

static enum status take_all(struct config *config, const config_t *parsed, struct origin *origin) {
  const config_setting_t *root = config_root_setting(parsed);
  for (int i = 0; i < config_setting_length(root); i++) {
    const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
    bool base = strcmp(config_setting_name(setting), "base") == 0; /* see take_base */
    if (!base) TRY(take_setting(config, setting, "", origin));
  }
  return STATUS_OK;
}

static enum status syntax_error(const config_t *parsed, const char *name) {
  const char *file = config_error_file(parsed);
  FAIL(STATUS_USAGE, "%s:%d: %s", file ? file : name, config_error_line(parsed),
       config_error_text(parsed));
}

static enum status default_of(struct config *config, const struct key *key) {
  char path[128];
  bool list = key->type == KEY_INTS || key->type == KEY_REALS;
  bool text = key->type == KEY_TEXT || key->type == KEY_CHOICE;
  bool large = key->type == KEY_INT && strlen(key->default_value) > 9;
  char *assignment = file_format("%s=%s%s%s", key_path(key, path),
                                 list   ? "("
                                 : text ? "\""
                                        : "",
                                 key->default_value,
                                 list    ? ")"
                                 : text  ? "\""
                                 : large ? "L"
                                         : "");
  REQUIRE(assignment, STATUS_FAILED, "config: out of memory");
  enum status status = config_override(config, assignment);
  free(assignment);
  return status;
}

enum status config_defaults(struct config *config) {
  *config = (struct config){0};
  for (int i = 0; i < config_key_count; i++) TRY(default_of(config, &config_keys[i]));
  return STATUS_OK;
}

/* path's folder with `name` behind it (a new string), or `name` alone where it is absolute. */
static char *beside(const char *path, const char *name) {
  const char *slash = strrchr(path, '/');
  if (!slash || *name == '/') return strdup(name);
  return file_format("%.*s/%s", (int)(slash - path), path, name);
}

static enum status take_file(struct config *config, const char *path, int depth);

/* base = "FILE": that file's settings first, so that this one's replace them. */
static enum status take_base(struct config *config, const config_t *parsed, const char *path,
                             int depth) {
  const config_setting_t *base = config_lookup(parsed, "base");
  if (!base) return STATUS_OK;
  struct origin origin = {0};
  const char *where = origin_of(&origin, base);
  const char *name = config_setting_get_string(base);
  REQUIRE(name, STATUS_USAGE, "%s: base: expected a string, found %s", where,
          type_word(config_setting_type(base)));
  REQUIRE(depth < DEEPEST_BASE, STATUS_USAGE,
          "%s: base: expected at most %d files behind each other", where, DEEPEST_BASE);
  char *file = beside(path, name);
  REQUIRE(file, STATUS_FAILED, "config: out of memory");
  enum status status = take_file(config, file, depth + 1);
  free(file);
  return status;
}

static enum status take_parsed(struct config *config, config_t *parsed, const char *path,
                               int depth) {
  char *folder = beside(path, ".");
  REQUIRE(folder, STATUS_FAILED, "config: out of memory");
  config_set_include_dir(parsed, folder);
  free(folder);
  if (!config_read_file(parsed, path)) return syntax_error(parsed, path);
  TRY(take_base(config, parsed, path, depth));
  struct origin origin = {0};
  return take_all(config, parsed, &origin);
}

static enum status take_file(struct config *config, const char *path, int depth) {
  FILE *probe = fopen(path, "r");
  REQUIRE(probe, STATUS_USAGE, "%s: cannot open the config: %s", path, strerror(errno));
  fclose(probe);
  REQUIRE(!file_is_directory(path), STATUS_USAGE, "%s: expected a config file, found a folder",
          path);
  config_t parsed;
  config_init(&parsed);
  enum status status = take_parsed(config, &parsed, path, depth);
  config_destroy(&parsed);
  return status;
}

enum status config_open(struct config *config, const char *path) {
  TRY(config_defaults(config));
  return path ? take_file(config, path, 0) : STATUS_OK;
}

static enum status take_text(struct config *config, const char *text, const char *name) {
  config_t parsed;
  config_init(&parsed);
  struct origin origin = {.name = name};
  enum status status = config_read_string(&parsed, text) ? take_all(config, &parsed, &origin)
                                                         : syntax_error(&parsed, name);
  config_destroy(&parsed);
  return status;
}

enum status config_parse(struct config *config, const char *text, const char *name) {
  TRY(config_defaults(config));
  return take_text(config, text, name);
}

/* The value of an override as a setting called v: as written, or else as a string. */
static bool parse_value(config_t *parsed, const char *value) {
  char *plain = file_format("v = %s;", value), *quoted = file_format("v = \"%s\";", value);
  for (char *at = plain; at && *at && *at != '"';
       at++) /* [1.5, 2] is no array to libconfig, (1.5, 2) a list */
    *at = *at == '[' ? '(' : *at == ']' ? ')' : *at;
  bool fine = plain && config_read_string(parsed, plain) == CONFIG_TRUE;
  if (!fine && quoted && !strpbrk(value, "\"\\\n")) {
    config_destroy(parsed);
    config_init(parsed);
    fine = config_read_string(parsed, quoted) == CONFIG_TRUE;
  }
  free(plain);
  free(quoted);
  return fine;
}

enum status config_override(struct config *config, const char *assignment) {
  const char *equals = strchr(assignment, '=');
  REQUIRE(equals && equals > assignment, STATUS_USAGE,
          "expected key=value after the config, found \"%s\"", assignment);
  char path[128];
  snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
  const struct key *key = key_find(path);
  if (!key) return unknown_key(path, "command line");
  config_t parsed;
  config_init(&parsed);
  enum status status;
  if (parse_value(&parsed, equals + 1)) {
    status = setters[key->type](key, (char *)config + key->offset, config_lookup(&parsed, "v"),
                                "command line");
  } else {
    status = status_fail(STATUS_USAGE, __FILE__, __LINE__,
                         "command line: %s: cannot read the value \"%s\"", path, equals + 1);
  }
  config_destroy(&parsed);
  return status;
}

void config_close(struct config *config) {
  for (int i = 0; i < config_key_count; i++) {
    const struct key *key = &config_keys[i];
    if (key->type == KEY_TEXT || key->type == KEY_CHOICE)
      free(*(char **)((char *)config + key->offset));
  }
  *config = (struct config){0};
}
