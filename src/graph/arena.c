/* The packer: orders are tried, each by placing every item at the lowest gap among the items that
 * live at the same time (first fit by offset). */
#include "graph/arena.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"

enum { PACK_SHUFFLES = 400, PACK_SEED = 1 };

struct packing {
  const struct arena_item *items;
  int count;
  int *order, *best; /* the order being tried and the best one */
  int *placed;       /* items that have a place, by rising offset */
  size_t *offset, *best_offset;
  size_t best_bytes, peak;
};

enum status arena_peak(const struct arena_item *items, int count, size_t *bytes) {
  int steps = 0;
  for (int i = 0; i < count; i++) steps = items[i].last >= steps ? items[i].last + 1 : steps;
  size_t *born = calloc((size_t)steps + 1, sizeof *born);
  size_t *dead = calloc((size_t)steps + 1, sizeof *dead);
  *bytes = 0;
  if (born && dead) {
    for (int i = 0; i < count; i++) {
      born[items[i].first] += items[i].bytes;
      dead[items[i].last + 1] += items[i].bytes;
    }
    size_t live = 0;
    for (int step = 0; step < steps; step++) {
      live += born[step] - dead[step];
      if (live > *bytes) *bytes = live;
    }
  }
  bool complete = born && dead;
  free(born);
  free(dead);
  REQUIRE(complete, STATUS_FAILED, "out of memory while planning %d steps", steps);
  return STATUS_OK;
}

static bool overlap_in_time(const struct arena_item *a, const struct arena_item *b) {
  return a->first <= b->last && b->first <= a->last;
}

/* The lowest place for `item` among the first `placed` ones. */
static size_t find_gap(const struct packing *packing, int placed, int item) {
  const struct arena_item *items = packing->items;
  size_t start = 0;
  for (int i = 0; i < placed; i++) {
    int other = packing->placed[i];
    if (!overlap_in_time(&items[item], &items[other])) continue;
    if (packing->offset[other] >= start + items[item].bytes) break;
    size_t end = packing->offset[other] + items[other].bytes;
    if (end > start) start = end;
  }
  return start;
}

static void insert_by_offset(struct packing *packing, int placed, int item) {
  int position = placed;
  while (position > 0 && packing->offset[packing->placed[position - 1]] > packing->offset[item]) {
    packing->placed[position] = packing->placed[position - 1];
    position--;
  }
  packing->placed[position] = item;
}

/* Places all items in `order`; gives up as soon as it needs more than `limit`. */
static size_t place_all(struct packing *packing, size_t limit) {
  size_t bytes = 0;
  for (int i = 0; i < packing->count; i++) {
    int item = packing->order[i];
    packing->offset[item] = find_gap(packing, i, item);
    insert_by_offset(packing, i, item);
    size_t end = packing->offset[item] + packing->items[item].bytes;
    if (end > bytes) bytes = end;
    if (bytes > limit) return SIZE_MAX;
  }
  return bytes;
}

/* Keeps the order being tried if it is no worse than the best. */
static void try_order(struct packing *packing) {
  size_t bytes = place_all(packing, packing->best_bytes);
  if (bytes > packing->best_bytes) return;
  packing->best_bytes = bytes;
  memcpy(packing->best, packing->order, (size_t)packing->count * sizeof *packing->order);
  memcpy(packing->best_offset, packing->offset, (size_t)packing->count * sizeof *packing->offset);
}

static double duration(const struct arena_item *item) {
  return item->last - item->first + 1;
}
static double by_bytes(const struct arena_item *item) {
  return (double)item->bytes;
}
static double by_area(const struct arena_item *item) {
  return (double)item->bytes * duration(item);
}

static double (*const measures[])(const struct arena_item *item) = {by_bytes, by_area, duration};

/* Insertion sort, biggest measure first; stable, so that ties cannot differ between machines. */
static void sort_order(struct packing *packing, double (*measure)(const struct arena_item *)) {
  for (int i = 0; i < packing->count; i++) {
    int position = i;
    double own = measure(&packing->items[i]);
    while (position > 0 && measure(&packing->items[packing->order[position - 1]]) < own) {
      packing->order[position] = packing->order[position - 1];
      position--;
    }
    packing->order[position] = i;
  }
}

/* The best order with one item moved elsewhere. */
static void shuffle_order(struct packing *packing, struct random *stream) {
  int *order = packing->order;
  memcpy(order, packing->best, (size_t)packing->count * sizeof *order);
  int from = (int)random_below(stream, (uint32_t)packing->count);
  int to = (int)random_below(stream, (uint32_t)packing->count);
  int item = order[from];
  if (from < to)
    memmove(order + from, order + from + 1, (size_t)(to - from) * sizeof *order);
  else
    memmove(order + to + 1, order + to, (size_t)(from - to) * sizeof *order);
  order[to] = item;
}

static void search(struct packing *packing) {
  for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
    sort_order(packing, measures[i]);
    try_order(packing);
  }
  struct random stream = random_stream(PACK_SEED, RANDOM_ORDER, 0, 0);
  for (int i = 0; i < PACK_SHUFFLES && packing->best_bytes > packing->peak; i++) {
    shuffle_order(packing, &stream);
    try_order(packing);
  }
}

enum status arena_pack(struct arena_item *items, int count, size_t *bytes) {
  *bytes = 0;
  if (count == 0) return STATUS_OK;
  struct packing packing = {.items = items, .count = count, .best_bytes = SIZE_MAX};
  TRY(arena_peak(items, count, &packing.peak));
  size_t n = (size_t)count;
  int *indices = calloc(3 * n, sizeof *indices);
  size_t *offsets = calloc(2 * n, sizeof *offsets);
  bool complete = indices && offsets;
  if (complete) {
    packing.order = indices;
    packing.best = indices + n;
    packing.placed = indices + 2 * n;
    packing.offset = offsets;
    packing.best_offset = offsets + n;
    search(&packing);
    for (int i = 0; i < count; i++) items[i].offset = packing.best_offset[i];
    *bytes = packing.best_bytes;
  }
  free(indices);
  free(offsets);
  REQUIRE(complete, STATUS_FAILED, "out of memory while packing %d tensors", count);
  return STATUS_OK;
}
