/* reorient: a file's axes, permuted and flipped. */
#include <string.h>
#include "base/log.h"
#include "command/options.h"
#include "volume/volume.h"

static const struct {
  const char *name;
  enum volume_unknown meaning;
} unknowns[] = {{"error", UNKNOWN_ERROR}, {"ras", UNKNOWN_RAS}, {"las", UNKNOWN_LAS}};

static enum status find_unknown(const char *name, enum volume_unknown *meaning) {
  for (size_t i = 0; i < sizeof unknowns / sizeof *unknowns; i++)
    if (strcmp(unknowns[i].name, name) == 0) {
      *meaning = unknowns[i].meaning;
      return STATUS_OK;
    }
  FAIL(STATUS_USAGE, "--unknown: expected error, ras or las, found \"%s\"", name);
}

static void say(const char *from, const char *to, const char *code, const struct volume *input) {
  char before[4];
  affine_get_orientation(&input->affine, before);
  for (const char *line = input->warnings; line && *line;) {
    int length = (int)strcspn(line, "\n");
    log_warning("%s: %.*s", from, length, line);
    line += length + (line[length] == '\n');
  }
  log_info("%s: %s to %s, %s", from, before, code, to);
}

static enum status reorient_command(const struct invocation *invocation) {
  const char *code = "RAS", *unknown = "error";
  const struct option options[] = {{"--to", &code, NULL}, {"--unknown", &unknown, NULL}, {0}};
  struct volume_policy policy = {.allow_channels = true};
  struct volume input;
  struct words words;
  TRY(options_sort(invocation, options, &words));
  REQUIRE(words.positional_count == 2 && words.override_count == 0, STATUS_USAGE,
          "reorient: expected INPUT OUTPUT, found %d words",
          words.positional_count + words.override_count);
  TRY(find_unknown(unknown, &policy.unknown_orientation));
  const char *from = words.positional[0], *to = words.positional[1];
  TRY(volume_reorient_file(from, to, code, &policy, &input));
  say(from, to, code, &input);
  volume_close(&input);
  return STATUS_OK;
}

extern const struct command command_reorient;
const struct command command_reorient = {
    .name = "reorient",
    .usage = "INPUT OUTPUT [--to RAS] [--unknown error|ras|las]",
    .help =
        "turns a NIfTI file's axes by permutation and flips, bit for bit; --unknown: without "
        "sform and qform",
    .run = reorient_command,
};
