/* The packer alone: on random items no two overlap in both time and memory, nothing lies outside
 * the block, and the block is not much larger than the lower bound. */
#include "base/random.h"
#include "check.h"
#include "graph/arena.h"

enum { MOST_ITEMS = 120, STEPS = 60 };

static struct arena_item random_item(struct random *stream) {
  int first = (int)random_below(stream, STEPS);
  int length = (int)random_below(stream, random_below(stream, 4) ? 6 : STEPS);
  int last = first + length < STEPS ? first + length : STEPS - 1;
  return (struct arena_item){64 * (1 + random_below(stream, 1000)), first, last, 0};
}

static bool overlap(const struct arena_item *a, const struct arena_item *b) {
  bool in_time = a->first <= b->last && b->first <= a->last;
  bool in_memory = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
  return in_time && in_memory;
}

/* The most bytes alive in one step, counted step by step. */
static size_t count_peak(const struct arena_item *items, int count) {
  size_t peak = 0;
  for (int step = 0; step < STEPS; step++) {
    size_t live = 0;
    for (int i = 0; i < count; i++)
      if (items[i].first <= step && step <= items[i].last) live += items[i].bytes;
    peak = live > peak ? live : peak;
  }
  return peak;
}

static void check_packing(const struct arena_item *items, int count, size_t bytes) {
  size_t end = 0;
  int clashes = 0, misplaced = 0;
  for (int i = 0; i < count; i++) {
    misplaced += items[i].offset % ARENA_ALIGNMENT != 0;
    if (items[i].offset + items[i].bytes > end) end = items[i].offset + items[i].bytes;
    for (int j = 0; j < i; j++) clashes += overlap(&items[i], &items[j]);
  }
  CHECK(clashes == 0);
  CHECK(misplaced == 0);
  CHECK(end == bytes);
}

TEST(packs_random_items_without_overlap) {
  double excess = 0;
  for (uint32_t trial = 0; trial < 200; trial++) {
    struct random stream = random_stream(7, RANDOM_TEST, trial, 0);
    struct arena_item items[MOST_ITEMS];
    int count = 1 + (int)random_below(&stream, MOST_ITEMS);
    for (int i = 0; i < count; i++) items[i] = random_item(&stream);
    size_t bytes, peak;
    CHECK_OK(arena_pack(items, count, &bytes));
    CHECK_OK(arena_peak(items, count, &peak));
    CHECK(peak == count_peak(items, count));
    CHECK(bytes >= peak);
    check_packing(items, count, bytes);
    excess += (double)bytes / (double)peak - 1;
  }
  printf("     mean excess over the lower bound %.2f %%\n", excess / 200 * 100);
  CHECK(excess / 200 < 0.05);
}

/* Lifetimes of a network with skips: last in, first out. */
TEST(reaches_the_bound_on_nested_lifetimes) {
  struct arena_item items[STEPS / 2];
  for (int i = 0; i < STEPS / 2; i++)
    items[i] = (struct arena_item){64 * (size_t)(1 + i % 7), i, STEPS - 1 - i, 0};
  size_t bytes, peak;
  CHECK_OK(arena_pack(items, STEPS / 2, &bytes));
  CHECK_OK(arena_peak(items, STEPS / 2, &peak));
  CHECK(bytes == peak);
}

TEST(touching_lifetimes_do_not_share) {
  struct arena_item items[] = {{64, 0, 1, 0}, {64, 1, 2, 0}, {64, 2, 3, 0}};
  size_t bytes;
  CHECK_OK(arena_pack(items, 3, &bytes));
  check_packing(items, 3, bytes);
  CHECK(bytes == 128);
}

TEST(finds_the_same_places_twice) {
  struct arena_item first[MOST_ITEMS], second[MOST_ITEMS];
  struct random stream = random_stream(8, RANDOM_TEST, 0, 0);
  for (int i = 0; i < MOST_ITEMS; i++) first[i] = second[i] = random_item(&stream);
  size_t a, b;
  CHECK_OK(arena_pack(first, MOST_ITEMS, &a));
  CHECK_OK(arena_pack(second, MOST_ITEMS, &b));
  CHECK(a == b);
  int different = 0;
  for (int i = 0; i < MOST_ITEMS; i++) different += first[i].offset != second[i].offset;
  CHECK(different == 0);
}

TEST(packs_nothing) {
  size_t bytes = 1;
  CHECK_OK(arena_pack(NULL, 0, &bytes));
  CHECK(bytes == 0);
}

int main(void) {
  RUN(packs_random_items_without_overlap);
  RUN(reaches_the_bound_on_nested_lifetimes);
  RUN(touching_lifetimes_do_not_share);
  RUN(finds_the_same_places_twice);
  RUN(packs_nothing);
  return check_result();
}
