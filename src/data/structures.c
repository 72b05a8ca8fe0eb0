/* The published order is that of the classes 1 to 117 of TotalSegmentator's task "total", version 2
 * (github.com/wasserth/TotalSegmentator, totalsegmentator/map_to_binary.py). */
#include "data/structures.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "data/discover_parts.h"

static const char *const published[] = {
#define STRUCTURE(name) #name,
#include "data/structures.def"
#undef STRUCTURE
};
enum { PUBLISHED = sizeof published / sizeof *published };

size_t structures_planes(int structures) {
  return (size_t)(structures + 7) / 8;
}

char *structures_mask(const char *folder, const char *name) {
  return discover_volume(folder, name);
}

void structures_free(struct structure_list *list) {
  for (int i = 0; i < list->count; i++) free(list->names[i]);
  free(list->names);
  *list = (struct structure_list){0};
}

/* Where a name is in a sorted list, or where it belongs. */
static int find_place(const struct structure_list *list, const char *name, bool *there) {
  int low = 0, high = list->count;
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (strcmp(list->names[middle], name) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  *there = low < list->count && strcmp(list->names[low], name) == 0;
  return low;
}

static enum status insert(struct structure_list *list, int place, const char *name) {
  REQUIRE(list->count < STRUCTURE_LIMIT, STATUS_FAILED,
          "structures: expected at most %d, found more", STRUCTURE_LIMIT);
  char **longer = realloc(list->names, sizeof *longer * (size_t)(list->count + 1));
  char *copy = strdup(name);
  if (longer) list->names = longer;
  if (!longer || !copy) free(copy);
  REQUIRE(longer && copy, STATUS_FAILED, "out of memory for the list of structures");
  memmove(longer + place + 1, longer + place, sizeof *longer * (size_t)(list->count - place));
  longer[place] = copy;
  list->count++;
  return STATUS_OK;
}

static enum status add_folder(struct structure_list *all, const char *folder) {
  char **names = NULL;
  int count = 0;
  TRY(file_list(folder, "", &names, &count));
  enum status status = STATUS_OK;
  for (int i = 0; i < count && !status; i++) {
    char stem[256];
    if (!discover_stem(names[i], stem)) continue;
    bool there;
    int place = find_place(all, stem, &there);
    if (!there) status = insert(all, place, stem);
  }
  file_list_free(names, count);
  return status;
}

static enum status take_wanted(const char *wanted, const struct structure_list *all,
                               struct structure_list *list) {
  char name[256];
  for (const char *at = wanted; *at;) {
    at += strspn(at, ", \t\n");
    size_t length = strcspn(at, ", \t\n");
    if (!length) break;
    REQUIRE(length < sizeof name, STATUS_USAGE,
            "data.structures: expected names of at most 255 bytes, found one of %zu", length);
    memcpy(name, at, length);
    name[length] = 0;
    bool there;
    find_place(all, name, &there);
    REQUIRE(there, STATUS_USAGE,
            "data.structures: expected structures that some subject has a mask of, found \"%s\"",
            name);
    for (int i = 0; i < list->count; i++)
      REQUIRE(strcmp(list->names[i], name) != 0, STATUS_USAGE,
              "data.structures: expected each structure once, found \"%s\" twice", name);
    TRY(insert(list, list->count, name));
    at += length;
  }
  REQUIRE(list->count > 0, STATUS_USAGE,
          "data.structures: expected names separated by commas, found none");
  return STATUS_OK;
}

static bool is_published(const char *name) {
  for (int i = 0; i < PUBLISHED; i++)
    if (strcmp(published[i], name) == 0) return true;
  return false;
}

static enum status take_all(const struct structure_list *all, struct structure_list *list) {
  for (int i = 0; i < PUBLISHED; i++) {
    bool there;
    find_place(all, published[i], &there);
    if (there) TRY(insert(list, list->count, published[i]));
  }
  for (int i = 0; i < all->count; i++)
    if (!is_published(all->names[i])) TRY(insert(list, list->count, all->names[i]));
  return STATUS_OK;
}

static enum status find(const struct config *config, const struct subject_source *sources,
                        int count, struct structure_list *all, struct structure_list *list) {
  for (int i = 0; i < count; i++) TRY(add_folder(all, sources[i].masks));
  REQUIRE(all->count > 0, STATUS_FAILED, "%s: expected masks STRUCTURE.nii.gz, found none",
          sources[0].masks);
  const char *wanted = config->data.structures;
  return wanted[0] ? take_wanted(wanted, all, list) : take_all(all, list);
}

enum status structures_find(const struct config *config, const struct subject_source *sources,
                            int count, struct structure_list *list) {
  struct structure_list all = {0};
  *list = (struct structure_list){0};
  if (!sources[0].masks) return STATUS_OK;
  enum status status = find(config, sources, count, &all, list);
  structures_free(&all);
  if (status) structures_free(list);
  return status;
}

/* Whether two names are alike but for one part, "left" in the one and "right" in the other. */
static bool is_mirror(const char *a, const char *b, const char *side, const char *other) {
  size_t length = strlen(side);
  for (const char *at = strstr(a, side); at; at = strstr(at + 1, side)) {
    size_t before = (size_t)(at - a);
    if ((before && at[-1] != '_') || (at[length] && at[length] != '_')) continue;
    if (strncmp(a, b, before) != 0 || strncmp(b + before, other, strlen(other)) != 0) continue;
    if (strcmp(at + length, b + before + strlen(other)) == 0) return true;
  }
  return false;
}

static bool has_part(const char *name, const char *part) {
  size_t length = strlen(part);
  for (const char *at = strstr(name, part); at; at = strstr(at + 1, part))
    if ((at == name || at[-1] == '_') && (!at[length] || at[length] == '_')) return true;
  return false;
}

int structures_mirror(const char *const *names, int count, int c) {
  if (!has_part(names[c], "left") && !has_part(names[c], "right")) return c;
  for (int i = 0; i < count; i++)
    if (is_mirror(names[c], names[i], "left", "right") ||
        is_mirror(names[c], names[i], "right", "left"))
      return i;
  return -1;
}
