/* From words of the command line to volumes. */
#include "task/volume_list.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

static const char *const suffixes[] = {".nii.gz", ".nii", ".hdr.gz", ".hdr"};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

/* The bytes of a name before its suffix; 0 if it is no volume's. */
static size_t stem_bytes(const char *name) {
  size_t bytes = strlen(name);
  for (int i = 0; i < SUFFIXES; i++) {
    size_t suffix = strlen(suffixes[i]);
    if (bytes > suffix && strcmp(name + bytes - suffix, suffixes[i]) == 0) return bytes - suffix;
  }
  return 0;
}

static bool stem_ends(const char *name, const char *end) {
  size_t stem = stem_bytes(name), bytes = strlen(end);
  return stem > bytes && strncmp(name + stem - bytes, end, bytes) == 0;
}

static const char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* The file's name without folders, suffix and channel. */
static char *id_of(const char *path) {
  const char *name = name_of(path);
  size_t stem = stem_bytes(name);
  if (stem == 0) stem = strlen(name);
  if (stem_ends(name, "_0000")) stem -= strlen("_0000");
  return strndup(name, stem);
}

/* --- one volume --- */

static enum status add_volume(struct volume_list *list, struct subject_source **added) {
  size_t bytes = sizeof *list->volumes * (size_t)(list->count + 1);
  struct subject_source *longer = realloc(list->volumes, bytes);
  REQUIRE(longer, STATUS_FAILED, "predict: out of memory");
  list->volumes = longer;
  *added = &list->volumes[list->count++];
  **added = (struct subject_source){.split = -1};
  return STATUS_OK;
}

static enum status add_file(struct subject_source *volume, char *path) {
  REQUIRE(path, STATUS_FAILED, "predict: out of memory");
  if (!volume->image) {
    volume->image = path;
    return STATUS_OK;
  }
  size_t bytes = sizeof(char *) * (size_t)(volume->channel_file_count + 1);
  char **longer = realloc(volume->channel_files, bytes);
  if (!longer) free(path);
  REQUIRE(longer, STATUS_FAILED, "predict: out of memory");
  volume->channel_files = longer;
  volume->channel_files[volume->channel_file_count++] = path;
  return STATUS_OK;
}

static enum status finish_volume(const struct config *config, struct subject_source *volume,
                                 char *id) {
  int files = 1 + volume->channel_file_count, channels = (int)config->data.channels;
  volume->id = id;
  REQUIRE(id, STATUS_FAILED, "predict: out of memory");
  REQUIRE(files == 1 || files == channels, STATUS_USAGE,
          "%s: expected one file or %d (data.channels), found %d", volume->image, channels, files);
  return STATUS_OK;
}

/* "a.nii.gz;b.nii.gz" */
static enum status add_files(const struct config *config, struct volume_list *list,
                             const char *word) {
  struct subject_source *volume = NULL;
  TRY(add_volume(list, &volume));
  for (const char *from = word; from;) {
    const char *end = strchr(from, ';');
    TRY(add_file(volume, end ? strndup(from, (size_t)(end - from)) : strdup(from)));
    from = end ? end + 1 : NULL;
  }
  return finish_volume(config, volume, id_of(volume->image));
}

/* --- folders --- */

/* The other channels of a file NAME_0000.nii.gz. */
static enum status add_channels(struct subject_source *volume) {
  const char *mark = strstr(name_of(volume->image), "_0000."), *path = volume->image;
  size_t before = (size_t)(mark - path);
  for (int channel = 1;; channel++) {
    char *next = file_format("%.*s_%04d%s", (int)before, path, channel, mark + strlen("_0000"));
    REQUIRE(next, STATUS_FAILED, "predict: out of memory");
    bool there = file_exists(next);
    if (!there) free(next);
    if (!there) return STATUS_OK;
    TRY(add_file(volume, next));
  }
}

/* Whether a name in a folder begins a volume: not a label map, and not a later channel. */
static bool begins_volume(const struct config *config, const char *name) {
  char channel[32];
  if (stem_bytes(name) == 0 || name[0] == '.' || stem_ends(name, "_label")) return false;
  for (int64_t i = 1; i < config->data.channels; i++) {
    snprintf(channel, sizeof channel, "_%04lld", (long long)i);
    if (stem_ends(name, channel)) return false;
  }
  return true;
}

static enum status add_name(const struct config *config, struct volume_list *list,
                            const char *folder, const char *name) {
  struct subject_source *volume = NULL;
  if (!begins_volume(config, name)) return STATUS_OK;
  char *path = file_join(folder, name);
  bool is_folder = path && file_is_directory(path);
  enum status status = is_folder ? STATUS_OK : add_volume(list, &volume);
  if (is_folder || status) free(path);
  if (is_folder || status) return status;
  TRY(add_file(volume, path));
  if (config->data.channels > 1 && stem_ends(name, "_0000")) TRY(add_channels(volume));
  return finish_volume(config, volume, id_of(volume->image));
}

static enum status add_folder(const struct config *config, struct volume_list *list,
                              const char *folder) {
  char **names;
  int count, before = list->count;
  TRY(file_list(folder, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; i < count && !status; i++) status = add_name(config, list, folder, names[i]);
  file_list_free(names, count);
  REQUIRE(status || list->count > before, STATUS_USAGE,
          "%s: expected volumes (.nii.gz, .nii, .hdr) in the folder, found none", folder);
  return status;
}

/* A subject of layout totalsegmentator: its image, called as the folder. *added: whether it is one.
 */
static enum status add_subject(const struct config *config, struct volume_list *list,
                               const char *folder, bool *added) {
  static const char *const images[] = {"ct.nii.gz", "mri.nii.gz"};
  struct subject_source *volume = NULL;
  *added = false;
  for (int i = 0; i < 2 && !*added; i++) {
    char *path = file_join(folder, images[i]);
    REQUIRE(path, STATUS_FAILED, "predict: out of memory");
    *added = file_exists(path);
    enum status status = *added ? add_volume(list, &volume) : STATUS_OK;
    if (!*added || status) free(path);
    if (*added && !status) volume->image = path;
    TRY(status);
  }
  if (!*added) return STATUS_OK;
  size_t bytes = strlen(folder);
  while (bytes > 1 && folder[bytes - 1] == '/') bytes--;
  char *trimmed = strndup(folder, bytes), *id = trimmed ? strdup(name_of(trimmed)) : NULL;
  free(trimmed);
  return finish_volume(config, volume, id);
}

static enum status add_word(const struct config *config, struct volume_list *list,
                            const char *word) {
  bool subject = false;
  if (!file_is_directory(word)) return add_files(config, list, word);
  if (strcmp(config->data.layout, "totalsegmentator") == 0)
    TRY(add_subject(config, list, word, &subject));
  return subject ? STATUS_OK : add_folder(config, list, word);
}

/* There are volumes, and what is written of one is not written over another's. */
static enum status check_list(const struct volume_list *list, int step) {
  REQUIRE(list->count > 0, STATUS_USAGE, "predict: expected volumes or folders, found none");
  for (int i = 0; i < list->count; i += step)
    for (int k = 0; k < i; k += step)
      REQUIRE(strcmp(list->volumes[i].id, list->volumes[k].id) != 0, STATUS_USAGE,
              "predict: expected volumes with different names, found %s and %s",
              list->volumes[k].image, list->volumes[i].image);
  return STATUS_OK;
}

enum status volume_list_find(const struct config *config, const char *const *words, int count,
                             int step, struct volume_list *list) {
  enum status status = STATUS_OK;
  *list = (struct volume_list){0};
  for (int i = 0; i < count && !status; i++) status = add_word(config, list, words[i]);
  if (!status) status = check_list(list, step);
  if (status) volume_list_close(list);
  return status;
}

void volume_list_close(struct volume_list *list) {
  discover_free(list->volumes, list->count);
  *list = (struct volume_list){0};
}
