/* The exact tree against a recursive definition of it on one process: same bits for any number of
 * ranks, slots, bucket size, with missing leaves, -0 and values of very different size, on every
 * device and by every transport. */
#include "check.h"
#include <stdbool.h>
#include <stdint.h>
#include "base/random.h"
#include "comm/comm.h"
#include "comm/tree.h"
#include "device/device.h"

enum { MOST_SLOTS = 16, MOST_ELEMENTS = 4097 };
enum { BLOCK_BYTES = MOST_ELEMENTS * sizeof(float) };

static struct comm comm;
static struct device device;
static struct stream work;
static const char *transport;
static float *gradient, *total; /* the device's, MOST_ELEMENTS each */

static enum status open_tree(struct tree *tree, enum tree_mode mode, int slots, int64_t count,
                             size_t bucket) {
  const struct tree_options options = {.mode = mode,
                                       .transport = transport,
                                       .slots = slots,
                                       .count = count,
                                       .bucket_elements = bucket};
  return tree_open(tree, &comm, &device, &options);
}

/* All ranks can make any slot's values. */
static void make_slot(int slot, int seed, int64_t count, float *values) {
  struct random stream = random_stream((uint64_t)seed, RANDOM_TEST, (uint32_t)slot, 0);
  for (int64_t i = 0; i < count; i++) {
    double size = exp2(random_range(&stream, -60, 60));
    values[i] = (float)(size * random_normal(&stream));
    if (i % 7 == 0) values[i] = -0.0f;
  }
}

static bool is_present(int slot, unsigned missing) {
  return !(missing >> slot & 1);
}

/* node(lo, level) as defined in the header; returns whether it has any leaf. */
static bool reference(int lo, int level, int slots, unsigned missing, int seed, int64_t count,
                      float *sum) {
  if (lo >= slots) return false;
  if (level == 0) {
    if (!is_present(lo, missing)) return false;
    make_slot(lo, seed, count, sum);
    return true;
  }
  float *right = malloc(sizeof(float) * (size_t)count);
  bool has_left = reference(lo, level - 1, slots, missing, seed, count, sum);
  bool has_right =
      reference(lo + (1 << (level - 1)), level - 1, slots, missing, seed, count, right);
  for (int64_t i = 0; has_right && i < count; i++) sum[i] = has_left ? sum[i] + right[i] : right[i];
  free(right);
  return has_left || has_right;
}

static enum status push_slot(struct tree *tree, int slot, const float *values, int64_t piece) {
  for (int64_t first = 0; first < tree->count; first += piece) {
    int64_t count = tree->count - first < piece ? tree->count - first : piece;
    TRY(tree_push(tree, slot, values + first, first, count));
    TRY(tree_progress(tree));
  }
  return STATUS_OK;
}

/* One step; the total is written over the gradient when `in_place`, and copied to `sum`. */
static enum status run_step(struct tree *tree, unsigned missing, int seed, bool in_place,
                            float *sum) {
  static float host[MOST_ELEMENTS];
  float *values = in_place ? total : gradient;
  size_t bytes = sizeof *sum * (size_t)tree->count;
  TRY(tree_start(tree, total, &work));
  for (int i = 0; i < tree->own.count; i++) {
    int slot = tree->own.first + i;
    if (is_present(slot, missing)) {
      make_slot(slot, seed, tree->count, host);
      TRY(device.ops->copy(&work, values, host, bytes));
      TRY(push_slot(tree, slot, values, 1 + (slot * 211 + seed) % 1500));
    } else {
      TRY(tree_skip(tree, slot));
    }
  }
  TRY(tree_wait(tree));
  TRY(device.ops->copy(&work, sum, total, bytes));
  return device.ops->synchronize(&work);
}

static void check_case(int slots, int64_t count, size_t bucket, unsigned missing, int seed) {
  static float sum[MOST_ELEMENTS], expected[MOST_ELEMENTS];
  struct tree tree = {0};
  CHECK_OK(open_tree(&tree, TREE_EXACT, slots, count, bucket));
  memset(expected, 0, sizeof expected);
  for (int step = 0; step < 2; step++) {
    if (!reference(0, 5, slots, missing, seed + step, count, expected))
      memset(expected, 0, sizeof expected);
    CHECK_OK(run_step(&tree, missing, seed + step, step == 1, sum));
    CHECK_SAY(memcmp(sum, expected, sizeof(float) * (size_t)count) == 0,
              ": %d slots, %lld elements, bucket %zu, missing %x, step %d", slots, (long long)count,
              bucket, missing, step);
  }
  tree_close(&tree);
}

TEST(sums_are_those_of_the_tree) {
  static const size_t buckets[] = {0, 1000, 16, 4097};
  int step = device.ops->host_memory ? 1 : 4; /* kernels take long when the CPU runs them */
  for (int slots = comm.size; slots <= MOST_SLOTS; slots += step)
    for (int i = 0; i < 4; i++)
      check_case(slots, i % 2 ? MOST_ELEMENTS : 1000, buckets[i], 0, slots * 10 + i);
}

TEST(a_block_smaller_than_the_ranks) {
  for (int64_t count = 1; count < 70; count += 17) check_case(8, count, 20, 0, 5);
}

TEST(missing_leaves_pass_their_sibling_through) {
  static const unsigned missing[] = {0x1,  0x2,  0x80, 0xf0, 0x0f, 0x55,
                                     0xaa, 0xfe, 0x7f, 0xc3, 0x3c, 0xffffffff};
  int step = device.ops->host_memory ? 1 : 3;
  for (int slots = 5; slots <= 12; slots += step)
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
      check_case(slots, 333, 100, missing[i], slots * 100 + (int)i);
}

TEST(a_slot_that_fails_half_way_hangs_nobody) {
  struct tree tree = {0};
  CHECK_OK(open_tree(&tree, TREE_EXACT, 8, 1000, 128));
  CHECK_OK(tree_start(&tree, total, &work));
  for (int i = 0; i < tree.own.count; i++) {
    int slot = tree.own.first + i;
    if (slot == 7) CHECK_OK(tree_push(&tree, slot, gradient, 0, 300));
    CHECK_OK(tree_skip(&tree, slot));
  }
  CHECK_OK(tree_wait(&tree));
  tree_close(&tree);
  check_case(8, 1000, 128, 0, 77);
}

TEST(fast_sums_are_near) {
  static float sum[MOST_ELEMENTS], values[MOST_ELEMENTS];
  static double expected[MOST_ELEMENTS];
  struct tree tree = {0};
  CHECK_OK(open_tree(&tree, TREE_FAST, 8, 1000, 300));
  for (int step = 0; step < 2; step++) {
    unsigned missing = step ? 0xf0 : 0;
    memset(expected, 0, sizeof expected);
    CHECK_OK(run_step(&tree, missing, step, false, sum));
    for (int slot = 0; slot < 8; slot++) {
      make_slot(slot, step, 1000, values);
      for (int i = 0; i < 1000 && is_present(slot, missing); i++) expected[i] += values[i];
    }
    double worst = 0;
    for (int i = 0; i < 1000; i++) worst = fmax(worst, fabs(sum[i] - expected[i]));
    CHECK_SAY(worst < 1e13, ": %g off values up to 1e18", worst);
  }
  tree_close(&tree);
}

TEST(order_of_slots_and_ranges_is_checked) {
  struct tree tree = {0};
  CHECK_OK(open_tree(&tree, TREE_EXACT, 2 * comm.size, 100, 0));
  CHECK_OK(tree_start(&tree, total, &work));
  CHECK_FAILS(tree_push(&tree, tree.own.first + 1, gradient, 0, 100), "expected element 0 of slot");
  CHECK_FAILS(tree_push(&tree, tree.own.first, gradient, 5, 95), "expected element 0 of slot");
  CHECK_FAILS(tree_push(&tree, tree.own.first, gradient, 0, 101), "found elements 0 to 101");
  CHECK_FAILS(tree_wait(&tree), "before the end of the step");
  CHECK_OK(tree_skip(&tree, tree.own.first));
  CHECK_OK(tree_skip(&tree, tree.own.first + 1));
  CHECK_FAILS(tree_skip(&tree, tree.own.first + 2), "expected slot");
  CHECK_OK(tree_wait(&tree));
  tree_close(&tree);
}

TEST(more_ranks_than_slots_are_refused) {
  struct tree tree = {0};
  struct slot_range own;
  status_clear();
  CHECK(comm_slots(3, 0, 4, &own) == STATUS_USAGE);
  CHECK(strstr(status_message(), "4 ranks, but only 3 slots per step"));
  CHECK_FAILS(comm_slots(0, 0, 1, &own), "at least 1 slot");
  if (comm.size > 1) CHECK_FAILS(open_tree(&tree, TREE_EXACT, comm.size - 1, 10, 0), "per step");
  tree_close(&tree);
  int next = 0;
  for (int rank = 0; rank < 5; rank++) {
    CHECK_OK(comm_slots(12, rank, 5, &own));
    CHECK(own.first == next && own.count >= 2 && own.count <= 3);
    next += own.count;
  }
  CHECK(next == 12);
  CHECK(comm_share(2, 1, 4).count + comm_share(2, 3, 4).count == 2);
}

TEST(doubles_are_summed_by_the_same_tree) {
  enum { WIDTH = 3 };
  for (int items = 0; items <= 13; items++) {
    double values[13 * WIDTH] = {0}, sum[WIDTH], all[16][WIDTH] = {{0}};
    bool present[13], there[16] = {false};
    struct slot_range own = comm_share(items, comm.rank, comm.size);
    for (int i = 0; i < items; i++) {
      struct random stream = random_stream(9, RANDOM_TEST, (uint32_t)i, (uint32_t)items);
      there[i] = i % 5 != 3;
      for (int k = 0; k < WIDTH; k++)
        all[i][k] = random_normal(&stream) * exp2(random_range(&stream, -300, 300));
    }
    for (int i = 0; i < own.count; i++) {
      present[i] = there[own.first + i];
      memcpy(values + i * WIDTH, all[own.first + i], sizeof all[0]);
    }
    CHECK_OK(comm_tree_sum(&comm, items, WIDTH, values, present, sum));
    for (int width = 1; width < 16; width *= 2)
      for (int lo = 0; lo < 16; lo += 2 * width) {
        if (there[lo + width])
          for (int k = 0; k < WIDTH; k++)
            all[lo][k] = there[lo] ? all[lo][k] + all[lo + width][k] : all[lo + width][k];
        there[lo] |= there[lo + width];
      }
    double zeros[WIDTH] = {0};
    CHECK_SAY(memcmp(sum, items ? all[0] : zeros, sizeof sum) == 0, ": %d items", items);
  }
}

TEST(traffic_is_that_of_a_ring_when_ranks_own_aligned_slots) {
  CHECK(tree_traffic(8, 1, 1 << 20) == 0);
  CHECK(tree_traffic(8, 8, 1 << 20) == 2 * 7 * (1 << 20) / 8 * 4);
  CHECK(tree_traffic(8, 2, 1 << 20) == 2 * (1 << 20) / 2 * 4);
  CHECK(tree_traffic(8, 3, 3 << 20) == (2 * (2 << 20) + 2 * (1 << 20)) * 4);
}

TEST(transports_are_chosen_by_name_and_device) {
  struct tree tree = {0};
  const char *chosen = transport;
  char text[128];
  CHECK_OK(open_tree(&tree, TREE_EXACT, 8, 10, 0));
  tree_describe(&tree, text, sizeof text);
  bool is_nccl = strncmp(text, "nccl 2.", 7) == 0, is_alone = strcmp(text, "none: one rank") == 0;
  CHECK_SAY(is_alone == (comm.size == 1), ": %s", text);
  CHECK_SAY(is_alone || is_nccl == (strcmp(chosen, "nccl") == 0), ": %s", text);
  bool staged = comm.size > 1 && !device.ops->host_memory && !is_nccl;
  CHECK((tree.host_memory > 0) == staged &&
        (strstr(text, "through host memory") != NULL) == staged);
  tree_close(&tree);
  transport = device.ops->host_memory ? "nccl" : "pigeons";
  if (comm.size > 1) CHECK_FAILS(open_tree(&tree, TREE_EXACT, 8, 10, 0), "comm.transport: device");
  transport = chosen;
}

/* Everything that the device and the transport have a part in. */
static void run_on(const char *name, const char *with) {
  transport = with;
  CHECK_OK(device_open(&device, name, comm.local_rank, comm.local_size, true, 1));
  CHECK_OK(device.ops->stream_open(&device, &work));
  CHECK_OK(device.ops->allocate(&device, BLOCK_BYTES, (void **)&gradient));
  CHECK_OK(device.ops->allocate(&device, BLOCK_BYTES, (void **)&total));
  printf("%s, %s\n", name, with);
  RUN(sums_are_those_of_the_tree);
  RUN(a_block_smaller_than_the_ranks);
  RUN(missing_leaves_pass_their_sibling_through);
  RUN(a_slot_that_fails_half_way_hangs_nobody);
  RUN(fast_sums_are_near);
  RUN(order_of_slots_and_ranges_is_checked);
  RUN(more_ranks_than_slots_are_refused);
  RUN(transports_are_chosen_by_name_and_device);
  device.ops->release(&device, gradient, BLOCK_BYTES);
  device.ops->release(&device, total, BLOCK_BYTES);
  device.ops->stream_close(&work);
  device_close(&device);
}

/* CUDA where there is one. The CPU's stand-in for it does its work late on every other rank. */
static void run_on_cuda(void) {
  const struct device_ops *cuda = NULL;
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  setenv("CUDA_SHIM_LAZY", comm.rank % 2 ? "0" : "1", 0);
  for (int i = 0; devices[i]; i++)
    if (devices[i]->kind == DEVICE_CUDA && devices[i]->count(NULL) > 0) cuda = devices[i];
  if (!cuda) return;
  run_on(cuda->name, "mpi");
#ifdef MEDTRAIN_HAS_NCCL
  if (comm.size > 1) run_on(cuda->name, "nccl");
#endif
}

int main(int argc, char **argv) {
  CHECK_OK(comm_open(&comm, "auto", &argc, &argv));
  comm.deadline = 60;
  run_on("cpu", "mpi");
  run_on_cuda();
  RUN(doubles_are_summed_by_the_same_tree);
  RUN(traffic_is_that_of_a_ring_when_ranks_own_aligned_slots);
  comm_close(&comm);
  return check_result();
}
