/* Waiting that ends: polling, giving the core away, deadlines. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/timer.h"
#include "comm/transport.h"

enum { ROUNDS_WITHOUT_SLEEP = 200, LISTED_RANKS = 16 };
static const double LONGEST_SLEEP = 1e-3, SHORTEST_SLEEP = 20e-6, SLEEP_SHARE = 1.0 / 16;
/* how much longer than rank 0 the others wait */
static const double GRACE_SHARE = 0.25, LONGEST_GRACE = 10;

enum status comm_test_all(struct comm *comm, struct comm_request *requests, int count,
                          int *pending) {
  *pending = 0;
  for (int i = 0; i < count; i++) {
    if (!requests[i].done) TRY(comm->ops->test(comm, &requests[i]));
    *pending += !requests[i].done;
  }
  return STATUS_OK;
}

void comm_cancel_all(struct comm *comm, struct comm_request *requests, int count) {
  for (int i = 0; i < count; i++)
    if (requests[i].incoming && !requests[i].done) comm->ops->cancel(&requests[i]);
}

void comm_patience_start(struct comm_patience *patience, const char *what) {
  *patience =
      (struct comm_patience){.what = what, .started = timer_now(), .longest_sleep = LONGEST_SLEEP};
}

static bool rank_is_missing(int rank, const struct comm_request *requests, int count) {
  for (int i = 0; i < count; i++)
    if (!requests[i].done && requests[i].peer == rank) return true;
  return false;
}

static void list_missing(const struct comm *comm, const struct comm_request *requests, int count,
                         char *text, size_t bytes) {
  int found = 0;
  text[0] = 0;
  for (int rank = 0; rank < comm->size; rank++) {
    if (!rank_is_missing(rank, requests, count)) continue;
    size_t used = strlen(text);
    if (++found > LISTED_RANKS) {
      snprintf(text + used, bytes - used, " ...");
      return;
    }
    snprintf(text + used, bytes - used, "%s %d", found > 1 ? "," : "", rank);
  }
}

static void sleep_for(double seconds) {
  struct timespec pause = {.tv_nsec = (long)(seconds * 1e9)};
  nanosleep(&pause, NULL);
}

/* How long ranks other than 0 wait after the deadline. */
static double grace(const struct comm *comm) {
  double time = comm->deadline * GRACE_SHARE;
  return time > LONGEST_GRACE ? LONGEST_GRACE : time;
}

/* Asks every rank that gives up here for a sign, and lists those that give none. Ranks other than 0
 * come later by the grace and listen longer by it. Messages that nobody takes do not matter: the
 * job ends. */
static void call_roll(struct comm *comm, char *missing, size_t bytes) {
  struct comm_request *answers = comm->scratch->requests, sent;
  int64_t *numbers = comm->scratch->numbers;
  double started = timer_now(), limit = grace(comm) * (comm->rank ? 3 : 2);
  int pending = 1;
  for (int rank = 0; rank < comm->size; rank++) {
    answers[rank] = (struct comm_request){.peer = rank, .done = true};
    if (rank == comm->rank) continue;
    if (comm->ops->send(comm, numbers, sizeof *numbers, rank, TAG_ROLL_CALL, &sent)) return;
    if (comm->ops->receive(comm, numbers + SCRATCH_NUMBERS * rank + 1, sizeof *numbers, rank,
                           TAG_ROLL_CALL, &answers[rank]))
      return;
  }
  while (pending && timer_now() - started < limit) {
    if (comm_test_all(comm, answers, comm->size, &pending)) return;
    sleep_for(LONGEST_SLEEP);
  }
  list_missing(comm, answers, comm->size, missing, bytes);
}

static enum status give_up(struct comm *comm, const struct comm_patience *patience, double waited,
                           const struct comm_request *requests, int count) {
  char missing[LISTED_RANKS * 12 + 16];
  list_missing(comm, requests, count, missing, sizeof missing);
  if (!missing[0]) call_roll(comm, missing, sizeof missing);
  comm->broken = true;
  const char *phase = comm->phase ? comm->phase : "communication";
  REQUIRE(missing[0], STATUS_FAILED,
          "%s (%s): all ranks have waited %.3g s: a device hangs, or the network between them",
          phase, patience->what, waited);
  FAIL(STATUS_FAILED, "%s (%s): waited %.3g s for rank%s%s: stopped, lost, or much slower?", phase,
       patience->what, waited, strchr(missing, ',') ? "s" : "", missing);
}

enum status comm_patience_pause(struct comm *comm, struct comm_patience *patience,
                                const struct comm_request *requests, int count) {
  if (patience->rounds++ < ROUNDS_WITHOUT_SLEEP) {
    sched_yield();
    return STATUS_OK;
  }
  double waited = timer_now() - patience->started;
  double limit = comm->deadline + (comm->rank ? grace(comm) : 0);
  if (comm->deadline > 0 && waited > limit) return give_up(comm, patience, waited, requests, count);
  double pause = waited * SLEEP_SHARE;
  sleep_for(pause < SHORTEST_SLEEP            ? SHORTEST_SLEEP
            : pause > patience->longest_sleep ? patience->longest_sleep
                                              : pause);
  return STATUS_OK;
}

enum status comm_wait_all(struct comm *comm, const char *what, struct comm_request *requests,
                          int count) {
  struct comm_patience patience;
  comm_patience_start(&patience, what);
  for (;;) {
    int pending = 0;
    enum status status = comm_test_all(comm, requests, count, &pending);
    if (!status && !pending) return STATUS_OK;
    if (!status) status = comm_patience_pause(comm, &patience, requests, count);
    if (status) comm_cancel_all(comm, requests, count);
    if (status) return status;
  }
}
