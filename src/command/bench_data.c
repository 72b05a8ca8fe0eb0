/* bench data: how fast prepared data are read, against copying as many bytes from plain memory to
 * the same place, and whether training would wait for them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "base/timer.h"
#include "command/bench.h"
#include "data/prefetch.h"
#include "task/task.h"
#include "train/network.h"

enum { ROUNDS = 3, DEPTH = 2, LEAST_SLOTS = 4, MOST_SLOTS = 200 };

/* How much is copied in a pass over the data set; how long samples are loaded, and waiting is
 * measured. */
static const size_t PASS_BYTES = (size_t)512 << 20;
static const double LOAD_SECONDS = 2, WAIT_SECONDS = 3;

struct speed {
  double bytes, seconds;
  int64_t samples;
};

struct trial {
  const struct config *config;
  const struct task *task;
  struct task_run task_run;
  struct network network;
  void *memory; /* for a slot's inputs, and for a subject */
  size_t subject_bytes;
  int subjects;         /* of a pass */
  struct speed copy;    /* as many bytes from plain memory to the same place */
  struct speed touched; /* from the mapped shards, pages not yet there: by the page cache */
  struct speed mapped;  /* from the mapped shards, pages there */
  struct speed first;   /* loading samples, checksums included */
  struct speed again;   /* loading the same samples */
  double slot_seconds;
  int slots;
  double waited; /* seconds per slot */
};

static double rate(const struct speed *speed) {
  return speed->seconds > 0 ? speed->bytes / speed->seconds : 0;
}

/* --- copies ---------------------------------------------------------------------------------- */

/* A subject's volumes, one behind the other; returns their bytes. to may be NULL. */
static size_t copy_subject(const struct dataset *dataset, int subject, char *to) {
  const int *extent = dataset->extent;
  size_t voxels = (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2], done = 0;
  const struct {
    const void *from;
    size_t bytes;
  } volumes[] = {
      {dataset_image(dataset, subject), sizeof(float) * (size_t)dataset->channels * voxels},
      {dataset_label(dataset, subject), voxels},
      {dataset_mask(dataset, subject), (size_t)dataset->mask_planes * voxels},
  };
  for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++) {
    if (!volumes[i].from) continue;
    if (to) memcpy(to + done, volumes[i].from, volumes[i].bytes);
    done += volumes[i].bytes;
  }
  return done;
}

/* What a pass copies comes from `plain`, or from the training subjects where that is NULL. */
static void copy_subjects(const struct trial *trial, const char *plain, struct speed *best) {
  const struct task_run *run = &trial->task_run;
  double bytes = (double)trial->subject_bytes * trial->subjects, started = timer_now();
  for (int i = 0; i < trial->subjects; i++) {
    if (plain)
      memcpy(trial->memory, plain + (size_t)i * trial->subject_bytes, trial->subject_bytes);
    else
      copy_subject(&run->dataset, run->subjects[SPLIT_TRAIN][i], trial->memory);
  }
  double seconds = timer_now() - started;
  if (best->seconds == 0 || seconds < best->seconds)
    *best = (struct speed){bytes, seconds, trial->subjects};
}

static enum status measure_copy(struct trial *trial) {
  size_t bytes = trial->subject_bytes * (size_t)trial->subjects;
  char *plain = malloc(bytes);
  REQUIRE(plain, STATUS_FAILED, "bench: out of memory");
  memset(plain, 1, bytes);
  for (int i = 0; i < ROUNDS; i++) copy_subjects(trial, plain, &trial->copy);
  free(plain);
  return STATUS_OK;
}

static void measure_mapped(struct trial *trial) {
  const struct task_run *run = &trial->task_run;
  copy_subjects(trial, NULL, &trial->touched); /* into the page cache */
  trial->touched = (struct speed){0};
  for (int i = 0; i < trial->subjects; i++)
    dataset_release_pages(&run->dataset, run->subjects[SPLIT_TRAIN][i]);
  copy_subjects(trial, NULL, &trial->touched);
  for (int i = 0; i < ROUNDS; i++) copy_subjects(trial, NULL, &trial->mapped);
}

/* --- loading --------------------------------------------------------------------------------- */

static enum status fill_slot(void *context, int64_t slot, void *memory) {
  struct trial *trial = context;
  const struct batch_layout *batch = &trial->network.batch;
  void *inputs[NETWORK_MAX_INPUTS];
  for (int sample = 0; sample < batch->samples; sample++) {
    batch_pointers(batch, memory, sample, inputs);
    TRY(trial->task->fill(&trial->task_run, PURPOSE_TRAINING, SPLIT_TRAIN, 0,
                          slot * batch->samples + sample, inputs));
  }
  return STATUS_OK;
}

/* An epoch's samples, or as many as `most` (0: as the time allows). */
static enum status load_samples(struct trial *trial, int64_t most, struct speed *speed) {
  const struct batch_layout *batch = &trial->network.batch;
  int64_t count = trial->task->count(&trial->task_run, PURPOSE_TRAINING, SPLIT_TRAIN);
  size_t sample_bytes = 0;
  double started = timer_now();
  for (int i = 0; i < batch->count; i++) sample_bytes += batch->sample_bytes[i];
  *speed = (struct speed){0};
  while (most ? speed->samples < most : speed->samples < count && speed->seconds < LOAD_SECONDS) {
    TRY(fill_slot(trial, speed->samples / batch->samples, trial->memory));
    speed->samples += batch->samples;
    speed->bytes += (double)sample_bytes * batch->samples;
    speed->seconds = timer_now() - started;
  }
  return STATUS_OK;
}

/* --- waiting --------------------------------------------------------------------------------- */

/* As busy as a rank that computes. */
static void compute(double seconds) {
  for (double started = timer_now(); timer_now() - started < seconds;) continue;
}

static enum status wait_for_slots(struct trial *trial, struct prefetch *prefetch) {
  int64_t requested = 0, ticket;
  void *memory;
  for (; requested < DEPTH; requested++) TRY(prefetch_request(prefetch, requested));
  TRY(prefetch_take(prefetch, &memory, &ticket)); /* nothing to compute before it */
  prefetch->seconds_waited = 0;
  for (int i = 0; i < trial->slots; i++) {
    compute(trial->slot_seconds);
    prefetch_release(prefetch, memory);
    TRY(prefetch_request(prefetch, requested++));
    TRY(prefetch_take(prefetch, &memory, &ticket));
  }
  trial->waited = prefetch->seconds_waited / trial->slots;
  return STATUS_OK;
}

/* The loading thread of training, beside somebody who computes for as long as a slot takes. */
static enum status measure_waiting(struct trial *trial) {
  struct prefetch prefetch;
  double slots = WAIT_SECONDS / trial->slot_seconds;
  trial->slots = slots < LEAST_SLOTS ? LEAST_SLOTS : slots > MOST_SLOTS ? MOST_SLOTS : (int)slots;
  TRY(prefetch_open(&prefetch, DEPTH, trial->network.batch.bytes, fill_slot, trial));
  enum status status = wait_for_slots(trial, &prefetch);
  prefetch_close(&prefetch);
  return status;
}

/* --- what there is to say -------------------------------------------------------------------- */

static double waiting_share(const struct trial *trial) {
  return trial->waited / (trial->waited + trial->slot_seconds);
}

static void print_speed(const struct trial *trial, const char *what, const struct speed *speed) {
  printf("%-44s %8.2f GB/s %7.1f%% of memcpy", what, 1e-9 * rate(speed),
         100 * rate(speed) / rate(&trial->copy));
  if (speed->samples > 0)
    printf(" %10.2f /s (%lld in %.3f s)", (double)speed->samples / speed->seconds,
           (long long)speed->samples, speed->seconds);
  printf("\n");
}

static void print_table(const struct trial *trial) {
  char bytes[32];
  printf("%s: %d subjects, %d of them to train on, %s each\n", trial->config->data.shards,
         trial->task_run.dataset.subject_count, trial->task_run.subject_count[SPLIT_TRAIN],
         text_bytes((double)trial->subject_bytes, bytes));
  print_speed(trial, "memcpy of as many bytes, one thread", &trial->copy);
  print_speed(trial, "subjects from mapped shards, new pages", &trial->touched);
  print_speed(trial, "subjects from mapped shards", &trial->mapped);
  print_speed(trial, "samples loaded, the first time (checksums)", &trial->first);
  print_speed(trial, "samples loaded, again", &trial->again);
  printf("training with %.4g s per slot of %d samples waits %.3g s per slot: %.2f %%\n",
         trial->slot_seconds, trial->network.batch.samples, trial->waited,
         100 * waiting_share(trial));
}

static json_t *describe_speed(const struct trial *trial, const struct speed *speed) {
  return json_pack("{s:f, s:f, s:f, s:f}", "bytes_per_second", rate(speed), "share_of_memcpy",
                   rate(speed) / rate(&trial->copy), "per_second",
                   (double)speed->samples / speed->seconds, "seconds", speed->seconds);
}

static json_t *describe(const struct trial *trial, const struct device *device) {
  return json_pack(
      "{s:s, s:i, s:f, s:f, s:o, s:o, s:o, s:o, s:f, s:i, s:f, s:f, s:o}", "shards",
      trial->config->data.shards, "subjects", trial->task_run.dataset.subject_count,
      "subject_bytes", (double)trial->subject_bytes, "memcpy_bytes_per_second", rate(&trial->copy),
      "subjects_new_pages", describe_speed(trial, &trial->touched), "subjects_mapped",
      describe_speed(trial, &trial->mapped), "samples_first", describe_speed(trial, &trial->first),
      "samples", describe_speed(trial, &trial->again), "seconds_slot", trial->slot_seconds,
      "slot_samples", trial->network.batch.samples, "seconds_waited_per_slot", trial->waited,
      "waiting_share", waiting_share(trial), "machine", bench_machine(device, NULL));
}

/* --- all of it ------------------------------------------------------------------------------- */

static enum status open_trial(struct trial *trial, const struct device_ops *device) {
  const struct config *config = trial->config;
  TRY(task_find(config->root.task, &trial->task));
  TRY(trial->task->open(&trial->task_run, config));
  TRY(network_plan(&trial->network, trial->task, &trial->task_run, config, device->kind,
                   PURPOSE_TRAINING, (int)config->train.slot_samples,
                   trial->task_run.dataset.extent, NULL));
  trial->subject_bytes = copy_subject(&trial->task_run.dataset, 0, NULL);
  trial->subjects = trial->task_run.subject_count[SPLIT_TRAIN];
  int most = (int)(PASS_BYTES / trial->subject_bytes) + 1;
  if (trial->subjects > most) trial->subjects = most;
  size_t bytes = trial->network.batch.bytes;
  trial->memory = calloc(1, bytes > trial->subject_bytes ? bytes : trial->subject_bytes);
  REQUIRE(trial->memory, STATUS_FAILED, "bench: out of memory");
  return STATUS_OK;
}

static enum status measure(struct trial *trial) {
  TRY(measure_copy(trial));
  TRY(load_samples(trial, 0, &trial->first));
  TRY(load_samples(trial, trial->first.samples, &trial->again));
  measure_mapped(trial);
  return measure_waiting(trial);
}

enum status bench_data(const struct config *config, struct comm *comm, double slot_seconds) {
  const struct device_ops *ops_of_device;
  struct trial trial = {.config = config, .slot_seconds = slot_seconds};
  struct bench_slot slot = {.seconds = slot_seconds, .threads = 1};
  REQUIRE(comm->size == 1, STATUS_USAGE, "bench data runs on one process, found %d ranks",
          comm->size);
  TRY(device_find(config->root.device, &ops_of_device));
  enum status status = open_trial(&trial, ops_of_device);
  if (!status && slot_seconds == 0) status = bench_slot(config, comm, 2, &slot);
  trial.slot_seconds = slot.seconds;
  if (!status) status = measure(&trial);
  if (!status) print_table(&trial);
  struct device device = {.ops = ops_of_device, .threads = slot.threads};
  if (!status) status = bench_print(describe(&trial, &device));
  bench_slot_close(&slot);
  free(trial.memory);
  network_close(&trial.network);
  task_close(&trial.task_run);
  return status;
}
