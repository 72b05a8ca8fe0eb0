/* The volumes that predict is asked about: files, folders of volumes, subjects' folders. */
#pragma once
#include "config/config.h"
#include "data/discover.h"

struct volume_list {
  struct subject_source *volumes; /* id: what its results are called */
  int count;
};

/* Each word is a volume, or files of its channels separated by ';'; a subject's folder of layout
 * totalsegmentator, called as the folder; or a folder of volumes, where NAME_0000, NAME_0001, ...
 * are the channels of one and NAME_label is passed over. Results are called after every
 * step-th volume, the first one's and so on. STATUS_USAGE when there are none, two of these have
 * the same name, or one volume has not data.channels files or one; names the word. On failure *list
 * is left zeroed. */
CHECKED enum status volume_list_find(const struct config *config, const char *const *words,
                                     int count, int step, struct volume_list *list);

/* Accepts a zeroed one. */
void volume_list_close(struct volume_list *list);
