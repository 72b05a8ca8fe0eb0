/* Two events around each step: measuring costs the device next to nothing and never waits for it
 * between steps. */
#include "graph/timing.h"
#include <stdlib.h>

enum { BEFORE, AFTER, EVENTS };

static void close_events(struct run *run) {
  for (int i = 0; i < EVENTS * run->plan->step_count && run->step_events; i++)
    run->device->ops->event_close(&run->step_events[i]);
  free(run->step_events);
  free(run->step_seconds);
  run->step_events = NULL;
  run->step_seconds = NULL;
}

enum status run_timing(struct run *run, bool on) {
  if (run->plan) close_events(run);
  if (!on) return STATUS_OK;
  int count = run->plan->step_count;
  run->step_events = calloc((size_t)count * EVENTS, sizeof *run->step_events);
  REQUIRE(run->step_events, STATUS_FAILED, "out of memory");
  for (int i = 0; i < EVENTS * count; i++)
    TRY(run->device->ops->event_open(run->device, &run->step_events[i]));
  run->step_seconds = calloc((size_t)count, sizeof *run->step_seconds);
  REQUIRE(run->step_seconds, STATUS_FAILED, "out of memory");
  return STATUS_OK;
}

static enum status mark(struct run *run, int s, int which) {
  if (!run->step_seconds) return STATUS_OK;
  return run->device->ops->event_record(&run->step_events[EVENTS * s + which], &run->stream);
}

enum status timing_before(struct run *run, int s) {
  return mark(run, s, BEFORE);
}

enum status timing_after(struct run *run, int s) {
  return mark(run, s, AFTER);
}

enum status timing_collect(struct run *run, int first, int end) {
  if (!run->step_seconds) return STATUS_OK;
  TRY(run->device->ops->synchronize(&run->stream));
  for (int s = first; s < end; s++) {
    const struct event *events = &run->step_events[EVENTS * s];
    double seconds;
    TRY(run->device->ops->event_seconds(&events[BEFORE], &events[AFTER], &seconds));
    run->step_seconds[s] += seconds;
  }
  return STATUS_OK;
}
