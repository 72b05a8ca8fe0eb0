/* The recordings of a run. A device that fails to record is asked no more: the run goes on step by
 * step, with the same results. */
#include "graph/record.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"

/* As many sets of inputs as training alternates between. */
enum { SETS = 2 };

struct run_recordings {
  bool failed;
  int set_count;
  struct recorded_set {
    const void **inputs;   /* as bound, per value */
    struct capture *parts; /* per part */
  } sets[SETS];
};

/* A part ends with the forward, with each step that completes a bucket, and with the last. */
static bool ends_part(const struct plan *plan, int s) {
  bool ends = s == plan->forward_step_count - 1 || s == plan->step_count - 1;
  for (int i = 0; i < plan->bucket_count; i++) ends = ends || plan->buckets[i].last_step == s;
  return ends;
}

static enum status cut_parts(struct run *run) {
  const struct plan *plan = run->plan;
  run->parts = calloc((size_t)plan->bucket_count + 2, sizeof *run->parts);
  REQUIRE(run->parts, STATUS_FAILED, "out of memory");
  int first = 0;
  for (int s = 0; s < plan->step_count; s++) {
    if (!ends_part(plan, s)) continue;
    run->parts[run->part_count++] = (struct run_part){.first = first, .end = s + 1};
    first = s + 1;
  }
  return STATUS_OK;
}

enum status record_open(struct run *run) {
  TRY(cut_parts(run));
  if (!run->plan->options.capture || !run->device->ops->capture_begin) return STATUS_OK;
  run->recordings = calloc(1, sizeof *run->recordings);
  REQUIRE(run->recordings, STATUS_FAILED, "out of memory");
  for (int i = 0; i < SETS; i++) {
    struct recorded_set *set = &run->recordings->sets[i];
    set->inputs = calloc((size_t)run->plan->graph->value_count, sizeof *set->inputs);
    set->parts = calloc((size_t)run->part_count, sizeof *set->parts);
    REQUIRE(set->inputs && set->parts, STATUS_FAILED, "out of memory");
  }
  return STATUS_OK;
}

void record_close(struct run *run) {
  for (int i = 0; i < SETS && run->recordings; i++) {
    struct recorded_set *set = &run->recordings->sets[i];
    for (int part = 0; part < run->part_count && set->parts; part++)
      run->device->ops->capture_close(&set->parts[part]);
    free(set->inputs);
    free(set->parts);
  }
  free(run->recordings);
  free(run->parts);
  run->recordings = NULL;
  run->parts = NULL;
}

/* The set of the inputs that are bound now, a new one where there is room; else NULL. */
static struct recorded_set *find_set(struct run *run) {
  struct run_recordings *recordings = run->recordings;
  size_t bytes = (size_t)run->plan->graph->value_count * sizeof *run->inputs;
  for (int i = 0; i < recordings->set_count; i++)
    if (memcmp(recordings->sets[i].inputs, run->inputs, bytes) == 0) return &recordings->sets[i];
  if (recordings->set_count == SETS) return NULL;
  struct recorded_set *set = &recordings->sets[recordings->set_count++];
  memcpy(set->inputs, run->inputs, bytes);
  return set;
}

static enum status record(struct run *run, int part, struct capture *capture,
                          enum status (*execute)(struct run *run, int part)) {
  const struct device_ops *device = run->device->ops;
  TRY(device->capture_begin(&run->stream));
  enum status status = execute(run, part);
  enum status ended = device->capture_end(&run->stream, capture);
  return status ? status : ended;
}

enum status record_launch(struct run *run, int part,
                          enum status (*execute)(struct run *run, int part), bool *done) {
  *done = false;
  if (!run->recordings || run->recordings->failed || run->step_seconds || !run->parts[part].warm)
    return STATUS_OK;
  struct recorded_set *set = find_set(run);
  if (!set) return STATUS_OK;
  struct capture *capture = &set->parts[part];
  if (!capture->handle && record(run, part, capture, execute)) {
    log_info("steps are given to the device one by one, since recording them failed: %s",
             status_message());
    status_clear();
    run->recordings->failed = true;
    return STATUS_OK;
  }
  *done = true;
  return run->device->ops->capture_launch(capture, &run->stream);
}
