/* The rows of keys.def as data: what config.c, parse.c and write.c iterate. */
#pragma once
#include <stddef.h>
#include "config/config.h"

enum key_type { KEY_BOOL, KEY_INT, KEY_REAL, KEY_TEXT, KEY_CHOICE, KEY_INTS, KEY_REALS };

struct key {
  const char *section, *name;
  enum key_type type;
  size_t offset;             /* of the member in struct config */
  const char *default_value; /* as text */
  double minimum, maximum;
  const char *unit, *choices, *help;
  bool same; /* a resumed run must have the same value */
};

extern const struct key config_keys[];
extern const int config_key_count;

/* "train.epochs", or "seed" for keys of the root; `path` holds at least 128 bytes. Returns path. */
char *key_path(const struct key *key, char *path);

/* The key called `path`, or NULL. */
const struct key *key_find(const char *path);

/* The name most like `path`, or NULL. `nearest` holds at least 128 bytes. */
const char *key_nearest(const char *path, char *nearest);

/* A key's value in the file's syntax, into a new string (caller frees; NULL when out of memory). */
char *key_format(const struct key *key, const struct config *config);
