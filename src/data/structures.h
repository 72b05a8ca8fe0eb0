/* Structures that may overlap: which there are, and in which order they are the channels of masks
 * and logits. */
#pragma once
#include <stddef.h>
#include "base/status.h"
#include "config/config.h"
#include "data/discover.h"

enum { STRUCTURE_LIMIT = 4096 };

struct structure_list {
  int count;
  char **names;
};

/* data.structures, each of which some subject has a mask of; when empty, all that subjects have
 * masks of: those of TotalSegmentator's published list in its order, then the others sorted. count
 * 0 when no subject has masks. On failure *list is left zeroed. */
CHECKED enum status structures_find(const struct config *config,
                                    const struct subject_source *sources, int count,
                                    struct structure_list *list);

/* The path of a structure's mask in a folder of masks (caller frees); NULL when there is none. */
char *structures_mask(const char *folder, const char *name);

/* Bytes of a voxel's masks, one bit each: ceil(structures / 8). */
size_t structures_planes(int structures);

/* What a flip from left to right makes of structure c: c itself where no part of its name (parts
 * are separated by '_') is "left" or "right", the one of the same name with the other side, -1 when
 * the list has none. */
int structures_mirror(const char *const *names, int count, int c);

/* Accepts a zeroed one. */
void structures_free(struct structure_list *list);
