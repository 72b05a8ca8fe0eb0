/* inspect: what is this file? Chosen by its first bytes, not by its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "command/options.h"
#include "data/shard.h"
#include "store/checkpoint.h"
#include "volume/volume.h"

static void print_tensors(const struct checkpoint *checkpoint, FILE *out) {
  for (int i = 0; i < checkpoint->count; i++) {
    const struct stored_tensor *tensor = &checkpoint->tensors[i];
    fprintf(out, "  %-56s %s [", tensor->name, tensor->dtype);
    for (int k = 0; k < tensor->rank; k++)
      fprintf(out, "%s%lld", k ? ", " : "", (long long)tensor->extent[k]);
    fprintf(out, "]  crc32c %08x\n", file_checksum(0, tensor->data, tensor->bytes));
  }
}

static void print_metadata(const struct checkpoint *checkpoint, FILE *out) {
  const char *key;
  json_t *value;
  json_object_foreach(checkpoint->metadata, key, value) {
    if (strcmp(key, "config") == 0) continue; /* long; printed last */
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    fprintf(out, "  %s: %s\n", key, text ? text : "?");
    free(text);
  }
  const char *config = json_string_value(json_object_get(checkpoint->metadata, "config"));
  if (config) fprintf(out, "config:\n%s", config);
}

static enum status inspect_checkpoint(const char *path, FILE *out) {
  struct checkpoint checkpoint = {0};
  TRY(checkpoint_read(path, &checkpoint));
  fprintf(out, "%s: checkpoint, all checksums right\ntensors: %d\n", path, checkpoint.count);
  print_tensors(&checkpoint, out);
  fprintf(out, "metadata:\n");
  print_metadata(&checkpoint, out);
  checkpoint_close(&checkpoint);
  return STATUS_OK;
}

static const struct {
  const char *magic;
  enum status (*inspect)(const char *path, FILE *out);
} kinds[] = {
    {"\x89HDF\r\n\x1a\n", shard_inspect},
    {"MEDTRAIN", inspect_checkpoint},
};

static enum status inspect_file(const char *path) {
  unsigned char first[8] = {0};
  FILE *file = fopen(path, "rb");
  REQUIRE(file, STATUS_FAILED, "%s: cannot open it", path);
  size_t bytes = fread(first, 1, sizeof first, file);
  fclose(file);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (bytes == sizeof first && memcmp(first, kinds[i].magic, sizeof first) == 0)
      return kinds[i].inspect(path, stdout);
  return volume_inspect(path, stdout);
}

static enum status inspect_command(const struct invocation *invocation) {
  struct words words;
  TRY(options_sort(invocation, NULL, &words));
  REQUIRE(words.positional_count > 0, STATUS_USAGE, "inspect: expected a file");
  for (int i = 0; i < words.positional_count; i++) TRY(inspect_file(words.positional[i]));
  return STATUS_OK;
}

extern const struct command command_inspect;
const struct command command_inspect = {
    .name = "inspect",
    .usage = "FILE...",
    .help = "what is in a NIfTI file, shard, master file or checkpoint; verifies checksums",
    .run = inspect_command,
};
