/* Running a plan allocates nothing. This program's malloc counts who calls it; under sanitizers,
 * which have their own, the test is skipped. */
#include "graph_network.h"

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_OWN_MALLOC
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || !defined __GLIBC__
#define HAS_OWN_MALLOC
#endif

enum { SKIPPED = 77 };

#ifdef HAS_OWN_MALLOC

int main(void) {
  printf("skipped: malloc cannot be counted in this build\n");
  return SKIPPED;
}

#else

#define NOINLINE __attribute__((noinline)) /* so that the return address is the caller's */

static volatile int allocations;

/* The program's own code, from the linker: LLVM's OpenMP allocates in every parallel region, which
 * is not ours to count. */
extern const char __executable_start[], etext[];

static void count_call(const void *caller) {
  if ((const char *)caller >= __executable_start && (const char *)caller < etext)
    __sync_fetch_and_add(&allocations, 1);
}

/* glibc's own names of what is replaced here. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

NOINLINE void *malloc(size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_malloc(bytes);
}

NOINLINE void *calloc(size_t count, size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_calloc(count, bytes);
}

NOINLINE void *realloc(void *memory, size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_realloc(memory, bytes);
}

NOINLINE void *aligned_alloc(size_t alignment, size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}

NOINLINE int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  count_call(__builtin_return_address(0));
  *memory = __libc_memalign(alignment, bytes);
  return *memory ? 0 : 12; /* ENOMEM */
}

/* Memory of the device is counted, too. */
static const struct device_ops *uncounted;

static enum status allocate_counted(struct device *device, size_t bytes, void **memory) {
  __sync_fetch_and_add(&allocations, 1);
  return uncounted->allocate(device, bytes, memory);
}

TEST(malloc_is_counted) {
  int before = allocations;
  void *volatile memory = malloc(10);
  free(memory);
  CHECK(allocations == before + 1);
}

TEST(running_allocates_nothing) {
  const struct plan_options options = {.training = true, .poison = true, .guard = true};
  for (uint32_t seed = 0; seed < 10; seed++) {
    struct trial trial;
    trial_open(&trial, seed, DTYPE_F32, &options);
    uncounted = trial.device.ops;
    struct device_ops counting = *uncounted;
    counting.allocate = allocate_counted;
    trial.device.ops = &counting;
    CHECK_OK(run_timing(&trial.run, true));
    CHECK_OK(run_forward(&trial.run)); /* the first time OpenMP starts its threads */
    CHECK_OK(run_backward(&trial.run, 1, NULL));
    int before = allocations;
    for (int i = 0; i < 3; i++) {
      CHECK_OK(run_forward(&trial.run));
      CHECK(trial_total(&trial) > 0);
      CHECK_OK(run_backward(&trial.run, 1, NULL));
    }
    CHECK(allocations == before);
    trial_close(&trial);
  }
}

int main(void) {
  RUN(malloc_is_counted);
  RUN(running_allocates_nothing);
  return check_result();
}

#endif
