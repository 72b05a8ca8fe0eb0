/* Words of the command line: options with or without a value, key=value overrides, and the rest. */
#pragma once
#include "command/command.h"

enum { OPTIONS_MAX_WORDS = 256 };

struct option {
  const char *name;   /* "--output" */
  const char **value; /* set to the word after the option; NULL: it takes none */
  bool *given;        /* set where an option without a value is given */
};

/* Sorts the words: options (NULL-terminated table) are stored, "--" ends them, words that contain
 * '=' before any '/' are overrides, the rest are positional. Unknown options are STATUS_USAGE
 * errors. */
struct words {
  int positional_count, override_count;
  const char *positional[OPTIONS_MAX_WORDS], *override[OPTIONS_MAX_WORDS];
};
CHECKED enum status options_sort(const struct invocation *invocation, const struct option *options,
                                 struct words *words);

/* Collective. Sorts, reads the config named by the first positional word (removed from `words`),
 * applies the overrides, sets the log level and the communicator's deadline. An error is the same
 * on all ranks. */
CHECKED enum status options_open_config(const struct invocation *invocation,
                                        const struct option *options, struct words *words,
                                        struct config *config);

/* A whole number from `low` to `high`. */
CHECKED enum status options_number(const char *name, const char *text, long low, long high,
                                   long *number);

/* A number greater than 0, or 0 where `zero` allows it; unchanged where text is NULL. */
CHECKED enum status options_real(const char *name, const char *text, bool zero, double *number);
