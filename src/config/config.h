/* The configuration: a libconfig file (with @include) and key=value overrides, checked against
 * keys.def and stored as plain members: config.train.epochs. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/status.h"

enum { CONFIG_LIST_LENGTH = 64 };

struct int_list {
  int count;
  int64_t value[CONFIG_LIST_LENGTH];
};

struct real_list {
  int count;
  double value[CONFIG_LIST_LENGTH];
};

struct config {
#define SECTION(section) struct {
#define END_SECTION(section) \
  }                          \
  section;
#define BOOL_KEY(section, name, ...) bool name;
#define INT_KEY(section, name, ...) int64_t name;
#define REAL_KEY(section, name, ...) double name;
#define TEXT_KEY(section, name, ...) char *name;
#define CHOICE_KEY(section, name, ...) char *name;
#define INTS_KEY(section, name, ...) struct int_list name;
#define REALS_KEY(section, name, ...) struct real_list name;
#include "config/keys.def"
#undef SECTION
#undef END_SECTION
#undef BOOL_KEY
#undef INT_KEY
#undef REAL_KEY
#undef TEXT_KEY
#undef CHOICE_KEY
#undef INTS_KEY
#undef REALS_KEY
};

/* Fills in all defaults. */
CHECKED enum status config_defaults(struct config *config);

/* Defaults, then the file (NULL: none), behind the file that it names as base = "FILE" (relative to
 * its own folder): what both set is as the file says. libconfig's @include works, too, for settings
 * that only one of them has. Unknown keys, wrong types and values out of range are STATUS_USAGE
 * errors that name file, line, key, expected, found, and the nearest right key. */
CHECKED enum status config_open(struct config *config, const char *path);

/* Applies one override "key=value"; the value is written as in the file, and a bare word is a
 * string. */
CHECKED enum status config_override(struct config *config, const char *assignment);

/* The same from a whole text in the file's syntax; `name` stands for it in messages. Defaults
 * first. */
CHECKED enum status config_parse(struct config *config, const char *text, const char *name);

/* Every key with its value, in the file's syntax, so that reading it again gives the same config.
 */
CHECKED enum status config_print(const struct config *config, FILE *out);

/* config_print into a new string (caller frees). */
CHECKED enum status config_to_text(const struct config *config, char **text);

/* The keys marked SAME whose values differ, one line each ("train.slots: 8 in the checkpoint, 4
 * now") in a new string (caller frees), "" when none. */
CHECKED enum status config_compare(const struct config *before, const struct config *now,
                                   char **differences);

/* The kernel forced for an operator by kernels.NAME, or NULL for the best. Matches
 * plan_options.forced_kernel. */
const char *config_forced_kernel(void *config, const char *op);

/* Key, default, range, unit and help of every key: for --help. */
void config_help(FILE *out);

/* Accepts a zeroed config. */
void config_close(struct config *config);
