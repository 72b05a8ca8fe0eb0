/* Packs things that live for a span of steps into one block of memory so that no two that live at
 * the same time overlap. Knows nothing of graphs. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"

enum { ARENA_ALIGNMENT = 64 };

struct arena_item {
  size_t bytes;    /* a multiple of ARENA_ALIGNMENT, not 0 */
  int first, last; /* alive in [first, last], both included; 0 <= first <= last */
  size_t offset;   /* found by arena_pack */
};

/* The most bytes alive in one step: no packing can need less. */
CHECKED enum status arena_peak(const struct arena_item *items, int count, size_t *bytes);

/* Finds an offset for every item and the size of the block. Deterministic. Each item goes to the
 * lowest gap that holds it; what differs is the order: by size, by size times duration, by
 * duration, and then a few hundred random changes to the best order, until the lower bound is
 * reached. */
CHECKED enum status arena_pack(struct arena_item *items, int count, size_t *bytes);
