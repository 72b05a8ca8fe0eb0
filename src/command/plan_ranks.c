/* From words, a file of bench comm, and slots measured here to the model's numbers. */
#include "command/plan_ranks.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "command/bench.h"
#include "command/forecast.h"
#include "command/options.h"

/* A 100 Gbit/s network, where nothing is known. */
static const struct forecast_link assumed_link = {
    .latency = 2e-6, .overhead = 0.5e-6, .bandwidth = 12.5e9};

enum { LINE_BYTES = 1 << 20 };

struct prediction {
  const struct sketch *sketch;
  const struct config *config;
  struct forecast_work work;
  struct forecast_link link;
  struct forecast_bucket *buckets;
  struct bench_slot measured;
  int measured_slots; /* 0: seconds were given */
  const char *link_source;
};

bool plan_ranks_wanted(const struct plan_ranks_words *words) {
  return words->seconds || words->measure;
}

/* --- the network ----------------------------------------------------------------------------- */

/* The last line that begins an object. */
static json_t *read_object(FILE *file) {
  char *line = malloc(LINE_BYTES);
  json_t *object = NULL;
  while (line && fgets(line, LINE_BYTES, file)) {
    if (line[0] != '{') continue;
    json_decref(object);
    object = json_loads(line, 0, NULL);
  }
  free(line);
  return object;
}

static enum status take_number(const json_t *object, const char *path, const char *name,
                               double *number) {
  const json_t *value = json_object_get(object, name);
  REQUIRE(json_is_number(value) && json_number_value(value) >= 0, STATUS_USAGE,
          "%s: expected a last line of `bench comm` with the number \"%s\"", path, name);
  *number = json_number_value(value);
  return STATUS_OK;
}

static enum status read_link(const char *path, struct forecast_link *link) {
  FILE *file = fopen(path, "r");
  REQUIRE(file, STATUS_USAGE, "%s: cannot be opened: expected the output of `bench comm`", path);
  json_t *object = read_object(file);
  fclose(file);
  enum status status = take_number(object, path, "latency_seconds", &link->latency);
  if (!status) status = take_number(object, path, "overhead_seconds", &link->overhead);
  if (!status) status = take_number(object, path, "bytes_per_second", &link->bandwidth);
  json_decref(object);
  TRY(status);
  REQUIRE(link->bandwidth > 0, STATUS_USAGE, "%s: bytes_per_second: expected more than 0", path);
  return STATUS_OK;
}

/* What is given goes before what a file says. */
static enum status find_link(struct prediction *prediction, const struct plan_ranks_words *words) {
  struct forecast_link *link = &prediction->link;
  double bandwidth = 0, latency = -1, overhead = -1;
  *link = assumed_link;
  prediction->link_source = "assumed";
  if (words->link) TRY(read_link(words->link, link));
  if (words->link) prediction->link_source = words->link;
  TRY(options_real("--bandwidth", words->bandwidth, false, &bandwidth));
  TRY(options_real("--latency", words->latency, true, &latency));
  TRY(options_real("--overhead", words->overhead, true, &overhead));
  if (bandwidth > 0) link->bandwidth = 1e9 * bandwidth;
  if (latency >= 0) link->latency = 1e-6 * latency;
  if (overhead >= 0) link->overhead = 1e-6 * overhead;
  if (bandwidth > 0 || latency >= 0 || overhead >= 0)
    prediction->link_source = words->link ? "given and from the file" : "given, else assumed";
  return STATUS_OK;
}

enum status plan_ranks_check(const struct plan_ranks_words *words) {
  struct prediction unused = {0};
  double seconds;
  long slots;
  TRY(find_link(&unused, words));
  TRY(options_real("--seconds", words->seconds, false, &seconds));
  if (!words->measure) return STATUS_OK;
  return options_number("--measure", words->measure, 1, BENCH_MOST_STEPS, &slots);
}

/* --- the computation ------------------------------------------------------------------------- */

static enum status find_seconds(struct prediction *prediction, const struct plan_ranks_words *words,
                                struct comm *comm) {
  struct forecast_work *work = &prediction->work;
  long slots = 0;
  TRY(options_real("--seconds", words->seconds, false, &work->slot_seconds));
  if (words->seconds) return STATUS_OK;
  TRY(options_number("--measure", words->measure, 1, BENCH_MOST_STEPS, &slots));
  TRY(bench_slot(prediction->config, comm, (int)slots, &prediction->measured));
  prediction->measured_slots = (int)slots;
  work->slot_seconds = prediction->measured.seconds;
  work->update_seconds = prediction->measured.update_seconds;
  return STATUS_OK;
}

/* How much of a slot's time a step takes: as measured, else by its arithmetic. */
static double weight_of(const struct prediction *prediction, int s) {
  const struct plan *plan = &prediction->sketch->training.plan;
  const struct plan_step *step = &plan->steps[s];
  const struct node *node = &plan->graph->nodes[step->node].node;
  bool backward = step->kind == STEP_BACKWARD;
  double (*flops)(const struct node *) =
      backward ? node->op->backward_flops : node->op->forward_flops;
  if (prediction->measured_slots > 0) return prediction->measured.step_seconds[s];
  return flops ? flops(node) : 0;
}

/* The share of a slot that follows step `last`. */
static double share_after(const struct prediction *prediction, int last) {
  double all = 0, after = 0;
  for (int s = 0; s < prediction->sketch->training.plan.step_count; s++) {
    all += weight_of(prediction, s);
    if (s > last) after += weight_of(prediction, s);
  }
  return all > 0 ? after / all : 0;
}

/* The step after which the gradients before `end` are there. */
static int last_step_of(const struct plan *plan, int64_t end) {
  int last = plan->step_count - 1;
  for (int i = 0; i < plan->bucket_count; i++) {
    const struct plan_bucket *bucket = &plan->buckets[i];
    if (bucket->first < end && end <= bucket->first + bucket->count) last = bucket->last_step;
  }
  return last;
}

/* As the tree cuts the block. */
static enum status cut_buckets(struct prediction *prediction) {
  const struct plan *plan = &prediction->sketch->training.plan;
  int64_t most = prediction->config->comm.bucket_kib * 1024 / (int64_t)sizeof(float);
  int count = (int)((plan->parameter_elements + most - 1) / most);
  prediction->buckets = calloc((size_t)count, sizeof *prediction->buckets);
  REQUIRE(prediction->buckets, STATUS_FAILED, "plan: out of memory");
  for (int i = 0; i < count; i++) {
    int64_t first = i * most, end = first + most;
    if (end > plan->parameter_elements) end = plan->parameter_elements;
    double share = share_after(prediction, last_step_of(plan, end));
    prediction->buckets[i] = (struct forecast_bucket){sizeof(float) * (double)(end - first),
                                                      share * prediction->work.slot_seconds};
  }
  prediction->work.buckets = prediction->buckets;
  prediction->work.bucket_count = count;
  return STATUS_OK;
}

/* --- what there is to say -------------------------------------------------------------------- */

static void print_assumptions(const struct prediction *prediction) {
  const struct forecast_work *work = &prediction->work;
  const struct forecast_link *link = &prediction->link;
  double first = prediction->buckets[0].left, last = work->buckets[work->bucket_count - 1].left;
  bool fast = strcmp(prediction->config->comm.reduce, "fast") == 0;
  printf("\nprediction, assuming\n");
  if (prediction->measured_slots > 0)
    printf(
        "  computation  %.4g s for forward and backward of a slot, %.3g s for the update "
        "(measured now, %d slot%s, %d thread%s)\n",
        work->slot_seconds, work->update_seconds, prediction->measured_slots,
        prediction->measured_slots == 1 ? "" : "s", prediction->measured.threads,
        prediction->measured.threads == 1 ? "" : "s");
  else
    printf("  computation  %.4g s for forward and backward of a slot, update included (given)\n",
           work->slot_seconds);
  printf("  ranks        all are as fast, however many there are of them on a node\n");
  printf(
      "  network      latency %.3g us, %.3g us of a rank's time per message, %.3g GB/s each way "
      "per rank, all ranks at once (%s)\n",
      1e6 * link->latency, 1e6 * link->overhead, 1e-9 * link->bandwidth, prediction->link_source);
  printf("  reduction    the exact tree: pieces of 1/ranks to all, added, and back to all%s\n",
         fast ? " (comm.reduce = \"fast\" is the library's own affair)" : "");
  printf(
      "  overlap      %d bucket%s, the first complete %.3g s and the last %.3g s before the end "
      "of backward (by %s)\n",
      work->bucket_count, work->bucket_count == 1 ? "" : "s", first, last,
      prediction->measured_slots > 0 ? "measured steps" : "the arithmetic of steps");
  printf(
      "               what moves meanwhile costs no computation, as between nodes; within one it "
      "is "
      "the ranks that copy\n");
  printf("  slots        %d of %g samples; on more ranks one slot each: the batch grows\n",
         work->slots, work->samples);
  printf("  not counted  waiting for data, validation, checkpoints, ranks that are late\n");
}

static void print_row(const struct forecast *row) {
  printf("%7d %7d %7d %12.5f %12.6f %12.6f %12.6f %12.5f %12.2f %10.2f%%\n", row->ranks, row->slots,
         row->busiest, row->compute, row->reduction, row->exposed, row->agreement, row->step,
         row->samples_per_second, 100 * row->efficiency);
}

static void print_table(const struct prediction *prediction, int ranks) {
  printf("%7s %7s %7s %12s %12s %12s %12s %12s %12s %11s\n", "ranks", "slots", "of one",
         "compute s", "reduction s", "exposed s", "agreement s", "step s", "samples/s",
         "efficiency");
  for (int n = 1;; n = n < ranks && 2 * n > ranks ? ranks : 2 * n) {
    struct forecast row = forecast_step(&prediction->work, &prediction->link, n);
    print_row(&row);
    if (n >= ranks) break;
  }
}

static enum status predict(struct prediction *prediction, const struct plan_ranks_words *words,
                           struct comm *comm, int ranks) {
  TRY(find_link(prediction, words));
  TRY(find_seconds(prediction, words, comm));
  TRY(cut_buckets(prediction));
  print_assumptions(prediction);
  print_table(prediction, ranks);
  return STATUS_OK;
}

enum status plan_ranks_print(const struct plan_ranks_words *words, const struct sketch *sketch,
                             const struct config *config, struct comm *comm, int ranks) {
  struct prediction prediction = {
      .sketch = sketch,
      .config = config,
      .work = {.slots = (int)config->train.slots, .samples = (double)config->train.slot_samples}};
  enum status status = predict(&prediction, words, comm, ranks);
  bench_slot_close(&prediction.measured);
  free(prediction.buckets);
  return status;
}
