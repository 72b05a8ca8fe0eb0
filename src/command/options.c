/* Sorting the words of the command line. */
#include "command/options.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

static const struct option *find_option(const struct option *options, const char *word) {
  for (; options && options->name; options++)
    if (strcmp(options->name, word) == 0) return options;
  return NULL;
}

static bool is_override(const char *word) {
  size_t key = strcspn(word, "=/");
  return key > 0 && word[key] == '=';
}

static enum status take_word(struct words *words, const char *word) {
  REQUIRE(words->positional_count < OPTIONS_MAX_WORDS && words->override_count < OPTIONS_MAX_WORDS,
          STATUS_USAGE, "expected at most %d words on the command line", OPTIONS_MAX_WORDS);
  if (is_override(word)) {
    words->override[words->override_count++] = word;
  } else {
    words->positional[words->positional_count++] = word;
  }
  return STATUS_OK;
}

enum status options_sort(const struct invocation *invocation, const struct option *options,
                         struct words *words) {
  *words = (struct words){0};
  bool only_words = false;
  for (int i = 0; i < invocation->count; i++) {
    const char *word = invocation->words[i];
    if (only_words || strncmp(word, "--", 2) != 0) {
      TRY(take_word(words, word));
      continue;
    }
    only_words = word[2] == 0;
    if (only_words) continue;
    const struct option *option = find_option(options, word);
    REQUIRE(option, STATUS_USAGE, "unknown option %s; see --help", word);
    if (!option->value) {
      *option->given = true;
      continue;
    }
    REQUIRE(i + 1 < invocation->count, STATUS_USAGE, "%s: expected a value after it", word);
    *option->value = invocation->words[++i];
  }
  return STATUS_OK;
}

static enum status read_config(const struct invocation *invocation, const struct option *options,
                               struct words *words, struct config *config) {
  TRY(options_sort(invocation, options, words));
  REQUIRE(words->positional_count > 0, STATUS_USAGE, "expected a config file; see --help");
  TRY(config_open(config, words->positional[0]));
  words->positional_count--;
  memmove(words->positional, words->positional + 1,
          sizeof words->positional[0] * (size_t)words->positional_count);
  for (int i = 0; i < words->override_count; i++) TRY(config_override(config, words->override[i]));
  return STATUS_OK;
}

static enum log_level level_of(const char *name) {
  return strcmp(name, "debug") == 0  ? LOG_DEBUG
         : strcmp(name, "info") == 0 ? LOG_INFO
                                     : LOG_WARNING;
}

enum status options_open_config(const struct invocation *invocation, const struct option *options,
                                struct words *words, struct config *config) {
  struct comm *comm = invocation->comm;
  *config = (struct config){0};
  TRY(comm_agree(comm, read_config(invocation, options, words, config)));
  comm->deadline = config->comm.deadline;
  log_setup(comm->rank, comm->size, level_of(config->output.level));
  char *text = NULL;
  TRY(comm_agree(comm, config_to_text(config, &text)));
  enum status status = comm_same(comm, "the config", text, strlen(text));
  free(text);
  return status;
}

enum status options_number(const char *name, const char *text, long low, long high, long *number) {
  char *end;
  errno = 0;
  *number = strtol(text, &end, 10);
  REQUIRE(end != text && *end == 0 && errno == 0 && *number >= low && *number <= high, STATUS_USAGE,
          "%s: expected a whole number from %ld to %ld, found \"%s\"", name, low, high, text);
  return STATUS_OK;
}

enum status options_real(const char *name, const char *text, bool zero, double *number) {
  char *end;
  if (!text) return STATUS_OK;
  double value = strtod(text, &end);
  REQUIRE(end != text && *end == 0 && isfinite(value) && (value > 0 || (zero && value == 0)),
          STATUS_USAGE, "%s: expected a number %s 0, found \"%s\"", name,
          zero ? "of at least" : "above", text);
  *number = value;
  return STATUS_OK;
}
