/* Names of classes from the config, from the file that prepare wrote, or made up. */
#include "task/segmentation_names.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "task/segmentation.h"

static enum status add_name(struct segmentation_names *names, char *name) {
  REQUIRE(name, STATUS_FAILED, "out of memory");
  char **longer = realloc(names->name, sizeof(char *) * (size_t)(names->count + 1));
  if (!longer) free(name);
  REQUIRE(longer, STATUS_FAILED, "out of memory");
  names->name = longer;
  names->name[names->count++] = name;
  return STATUS_OK;
}

static enum status take_list(const char *list, struct segmentation_names *names) {
  for (const char *at = list; *at;) {
    at += strspn(at, ", \t\n");
    size_t length = strcspn(at, ",");
    size_t bytes = length;
    while (bytes > 0 && strchr(" \t\n", at[bytes - 1])) bytes--;
    if (bytes > 0) TRY(add_name(names, strndup(at, bytes)));
    at += length;
  }
  return STATUS_OK;
}

/* The folder of data.shards, with label_map.json. */
static char *map_path(const struct config *config) {
  const char *shards = config->data.shards, *slash = strrchr(shards, '/');
  int bytes = slash ? (int)(slash - shards) + 1 : 0;
  return file_format("%.*slabel_map.json", bytes, shards);
}

/* {"liver": 0, "spleen": 1, ...}, of classes from 1 on. */
static enum status take_map(const json_t *map, int first, struct segmentation_names *names) {
  size_t count = json_object_size(map);
  for (size_t i = 0; i < count; i++) {
    const char *key, *found = NULL;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
      if (json_integer_value(value) == (json_int_t)i + first) found = key;
    }
    if (!found) return STATUS_OK; /* not ours */
    TRY(add_name(names, strdup(found)));
  }
  return STATUS_OK;
}

static enum status read_map(const struct config *config, struct segmentation_names *names) {
  char *path = map_path(config);
  REQUIRE(path, STATUS_FAILED, "out of memory");
  json_t *map = file_exists(path) ? json_load_file(path, 0, NULL) : NULL;
  enum status status =
      map ? take_map(map, segmentation_overlaps(config) ? 0 : 1, names) : STATUS_OK;
  json_decref(map);
  free(path);
  return status;
}

static enum status find(const struct config *config, int wanted, struct segmentation_names *names) {
  const char *key = segmentation_overlaps(config) ? "data.structures" : "data.label_names";
  const char *list =
      segmentation_overlaps(config) ? config->data.structures : config->data.label_names;
  TRY(take_list(list, names));
  REQUIRE(names->count == 0 || names->count == wanted, STATUS_USAGE,
          "%s: expected %d names, for model.classes = %lld, found %d", key, wanted,
          (long long)config->model.classes, names->count);
  if (names->count == 0) TRY(read_map(config, names));
  if (names->count == wanted) return STATUS_OK;
  segmentation_names_free(names);
  for (int i = 0; i < wanted; i++) TRY(add_name(names, file_format("class_%d", i + 1)));
  return STATUS_OK;
}

enum status segmentation_names_find(const struct config *config, struct segmentation_names *names) {
  int wanted = (int)config->model.classes - (segmentation_overlaps(config) ? 0 : 1);
  *names = (struct segmentation_names){0};
  enum status status = find(config, wanted, names);
  if (status) segmentation_names_free(names);
  return status;
}

void segmentation_names_free(struct segmentation_names *names) {
  for (int i = 0; i < names->count; i++) free(names->name[i]);
  free(names->name);
  *names = (struct segmentation_names){0};
}
