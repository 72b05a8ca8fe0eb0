/* The table of commands. */
#include "command/command.h"
#include <string.h>

#define COMMAND(name) extern const struct command command_##name;
#include "command/commands.def"
#undef COMMAND

const struct command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "command/commands.def"
#undef COMMAND
    NULL};

const struct command *command_find(const char *name) {
  for (int i = 0; commands[i]; i++)
    if (strcmp(commands[i]->name, name) == 0) return commands[i];
  return NULL;
}
