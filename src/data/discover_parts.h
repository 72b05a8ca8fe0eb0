/* What the layouts share: the list they add to. */
#pragma once
#include <stddef.h>
#include "data/discover.h"

struct subject_list {
  struct subject_source *subjects;
  int count;
};

/* Adds a subject. Takes image and label over, also on failure; the id is copied. split: -1 where
 * the layout says none. */
CHECKED enum status discover_add(struct subject_list *list, const char *id, char *image,
                                 char *label, int split);

/* Adds the file of the last subject's next channel, which it takes over, also on failure; NULL: out
 * of memory. */
CHECKED enum status discover_add_channel(struct subject_list *list, char *path);

/* The path of folder/stem with whichever of a volume's suffixes exists (caller frees); NULL when
 * none does. */
char *discover_volume(const char *folder, const char *stem);

/* The file name without a volume's suffix; returns its length, 0 for what is no volume. */
size_t discover_stem(const char *name, char stem[256]);

/* One per layout (see discover.h). */
CHECKED enum status discover_folders(const struct config *config, struct subject_list *list);
CHECKED enum status discover_plain(const struct config *config, struct subject_list *list);
CHECKED enum status discover_oasis(const struct config *config, struct subject_list *list);
CHECKED enum status discover_mmwhs(const struct config *config, struct subject_list *list);
CHECKED enum status discover_totalsegmentator(const struct config *config,
                                              struct subject_list *list);
CHECKED enum status discover_csv(const struct config *config, struct subject_list *list);
