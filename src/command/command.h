/* The commands: one file each, one line in commands.def. */
#pragma once
#include "base/status.h"
#include "comm/comm.h"
#include "config/config.h"

/* What a command was given: the words after its name. */
struct invocation {
  struct comm *comm;
  int count;
  char **words;
};

struct command {
  const char *name;
  const char *usage; /* what follows the name */
  const char *help;  /* one line */
  /* Collective where `parallel`; the others run on one process only. */
  enum status (*run)(const struct invocation *invocation);
  bool parallel;
};

/* Every command, NULL-terminated. */
extern const struct command *const commands[];

/* NULL when there is none of that name. */
const struct command *command_find(const char *name);
