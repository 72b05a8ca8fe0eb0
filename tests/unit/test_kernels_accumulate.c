/* Ordered sums on every device: the bits of a loop, for any count and alignment, however much of
 * the list is handed on from one sum to the next. */
#include "check.h"
#include <stdbool.h>
#include "base/random.h"
#include "kernels/accumulate/accumulate.h"

enum { RANGES = 5, MOST = 9001, BLOCK = MOST + 8 };

static struct device device;
static struct stream stream;
static float *memory; /* the device's: RANGES blocks */
static float before[RANGES * BLOCK], expected[RANGES * BLOCK], after[RANGES * BLOCK];

static void fill(void) {
  struct random numbers = random_stream(7, RANDOM_TEST, 0, 0);
  for (int i = 0; i < RANGES * BLOCK; i++) {
    before[i] = (float)(exp2(random_range(&numbers, -60, 60)) * random_normal(&numbers));
    if (i % 7 == 0) before[i] = -0.0f;
    if (i % 11 == 0) before[i] = 1e-42f; /* below the smallest normal number */
  }
}

/* Which range is added or copied to which. */
struct order {
  int to, from;
  bool add;
};

static const struct order chain[] = {{1, 0, true}, {2, 1, true}, {3, 2, true}, {4, 3, false}};
static const struct order tree[] = {{0, 1, true}, {2, 3, true}, {0, 2, true}, {4, 0, false}};
static const struct order copy[] = {{3, 1, false}};
static const struct order again[] = {{0, 1, true}, {0, 2, true}, {0, 0, true}, {1, 0, true}};

/* Ranges that a sum has used up may hold anything. */
static bool is_used_up(const struct order *order, int count, int range) {
  for (int k = 0; k + 1 < count; k++)
    if (order[k].to == range && order[k + 1].from == range && order[k + 1].to != range) return true;
  return false;
}

static void check_order(const struct order *order, int count, int64_t elements, int offset) {
  struct accumulate_list list = {.count = count};
  memcpy(expected, before, sizeof before);
  for (int k = 0; k < count; k++) {
    float *to = expected + order[k].to * BLOCK + offset;
    const float *from = expected + order[k].from * BLOCK + offset;
    for (int64_t i = 0; i < elements; i++) to[i] = order[k].add ? to[i] + from[i] : from[i];
    list.sum[k] = (struct accumulate_sum){memory + order[k].to * BLOCK + offset,
                                          memory + order[k].from * BLOCK + offset, order[k].add};
  }
  CHECK_OK(device.ops->copy(&stream, memory, before, sizeof before));
  CHECK_OK(accumulate_choose(device.ops->kind)->run(&list, elements, &stream));
  CHECK_OK(device.ops->copy(&stream, after, memory, sizeof after));
  CHECK_OK(device.ops->synchronize(&stream));
  for (int range = 0; range < RANGES; range++)
    if (!is_used_up(order, count, range))
      CHECK_SAY(memcmp(after + range * BLOCK, expected + range * BLOCK, BLOCK * sizeof(float)) == 0,
                ": range %d, %d sums of %lld elements from %d", range, count, (long long)elements,
                offset);
}

TEST(bits_are_those_of_a_loop) {
  static const int64_t counts[] = {1, 3, 4, 5, 1024, 1027, 9001};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (int offset = 0; offset < 5; offset += 2) {
      check_order(chain, 4, counts[i], offset);
      check_order(tree, 4, counts[i], offset);
      check_order(copy, 1, counts[i], offset);
      check_order(again, 4, counts[i], offset);
    }
}

TEST(nothing_to_do_is_no_error) {
  check_order(chain, 0, 10, 0);
  check_order(chain, 4, 0, 0);
}

int main(void) {
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  fill();
  for (int i = 0; devices[i]; i++) {
    if (devices[i]->count(NULL) == 0) continue;
    printf("%s\n", devices[i]->name);
    CHECK_OK(device_open(&device, devices[i]->name, 0, 1, false, 1));
    CHECK_OK(device.ops->stream_open(&device, &stream));
    CHECK_OK(device.ops->allocate(&device, sizeof before, (void **)&memory));
    RUN(bits_are_those_of_a_loop);
    RUN(nothing_to_do_is_no_error);
    device.ops->release(&device, memory, sizeof before);
    device.ops->stream_close(&stream);
    device_close(&device);
  }
  return check_result();
}
