/* Loading ahead: order, errors, closing at any moment; run under TSan it also finds races. */
#include <stdatomic.h>
#include <time.h>
#include "check.h"
#include "data/prefetch.h"

struct source {
  atomic_int filled;
  int microseconds;
  int64_t bad; /* this ticket fails; -1: none */
};

static enum status fill(void *context, int64_t ticket, void *memory) {
  struct source *source = context;
  struct timespec pause = {0, source->microseconds * 1000L};
  if (source->microseconds) nanosleep(&pause, NULL);
  REQUIRE(ticket != source->bad, STATUS_FAILED, "ticket %lld is damaged", (long long)ticket);
  int64_t *values = memory;
  for (int i = 0; i < 100; i++) values[i] = ticket * 1000 + i;
  atomic_fetch_add(&source->filled, 1);
  return STATUS_OK;
}

TEST(comes_in_order) {
  struct source source = {.bad = -1};
  struct prefetch prefetch;
  CHECK_OK(prefetch_open(&prefetch, 3, 800, fill, &source));
  int64_t next = 0;
  for (; next < 3; next++) CHECK_OK(prefetch_request(&prefetch, next));
  CHECK_FAILS(prefetch_request(&prefetch, 99), "all 3 buffers are in use");
  for (int64_t expected = 0; expected < 500; expected++) {
    void *memory;
    int64_t ticket = -1;
    CHECK_OK(prefetch_take(&prefetch, &memory, &ticket));
    const int64_t *values = memory;
    CHECK(ticket == expected && values[0] == expected * 1000 && values[99] == expected * 1000 + 99);
    CHECK((uintptr_t)memory % 64 == 0);
    prefetch_release(&prefetch, memory);
    CHECK_OK(prefetch_request(&prefetch, next++));
  }
  CHECK(prefetch.seconds_waited >= 0);
  prefetch_close(&prefetch);
  CHECK(!prefetch.shared);
}

TEST(several_can_be_held) {
  struct source source = {.bad = -1};
  struct prefetch prefetch;
  CHECK_OK(prefetch_open(&prefetch, 2, 800, fill, &source));
  void *first, *second;
  int64_t a, b;
  for (int round = 0; round < 50; round++) {
    CHECK_OK(prefetch_request(&prefetch, 10));
    CHECK_OK(prefetch_request(&prefetch, 11));
    CHECK_OK(prefetch_take(&prefetch, &first, &a));
    CHECK_OK(prefetch_take(&prefetch, &second, &b));
    CHECK(a == 10 && b == 11 && first != second && *(int64_t *)first == 10000);
    void *held = first;
    CHECK_FAILS(prefetch_take(&prefetch, &first, &a), "nothing was requested");
    CHECK_FAILS(prefetch_request(&prefetch, 12), "all 2 buffers are in use");
    prefetch_release(&prefetch, round % 2 ? held : second);
    prefetch_release(&prefetch, round % 2 ? second : held);
  }
  prefetch_close(&prefetch);
}

TEST(hands_errors_over) {
  struct source source = {.bad = 1};
  struct prefetch prefetch;
  CHECK_OK(prefetch_open(&prefetch, 3, 800, fill, &source));
  for (int64_t i = 0; i < 3; i++) CHECK_OK(prefetch_request(&prefetch, i));
  void *memory;
  int64_t ticket;
  CHECK_OK(prefetch_take(&prefetch, &memory, &ticket));
  prefetch_release(&prefetch, memory);
  CHECK_FAILS(prefetch_take(&prefetch, &memory, &ticket), "ticket 1 is damaged");
  CHECK(ticket == 1 && !memory && strstr(status_trace(), "prefetch_take"));
  CHECK_OK(prefetch_take(&prefetch, &memory, &ticket));
  CHECK(ticket == 2);
  prefetch_release(&prefetch, memory);
  for (int64_t i = 3; i < 6; i++) CHECK_OK(prefetch_request(&prefetch, i));
  prefetch_close(&prefetch);
}

TEST(closes_at_any_moment) {
  struct prefetch prefetch = {0};
  prefetch_close(&prefetch);
  for (int requests = 0; requests <= 4; requests++)
    for (int pause = 0; pause < 3; pause++) {
      struct source source = {.bad = -1, .microseconds = 200};
      CHECK_OK(prefetch_open(&prefetch, 4, 800, fill, &source));
      for (int i = 0; i < requests; i++) CHECK_OK(prefetch_request(&prefetch, i));
      struct timespec wait = {0, pause * 150000L};
      nanosleep(&wait, NULL);
      void *memory;
      int64_t ticket;
      if (requests > 1) CHECK_OK(prefetch_take(&prefetch, &memory, &ticket));
      prefetch_close(&prefetch);
      CHECK(atomic_load(&source.filled) <= requests);
    }
  CHECK_FAILS(prefetch_open(&prefetch, 0, 800, fill, NULL), "expected at least 1 buffer");
  CHECK_FAILS(prefetch_open(&prefetch, 2, SIZE_MAX - 100, fill, NULL), "do not fit in memory");
}

TEST(waiting_is_counted) {
  struct source source = {.bad = -1, .microseconds = 20000};
  struct prefetch prefetch;
  CHECK_OK(prefetch_open(&prefetch, 1, 800, fill, &source));
  CHECK_OK(prefetch_request(&prefetch, 1));
  void *memory;
  int64_t ticket;
  CHECK_OK(prefetch_take(&prefetch, &memory, &ticket));
  CHECK(prefetch.seconds_waited > 0.005 && prefetch.seconds_waited < 10);
  prefetch_close(&prefetch);
}

TEST(fills_memory_of_its_owner) {
  struct source source = {.bad = -1, .microseconds = 5000};
  struct prefetch prefetch;
  _Alignas(64) static unsigned char memory[2 * 832];
  CHECK(prefetch_stride(800) == 832);
  CHECK_OK(prefetch_open_in(&prefetch, memory, 2, 800, fill, &source));
  CHECK(!prefetch_ready(&prefetch));
  for (int64_t i = 0; i < 2; i++) CHECK_OK(prefetch_request(&prefetch, i));
  while (!prefetch_ready(&prefetch)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  void *first, *second;
  int64_t ticket;
  CHECK_OK(prefetch_take(&prefetch, &first, &ticket));
  CHECK_OK(prefetch_take(&prefetch, &second, &ticket));
  CHECK(!prefetch_ready(&prefetch));
  CHECK((first == memory && second == memory + 832) || (second == memory && first == memory + 832));
  CHECK(*(int64_t *)second == 1000);
  prefetch_close(&prefetch);
  CHECK(((int64_t *)(void *)memory)[0] % 1000 == 0); /* still there */
}

int main(void) {
  RUN(fills_memory_of_its_owner);
  RUN(comes_in_order);
  RUN(several_can_be_held);
  RUN(hands_errors_over);
  RUN(closes_at_any_moment);
  RUN(waiting_is_counted);
  return check_result();
}
