/* Layouts of files in folders: what their names say. */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/discover_parts.h"

static const char *const suffixes[] = {".nii.gz", ".nii", ".hdr", ".hdr.gz"};
enum { SUFFIX_COUNT = sizeof suffixes / sizeof *suffixes };

/* The length of a volume's file name without its suffix; 0 if it is none. */
static size_t stem_length(const char *name) {
  size_t length = strlen(name);
  for (int i = 0; i < SUFFIX_COUNT && name[0] != '.'; i++) {
    size_t tail = strlen(suffixes[i]);
    if (length > tail && strcmp(name + length - tail, suffixes[i]) == 0) return length - tail;
  }
  return 0;
}

size_t discover_stem(const char *name, char stem[256]) {
  size_t length = stem_length(name);
  if (length > 255) return 0; /* longer than a file name can be */
  memcpy(stem, name, length);
  stem[length] = 0;
  return length;
}

char *discover_volume(const char *folder, const char *stem) {
  for (int i = 0; i < SUFFIX_COUNT; i++) {
    char *path = file_format("%s/%s%s", folder, stem, suffixes[i]);
    if (path && file_exists(path)) return path;
    free(path);
  }
  return NULL;
}

/* Where a layout looks: folders of data.source. */
struct places {
  char *images, *labels;
  int channels; /* of an image; 1 also where a layout knows no files of channels */
};

/* Calls `add_one` for every name in places->images; frees the places. */
static enum status walk(struct subject_list *list, struct places *places,
                        enum status (*add_one)(struct subject_list *list,
                                               const struct places *places, const char *name)) {
  char **names = NULL;
  int count = 0;
  enum status status = places->images && places->labels
                           ? file_list(places->images, "", &names, &count)
                           : status_fail(STATUS_FAILED, __FILE__, __LINE__, "out of memory");
  for (int i = 0; !status && i < count; i++) status = add_one(list, places, names[i]);
  file_list_free(names, count);
  free(places->images);
  free(places->labels);
  return status;
}

/* The volume of a channel, where it has a file of its own (caller frees); NULL: there is none. */
static char *find_channel(const struct places *places, const char *stem, int channel) {
  char *name = file_format("%s_%04d", stem, channel);
  char *path = name ? discover_volume(places->images, name) : NULL;
  free(name);
  return path;
}

/* Whether a file is of one channel, NAME_dddd beside NAME_0000. Its stem then becomes NAME. */
static bool cut_channel(const struct places *places, char *stem, int *channel) {
  enum { TAIL = 5 };
  size_t length = strlen(stem);
  if (places->channels == 1 || length <= TAIL || stem[length - TAIL] != '_') return false;
  for (size_t i = length - TAIL + 1; i < length; i++)
    if (!isdigit((unsigned char)stem[i])) return false;
  *channel = atoi(stem + length - TAIL + 1);
  stem[length - TAIL] = 0;
  char *first = find_channel(places, stem, 0);
  if (!first) stem[length - TAIL] = '_';
  bool found = first != NULL;
  free(first);
  return found;
}

/* The last subject's files of channels 1, 2, ... */
static enum status add_channels(struct subject_list *list, const struct places *places,
                                const char *stem) {
  for (int c = 1; c < places->channels; c++) {
    char *path = find_channel(places, stem, c);
    REQUIRE(path, STATUS_FAILED,
            "%s/%s_0000: expected %d channels (data.channels), found %d: there is no %s_%04d",
            places->images, stem, places->channels, c, stem, c);
    TRY(discover_add_channel(list, path));
  }
  char *more = find_channel(places, stem, places->channels);
  bool has_more = more != NULL;
  free(more);
  REQUIRE(!has_more, STATUS_FAILED,
          "%s/%s_0000: expected %d channels (data.channels), found more: there is %s_%04d",
          places->images, stem, places->channels, stem, places->channels);
  return STATUS_OK;
}

static enum status add_from_folders(struct subject_list *list, const struct places *places,
                                    const char *name) {
  char stem[256];
  int channel = -1;
  if (!discover_stem(name, stem)) return STATUS_OK;
  if (cut_channel(places, stem, &channel) && channel > 0) return STATUS_OK;
  char *label = NULL;
  if (file_is_directory(places->labels)) {
    label = discover_volume(places->labels, stem);
    REQUIRE(label, STATUS_FAILED, "%s/%s: expected its label map %s/%s.nii.gz, found none",
            places->images, name, places->labels, stem);
  }
  TRY(discover_add(list, stem, file_join(places->images, name), label, -1));
  return channel == 0 ? add_channels(list, places, stem) : STATUS_OK;
}

enum status discover_folders(const struct config *config, struct subject_list *list) {
  struct places places = {file_join(config->data.source, "images"),
                          file_join(config->data.source, "labels"), (int)config->data.channels};
  return walk(list, &places, add_from_folders);
}

static enum status add_plain(struct subject_list *list, const struct places *places,
                             const char *name) {
  char stem[256];
  int channel = -1;
  if (!discover_stem(name, stem)) return STATUS_OK;
  if (cut_channel(places, stem, &channel) && channel > 0) return STATUS_OK;
  TRY(discover_add(list, stem, file_join(places->images, name), NULL, -1));
  return channel == 0 ? add_channels(list, places, stem) : STATUS_OK;
}

enum status discover_plain(const struct config *config, struct subject_list *list) {
  struct places places = {strdup(config->data.source), strdup(""), (int)config->data.channels};
  return walk(list, &places, add_plain);
}

static enum status add_from_mmwhs(struct subject_list *list, const struct places *places,
                                  const char *name) {
  static const char mark[] = "_image";
  char stem[256];
  size_t length = discover_stem(name, stem), tail = sizeof mark - 1;
  if (length <= tail || strcmp(stem + length - tail, mark) != 0) return STATUS_OK;
  stem[length - tail] = 0;
  char *partner = file_format("%s_label", stem);
  REQUIRE(partner, STATUS_FAILED, "out of memory");
  char *label = discover_volume(places->labels, partner);
  free(partner);
  return discover_add(list, stem, file_join(places->images, name), label, -1);
}

enum status discover_mmwhs(const struct config *config, struct subject_list *list) {
  const char *source = config->data.source, *subset = config->data.subset;
  struct places places = {file_join(source, subset), file_join(source, subset), 1};
  return walk(list, &places, add_from_mmwhs);
}

static enum status add_from_oasis(struct subject_list *list, const struct config *config,
                                  const char *name) {
  const char *labels = config->data.oasis_labels;
  if (name[0] == '.') return STATUS_OK;
  char *folder = file_join(config->data.source, name);
  char *image = folder ? discover_volume(folder, "aligned_norm") : NULL;
  char *stem = file_format("aligned_%s", labels);
  char *label = image && stem ? discover_volume(folder, stem) : NULL;
  free(stem);
  free(folder);
  if (!image) return STATUS_OK;
  if (label) return discover_add(list, name, image, label, -1);
  free(image);
  FAIL(STATUS_FAILED, "%s/%s: expected aligned_%s.nii.gz beside aligned_norm, found none",
       config->data.source, name, labels);
}

enum status discover_oasis(const struct config *config, struct subject_list *list) {
  char **names;
  int count;
  TRY(file_list(config->data.source, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; !status && i < count; i++) status = add_from_oasis(list, config, names[i]);
  file_list_free(names, count);
  return status;
}
